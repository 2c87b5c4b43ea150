r"""Torch-Pruning beside `resdense slim`: the same trained ResNet, epochs, images and machine.

    python3 -m venv TORCH && TORCH/bin/pip install torch numpy && TORCH/bin/pip install --no-deps torch-pruning
    python benchmarks/torch_pruning.py resnet20 --torch TORCH/bin/python --folder FOLDER --count "$ARM/instructions"
    python benchmarks/torch_pruning.py --table                                              # docs/slimming.md alone

torch_half.py prunes the checkpoint of benchmarks/checkpoints.py and trains it, in an environment of its own; before
that it proves that its net answers as Keras' does. Here the result becomes a Keras net of built-in layers, which must
answer as PyTorch's does, and goes through `resdense export` as the rows of slim.py do. One row a call; one that was
stopped after the training goes on from there. Adds the row to benchmarks/results/torch_pruning.json and writes the
table of docs/slimming.md, beside the rows of slim.json for the same net, share and epochs.

The pipeline is that of Torch-Pruning's own CIFAR benchmark (github.com/VainF/Torch-Pruning, reproduce/main.py and
reproduce/readme.md, method `group_norm`): GroupNormPruner with the group L2 norm, ranked over all layers, in up to 400
steps until the operations are halved. `--importance taylor` ranks by GroupTaylorImportance on 2,000 training images.

`--training own` fine-tunes by that script's defaults, whose 100 epochs are scaled to `--epochs`. `distilled` trains as
`resdense slim` does. Both keep the weights that are best on the held-out images, not those best on the test images.
"""

import argparse
import datetime
import json
import os
import subprocess
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from checkpoints import CHECKPOINTS, load
from rewriting_document import markdown, put
from slim import DOCUMENT, SCHEMES, accuracy, add_files, cpu_minutes, request_of, spread
from slim import RESULTS as OURS

from resdense_export import environment
from resdense_export.tflite.timing import machine
from resdense_keras import files, load_weights, profile
from resdense_keras.blocks import changed_shortcut, cifar_stem, conv, norm_relu
from resdense_keras.training.recipes import Recipe, recipe

NETS = {"resnet20": 3, "resnet56": 9}  # -> blocks of a stage
HALF = Path(__file__).with_name("torch_half.py")
RESULTS = Path(__file__).parent / "results" / "torch_pruning.json"
MARKS = ("<!-- table: python benchmarks/torch_pruning.py --table -->\n", "<!-- end of Torch-Pruning's table -->\n")
ANSWERS = 256  # test images on which both frameworks are compared, before and after
CLOSE = 1e-4  # between the probabilities of the two, as in torch_half.py
FEW = 5  # test images that the two may answer differently
# reproduce/main.py: --lr, --weight-decay, --batch-size, --lr-decay-milestones 60,80 of 100 epochs by 0.1; no nesterov
OWN = partial(
    Recipe,
    batch_size=128,
    learning_rate=0.01,
    schedule="steps",
    drops_at=(0.6, 0.8),
    momentum=0.9,
    nesterov=False,
    weight_decay=5e-4,
)
TRAININGS = {  # -> (recipe, which weights decay)
    "own": lambda epochs: (OWN(epochs=epochs), "all"),
    "distilled": lambda epochs: (recipe("slim", epochs=epochs), "kernels"),
}
KEY = ("net", "importance", "round_to", "training", "epochs", "speed_up", "seed")  # of a row
HEADS = ("net", "plan", "trained", "MACs", "Arm fp32", "Arm int8", "accuracy", "before", "after", "lost", "CPU minutes",
         "epochs", "seeds")  # fmt: skip


