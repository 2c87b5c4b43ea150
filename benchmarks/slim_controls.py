r"""What else the minutes of `resdense slim` could have bought: three fresh nets, trained as long as a slim net was.

    python benchmarks/slim_controls.py scratch  --of ROW --epochs 12 --folder FOLDER --count "$ARM/instructions"
    python benchmarks/slim_controls.py narrower --of ROW --epochs 9  --folder FOLDER --count "$ARM/instructions"
    python benchmarks/slim_controls.py --table                                             # docs/slimming.md alone

ROW is the folder of a row of benchmarks/slim.py, whose net each control is set beside:

scratch    the slim net's own shape with fresh weights, trained on labels by the recipe `fast`
           (Liu et al. 2019, arXiv:1810.05270: "Rethinking the value of network pruning")
narrower   the whole net's depth with fewer channels, trained by `fast` and nine tenths by the whole net's answers
shallower  the whole net's width with fewer blocks, trained in the same way

The two are the smallest nets of their kind that have no fewer MACs than the slim one. Take so many epochs that a
control gets no fewer CPU minutes. Accuracy is on the 10,000 test images. Adds the row to
benchmarks/results/slim_controls.json and writes its table of docs/slimming.md.
"""

import argparse
import datetime
import itertools
import json
import os
import resource
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from rewriting_document import markdown, put
from slim import (
    DOCUMENT,
    SCHEMES,
    accuracy,
    add_files,
    by_request,
    cpu_minutes,
    figures,
    request_of,
    spread,
)

from resdense_export import environment
from resdense_export.tflite.timing import machine
from resdense_keras import files

RESULTS = Path(__file__).parent / "results" / "slim_controls.json"
MARKS = ("<!-- table: python benchmarks/slim_controls.py --table -->\n", "<!-- end of table: controls -->\n")
LEARNT = {  # recipe fields of a control, beside those of `fast`
    "scratch": {},
    "narrower": {"teacher": 0.9, "temperature": 4.0, "label_smoothing": 0.0},  # as the recipe `slim`
    "shallower": {"teacher": 0.9, "temperature": 4.0, "label_smoothing": 0.0},
}
WIDTH = {"resnet20": "width", "resnet56": "width", "densenet_bc22_16": "growth_rate"}
BLOCKS = {"resnet20": (3, 3, 3), "resnet56": (9, 9, 9), "densenet_bc22_16": (3, 3, 3)}
LEAST_WIDTH = 4


def control(kind, origin, slim, seed):
    """The control's untrained net.

    Args:
        origin: Catalogue name of the whole net.
        slim: The slim net.
    """
    import keras

    import resdense_keras

    keras.utils.set_random_seed(seed)
    if kind == "scratch":
        return keras.models.clone_model(slim)
    goal = resdense_keras.profile(slim).macs
    possible = {resdense_keras.profile(net).macs: net for net in candidates(kind, origin)}
    return possible[min(macs for macs in possible if macs >= goal)]


def candidates(kind, origin):
    """Smaller nets of the whole net's family: of fewer channels, or of fewer blocks."""
    import resdense_keras
    from resdense_keras.preprocessing import PREPROCESSING

    whole, option = resdense_keras.create(origin), WIDTH[origin]
    if kind == "narrower":
        for width in range(LEAST_WIDTH, 16):
            yield resdense_keras.create(origin, **{option: width}, include_preprocessing=True)
        return
    build = resdense_keras.resnet if origin.startswith("resnet") else resdense_keras.densenet
    own = {"width": 16, "block": "basic", "shortcut": "A"} if build is resdense_keras.resnet else {"growth_rate": 16}
    shapes = itertools.product(*(range(1, most + 1) for most in BLOCKS[origin]))
    for blocks in shapes:
        yield build(
            blocks=blocks,
            stem="cifar",
            classes=10,
            input_shape=whole.input_shape[1:],
            include_preprocessing=PREPROCESSING["cifar10"],
            **own,
        )