def measured(asked):
    """The row of one call."""
    folder = asked.folder.resolve() / "-".join(str(getattr(asked, name)) for name in KEY)
    data = os.environ["RESDENSE_CIFAR10"]
    folder.mkdir(parents=True, exist_ok=True)
    whole = load(asked.net)
    half = torch_half(asked, folder, whole)
    net = keras_net(asked.net, folder / "tuned.npz", half["widths"])
    files_of = {"whole": folder.parent / f"{asked.net}.keras", "slim": folder / "slim.keras"}
    whole.save(files_of["whole"])
    net.save(files_of["slim"])
    check(net, folder, given_of(folder, asked.net), half["accuracy"]["tuned"], accuracy(files_of["slim"], data))
    row = {name: getattr(asked, name) for name in KEY}
    row |= {"created": datetime.date.today().isoformat(), "command": repeated(asked), "machine": machine()} | half
    row["versions"] = environment.versions() | half["versions"]
    row |= {"macs": [profile(whole).macs, profile(net).macs], "instructions": {}, "bytes": {}}
    for which, path in files_of.items():
        add_files(row, path, data, path.with_name(f"{which}-files"), asked.count)
    return row


def repeated(asked):
    """The command of a row, without the paths of one machine."""
    words = f"python benchmarks/torch_pruning.py {asked.net} --torch PYTHON --folder FOLDER --count COMMAND"
    for name in (*KEY[1:], "threads"):
        if getattr(asked, name) is not None:
            words += f" --{name.replace('_', '-')} {getattr(asked, name)}"
    return words


def torch_half(asked, folder, whole):
    """What torch_half.py measured in `folder`, with its CPU minutes; a finished one is not run again."""
    given, done = given_of(folder, asked.net), folder / "half.json"
    if not done.is_file():
        if not given.is_file():
            give(given, asked.net, whole)
        chosen, decay = TRAININGS[asked.training](asked.epochs)
        checkpoint = Path(os.environ["RESDENSE_CHECKPOINTS"]).resolve() / CHECKPOINTS[asked.net][0]
        request = {name: getattr(asked, name) for name in (*KEY, "threads", "steps")} | {"blocks": NETS[asked.net]}
        request |= {"given": str(given), "checkpoint": str(checkpoint), "recipe": chosen.as_dict() | {"decay": decay}}
        files.write_json(folder / "asked.json", request)
        before = cpu_minutes(folder)
        subprocess.run([asked.torch, "-I", str(HALF), str(folder)], check=True)
        found = json.loads(done.read_text()) | {"recipe": request["recipe"]}
        files.write_json(done, found | {"cpu_minutes": round(cpu_minutes(folder) - before, 1)})
    return json.loads(done.read_text())


def given_of(folder, name):
    return folder.parent / f"given-{name}.npz"


def give(path, name, whole):
    """Writes the images, as `resdense slim` splits them, and what the whole net answers to some of them."""
    from resdense_keras import data

    pixels = CHECKPOINTS[name][1]
    dataset, arrays = data.load(os.environ["RESDENSE_CIFAR10"]), {"mean": pixels.mean, "std": pixels.std}
    for part in ("train", "validation", "test"):
        split = getattr(dataset, part)
        arrays |= {f"{part}_images": split.array(), f"{part}_labels": np.asarray(split.labels, "int64")}
    few = arrays["test_images"][:ANSWERS].astype("float32")
    arrays["answers"] = whole.predict(few, verbose=0)
    np.savez(path, **arrays)


def keras_net(name, weights, widths):
    """The pruned net in built-in layers, with the names that `load_weights` knows; pixels -> probabilities.

    Args:
        name: Of the whole net.
        weights: Path of the PyTorch net's weights as .npz.
        widths: {"layer1.0.conv1.weight": output channels, ...}.
    """
    import keras
    from keras import layers

    norm = partial(layers.BatchNormalization, momentum=0.9, epsilon=1e-5)
    inputs = keras.Input((32, 32, 3), name="image")
    x = cifar_stem(CHECKPOINTS[name][1].apply(inputs), widths["conv1.weight"], norm=norm)
    for stage in (1, 2, 3):
        for index in range(NETS[name]):
            x = block(x, f"stage{stage}_block{index + 1}", f"layer{stage}.{index}", widths, norm)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    outputs = layers.Dense(10, activation="softmax", name="predictions")(x)
    return load_weights(keras.Model(inputs, outputs, name=f"{name}_torch_pruned"), weights)


def block(x, name, theirs, widths, norm):
    """A residual block whose two convolutions have their own widths."""
    from keras import layers

    first, second, shortcut = (widths.get(f"{theirs}.{part}.weight") for part in ("conv1", "conv2", "downsample.0"))
    stride = 2 if shortcut else 1
    y = norm_relu(conv(x, first, 3, stride=stride, name=f"{name}_conv1"), norm=norm, name=name, part=1)
    y = norm(name=f"{name}_bn2")(conv(y, second, 3, name=f"{name}_conv2"))
    if shortcut:
        x = changed_shortcut(x, shortcut, stride, "B", name=name)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def check(net, folder, given, expected, found):
    """Stops where the Keras net answers otherwise than PyTorch's: the last two are their accuracies on test images."""
    with np.load(given) as arrays:
        few = arrays["test_images"][:ANSWERS].astype("float32")
    apart = float(np.abs(net.predict(few, verbose=0) - np.load(folder / "answers.npy")).max())
    assert apart < CLOSE, f"the probabilities are up to {apart:.2g} apart"
    assert abs(found - expected) * 10_000 <= FEW, (found, expected)


def table(rows, ours):
    """The lines of the table: a line for all seeds of a request, of each net those of `resdense slim` first."""
    lines = []
    beside = {(row["net"], "macs", 1 / row["speed_up"], row["epochs"]) for row in rows}
    requests = {}
    for row in ours:
        net, flag, share, target, recipe, epochs = request_of(row)
        if recipe == "slim" and (net, flag, share, epochs) in beside:
            cells = net, f"`resdense slim`, {target}", "distilled", epochs, share
            requests.setdefault(cells, []).append((row["plan"]["macs"], "repaired", "slim", row))
    for row in rows:
        rounded = f", widths of {row['round_to']}" if row["round_to"] else ""
        plan = f"Torch-Pruning, {row['importance']}{rounded}"
        cells = row["net"], plan, row["training"], row["epochs"], row["speed_up"]
        requests.setdefault(cells, []).append((row["macs"], "pruned", "tuned", row))
    for name in NETS:
        for (net, plan, trained, epochs, _), seeds in requests.items():
            if net == name:
                lines.append([net, plan, trained, *shares(seeds), epochs, len(seeds)])
    return markdown(HEADS[:3], HEADS[3:], lines)


def shares(seeds):
    """The cells from MACs to CPU minutes of rows that differ in their seeds."""
    yield spread([after / before for (before, after), *_ in seeds], 3)
    for scheme in SCHEMES:
        counted = [row["instructions"].get(scheme) for *_, row in seeds]
        yield spread([after / before for before, after in counted], 3) if all(counted) else "not counted"
    accuracies = [[100 * row["accuracy"][which] for which in ("whole", *names)] for _, *names, row in seeds]
    for numbers in zip(*accuracies, strict=True):
        yield spread(numbers, 2)
    yield spread([whole - after for whole, _, after in accuracies], 2)
    yield spread([row["cpu_minutes"] for *_, row in seeds], 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", nargs="?", choices=tuple(NETS), default="resnet20")
    parser.add_argument("--torch", metavar="PYTHON", help="of an environment with torch, torch-pruning and numpy")
    parser.add_argument("--importance", choices=("group_norm", "taylor"), default="group_norm")
    parser.add_argument("--training", choices=tuple(TRAININGS), default="own")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--speed-up", type=float, default=2.0)
    parser.add_argument("--round-to", type=int, help="the library's round_to: widths are multiples of it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; more cost more CPU on a busy machine")
    parser.add_argument("--steps", type=int, help="a trial: stop the training after so many steps, store nothing")
    parser.add_argument("--folder", type=Path, default=Path("torch-pruning-runs"))
    parser.add_argument("--count", metavar="COMMAND", help="prints millions of Arm instructions of a file")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    asked = parser.parse_args()
    if not asked.table and not asked.torch:
        parser.error("--torch PYTHON is needed, see above")
    row = None if asked.table else measured(asked)
    if asked.steps:
        print(json.dumps(row, indent=1))
        return
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    if row:
        rows = [old for old in rows if [old[k] for k in KEY] != [row[k] for k in KEY]] + [row]
        files.write_json(RESULTS, rows)
    put(MARKS, table(rows, json.loads(OURS.read_text())), DOCUMENT)


if __name__ == "__main__":
    main()