def measured(kind, asked):
    """The row of one control."""
    import keras

    import resdense_keras
    from resdense_keras import training
    from resdense_keras.training.starts import SLIM, WHOLE

    data, made = os.environ["RESDENSE_CIFAR10"], json.loads((asked.of / "run" / "slim.json").read_text())
    origin, slim = made["from"], keras.saving.load_model(asked.of / "run" / "model.keras", compile=False)
    folder = asked.folder / f"{slim.name}-{kind}-{asked.epochs}-{asked.seed}"
    run = folder / "run"
    net = control(kind, origin, slim, asked.seed)
    recipe = training.recipe("fast", epochs=asked.epochs, **LEARNT[kind])
    name = f"{slim.name}_{kind}"
    request = training.TrainingRequest(
        model=name, data=data, recipe=recipe, seed=asked.seed, slim={"from": origin, "control": kind}
    )
    if not (run / SLIM).is_file():
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        files.write_text(run / "config.yaml", json.dumps(request.as_config()))  # JSON is YAML
        keras.saving.load_model(asked.of / "run" / WHOLE, compile=False).save(run / WHOLE)
        net.save(run / SLIM)
    try:
        training.run(request, run, resume=True, tell=print)
    finally:
        minutes = cpu_minutes(folder, resource.RUSAGE_SELF)
        files.write_text(folder / "minutes", f"{minutes}")
    row = {
        "net": slim.name,
        "of": asked.of.name,
        "control": kind,
        "epochs": asked.epochs,
        "seed": asked.seed,
        "created": datetime.date.today().isoformat(),
        "cpu_minutes": round(minutes, 1),
        "machine": machine(),
        "versions": environment.versions(),
        "macs": [made["macs"][0], resdense_keras.profile(net).macs],
        "parameters": net.count_params(),
        "accuracy": accuracy(run / "model.keras", data),
        "instructions": {},
        "bytes": {},
    }
    add_files(row, run / "model.keras", data, folder / "files", asked.count)
    return row


def table(rows, slim_rows):
    """The controls' table: for each shape the slim nets that were trained no longer than its controls, then those."""
    lines, shapes, requests = [], {}, by_request(slim_rows)
    for row in rows:
        shapes.setdefault(row["of"].rsplit("-", 3)[0], []).append(row)  # without recipe, epochs and seed
    for shape, controls in shapes.items():
        scratch = max(row["accuracy"] for row in controls if row["control"] == "scratch")
        longest = max(row["cpu_minutes"] for row in controls)
        for (*asked, recipe, epochs), seeds in requests.items():
            minutes = [row["cpu_minutes"] for row in seeds]
            if _shape(*asked) != shape or np.mean(minutes) > longest:
                continue
            shares, found = figures(seeds), [100 * row["accuracy"]["slim"] for row in seeds]
            against = f"{np.mean(found) - 100 * scratch:+.2f}"
            lines.append([f"{asked[0]}, slim", recipe, epochs, spread(found, 2), against,
                          *(shares[scheme] for scheme in SCHEMES), spread(minutes, 0), len(seeds),
                          shares["macs"]])  # fmt: skip
        slim = next(row for row in slim_rows if _shape(*request_of(row)[:4]) == shape)
        net, whole = slim["net"], slim["instructions"]
        for row in controls:
            before, after = row["macs"]
            counted = (f"{row['instructions'][scheme][0] / whole[scheme][0]:.3f}" for scheme in SCHEMES)
            recipe = "fast, teacher" if LEARNT[row["control"]] else "fast"
            lines.append([f"{net}, {row['control']}", recipe, row["epochs"], f"{100 * row['accuracy']:.2f}",
                          f"{100 * (row['accuracy'] - scratch):+.2f}", *counted, f"{row['cpu_minutes']:.0f}", 1,
                          f"{after / before:.3f}"])  # fmt: skip
    heads = ["epochs", "accuracy", "against scratch", "Arm fp32", "Arm int8", "CPU minutes", "seeds", "MACs"]
    return markdown(["net", "recipe"], heads, lines)


def _shape(net, flag, value, target):
    """What the controls' field `of` begins with."""
    return f"{net}-{flag}{value:g}-{target}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("control", nargs="?", choices=sorted(LEARNT))
    parser.add_argument("--of", type=Path, metavar="ROW", help="folder of a row of benchmarks/slim.py")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("slim-controls"))
    parser.add_argument("--count", metavar="COMMAND", help="prints millions of Arm instructions of a file")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    asked = parser.parse_args()
    if not asked.table and not (asked.control and asked.of):
        parser.error("name a control, and give --of ROW; or give --table")
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    if not asked.table:
        row = measured(asked.control, asked)
        key = ("of", "control", "epochs", "seed")
        rows = [old for old in rows if [old[k] for k in key] != [row[k] for k in key]] + [row]
        files.write_json(RESULTS, rows)
    put(MARKS, table(rows, json.loads((RESULTS.parent / "slim.json").read_text())), DOCUMENT)


if __name__ == "__main__":
    main()
