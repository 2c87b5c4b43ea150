"""Our files against the stock converter's, and against what no treatment of batch norm could beat.

    python benchmarks/export.py --part files --count "$ARM/instructions"    # bytes, operators, instructions: no noise
    python benchmarks/export.py --part times --pairs 60                     # latencies and conversions: an idle machine
    python benchmarks/export.py --accuracy                                  # checkpoints over all of CIFAR-10
    python benchmarks/export.py --distance                                  # of int8's probabilities, ours and stock's
    python benchmarks/export.py --preactivation                             # both, of nets that it trains: minutes
    python benchmarks/export.py --table                                     # the table of docs/rewriting.md

Stock is `TFLiteConverter.from_keras_model` of the same model with float32 ends. Floor is our graph with its remaining
batch norms deleted: wrong answers, but nothing that keeps them can be faster. Batch norms have random statistics: a
fresh net's are zeros and ones, which the converter drops. Latencies are medians of interleaved pairs on one thread with
a bootstrapped 95 % interval of the ratio. `--count` names a program that prints `FILE MILLIONS` for files, such as
instructions on an emulated core. Each net has one record in benchmarks/results/; a part that is measured again, with
its date and machine, replaces that part alone.
"""

import argparse
import datetime
import json
import os
import statistics
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import rewriting_document
from checkpoints import CHECKPOINTS, load
from convert import keras_export, randomize_batch_norms, timed, turn
from rewriting_document import answers, millions

import resdense_keras
from resdense_export.bundle.evidence import CALIBRATION, held_out
from resdense_export.making.conversion import convert
from resdense_export.making.float_files import float_files
from resdense_export.making.quantization import quantize
from resdense_export.making.stock_converter import stock
from resdense_export.nets.emitting import emit
from resdense_export.nets.reading import read
from resdense_export.nets.rewriting import GRAPHS, apply
from resdense_export.nets.rewriting.editing import Editor
from resdense_export.nets.rewriting.zero_bounds import zero_bounds
from resdense_export.schemes import SCHEMES, standard_schemes
from resdense_export.sources import generated_images
from resdense_export.tflite import flatbuffer, running
from resdense_export.tflite.timing import machine
from resdense_keras import data, files, preprocessing, training

RESULTS = Path(__file__).parent / "results"
MARKS = ("<!-- table: python benchmarks/export.py --table -->\n", "<!-- end of table -->\n")
ACCURACY_MARKS = ("<!-- table: python benchmarks/export.py --accuracy -->\n", "<!-- end of accuracy -->\n")
IMAGES = 100
DISTANCE_IMAGES = 2000
CONVERSIONS = 3
NETS = {
    "densenet121": {},
    "densenet_bc100_12": {},
    "resnet50_v2": {"variant": "v2-keras"},
    "resnet50": {"variant": "v1.5"},
    "resnet20": {},
}
TRAINED = "-trained"  # behind a name: with the weights of checkpoints.py, whose batch norms switch channels off
STOCK_OPERATORS = {  # the stock file must be this, or it is not what we say we compare with
    "densenet121": {"CONV_2D": 120, "MUL": 62 + 1, "ADD": 62 + 1, "CONCATENATION": 58, "AVERAGE_POOL_2D": 3}
}  # one MUL and one ADD are the normalisation of the input
PARTS = ("files", "times", "half")
TIMED = ("fp32", "dynamic", "int8")
FLOORED = ("fp32", "int8")
GOALS = {  # at most, in the order of NETS, a trained net's as its own; None where there is none
    "fp32 latency / stock": (0.92, 0.90, 0.95, 1.02),
    "dynamic latency / stock": (0.90, 0.84, 0.95, 1.02),
    "int8 latency / stock": (0.87, 0.82, 0.90, 1.02),
    "fp32 latency / floor": (1.03, 1.05, 1.03, None),
    "int8 latency / floor": (1.03, 1.05, 1.03, None),
    "fp32 Arm instructions / stock": (0.92, 0.88, 0.97, 1.00),
    "dynamic Arm instructions / stock": (0.95, 0.92, 0.98, 1.00),
    "int8 Arm instructions / stock": (0.84, 0.78, 0.95, 1.00),
    "fp16 Arm instructions / our fp32": (0.55, 0.54, 0.56, 0.56, 0.54),
    "fp16 Arm instructions / stock": (0.50, 0.48, 0.56, 0.56, 0.54),
    "fp16 Arm instructions / stock with its accumulation flag": (0.93, 0.90, 1.00, 1.00, 1.00),
    "fp16 / fp32 in Chromium": (1.08, 1.08, 1.08, 1.08, 1.08),
    "fp16 file / our fp32": (0.52, 0.54, 0.51, 0.51, 0.53),
    "int8 file / stock": (1.03, 1.05, 1.02, 1.00),
    "time to fp32 / Keras' litert export": (0.36, 0.40, 0.5, 0.5),
    "all four schemes / four stock conversions": (0.30, 0.30, 0.35, 0.35),
}
WIDEST = 0.02  # of a ratio's interval, to either side, for a goal to hold


def build(name):
    """The net with its normalisation inside and batch norms as training leaves them, the same on every run."""
    if name.endswith(TRAINED):
        return load(name.removesuffix(TRAINED))
    keras.utils.set_random_seed(0)
    model = resdense_keras.create(name, include_preprocessing=True, **NETS[name])
    randomize_batch_norms(model)
    return model


def floor(model, graph):
    """The rewritten model without what batch norms left of themselves in it: 1x1 depthwise convolutions and maxima."""
    edited = Editor(apply(read(model), GRAPHS[graph]))
    for node in edited.kinds("Maximum", "DepthwiseConv2D"):
        if node.kind == "Maximum" or (node.attributes["kernel_size"], node.attributes["strides"]) == ((1, 1), (1, 1)):
            edited.drop(node)
    return emit(edited.done().nodes, model.name)


def our_files(model, images, schemes):
    """{scheme: bytes}: rewritten, each graph converted once, then quantized, as `resdense export` does."""
    floating = float_files(model)
    return {scheme: quantize(floating(SCHEMES[scheme].graph), scheme, images) for scheme in schemes}


def stock_files(model, images, schemes):
    return {scheme: stock(model, scheme, images) for scheme in schemes}


def floor_files(model, images, schemes):
    return {scheme: quantize(convert(floor(model, SCHEMES[scheme].graph)), scheme, images) for scheme in schemes}


def files_with_maxima(model, images, schemes):
    """Our files without zero_bounds: norms behind sums are maxima too."""
    passes = {graph: [each for each in chosen if each is not zero_bounds] for graph, chosen in GRAPHS.items()}
    graphs = {scheme: emit(apply(read(model), passes[SCHEMES[scheme].graph]), model.name) for scheme in schemes}
    return {scheme: quantize(convert(graph), scheme, images) for scheme, graph in graphs.items()}


def make_files(name, model, folder, everything):
    """({(kind, scheme): path}, {what: seconds}): every scheme afresh, or those that count, stock's from the folder."""
    images, paths, seconds = generated_images(model.input_shape[1:], IMAGES), {}, {}
    schemes = standard_schemes() if everything else TIMED
    folder.mkdir(exist_ok=True)
    for kind, make in (("ours", our_files), ("stock", stock_files), ("floor", floor_files)):
        if kind == "floor" and name.endswith(TRAINED):
            continue  # without its norms its numbers grow beyond what int8 kernels take: that is not a floor
        wanted = [scheme for scheme in schemes if kind != "floor" or scheme in FLOORED]
        own = {scheme: folder / f"{name}-{kind}-{scheme}.tflite" for scheme in wanted}
        if everything or kind != "stock" or not all(path.exists() for path in own.values()):
            made, seconds[f"{kind}_all"] = timed(lambda make=make, wanted=wanted: make(model, images, wanted))
            for scheme, path in own.items():
                path.write_bytes(made[scheme])
        paths |= {(kind, scheme): path for scheme, path in own.items()}
    return paths, seconds


def ratio(ours, theirs, random):
    """{"median", "low", "high"} of ours over theirs, pair by pair; the interval by bootstrap."""
    shares = np.asarray(ours) / np.asarray(theirs)
    again = np.median(random.choice(shares, (2000, len(shares))), axis=1)
    low, high = np.percentile(again, (2.5, 97.5))
    return {"median": round(float(np.median(shares)), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def latencies(paths, pairs):
    """{"fp32": {"ours_ms", "stock_ms", "over_stock", ...}} on one thread, files of one scheme taking turns."""
    random, found = np.random.default_rng(0), {}
    for scheme in TIMED:
        kinds = [kind for kind, other in paths if other == scheme]
        times = dict(zip(kinds, running.time_rounds([paths[kind, scheme] for kind in kinds], pairs), strict=True))
        found[scheme] = {f"{kind}_ms": round(float(np.median(taken)) / 1e6, 3) for kind, taken in times.items()}
        for kind in kinds:
            if kind != "ours":
                found[scheme][f"over_{kind}"] = ratio(times["ours"], times[kind], random)
    return found


def counts(command, paths):
    """{"fp32": {"ours": millions, "stock": ...}} as `command FILE` prints them."""
    found = {}
    for (kind, scheme), path in paths.items():
        if scheme in TIMED:
            found.setdefault(scheme, {})[kind] = millions(command, path)
    return found


def in_half(name, model, command, folder):
    """{"bytes", "millions_of_instructions"} of fp16: ours, stock's, and stock's with the flag for float16 sums.

    The flag is `target_spec._experimental_supported_accumulation_type`: it writes the entry that ours has always.
    """
    floating = float_files(model)("float")
    made = {
        "ours-fp32": lambda: floating,
        "ours-fp16": lambda: quantize(floating, "fp16"),
        "stock-fp16": lambda: stock(model, "fp16"),
        "stock-fp16-accumulating": lambda: stock(model, "fp16", accumulate="float16"),
    }
    paths = {what: folder / f"{name}-{what}-half.tflite" for what in made}
    folder.mkdir(exist_ok=True)
    for what, path in paths.items():
        if not what.startswith("stock") or not path.exists():
            path.write_bytes(made[what]())
    sizes = {what: path.stat().st_size for what, path in paths.items()}
    counted = {what: millions(command, path) for what, path in paths.items()} if command else {}
    return {"bytes": sizes, "millions_of_instructions": counted}


def measure(name, parts, pairs, command, folder):
    """{part: what was measured} of one net, its files in `folder`."""
    model, found = build(name), {}
    if "half" in parts:
        found["half"] = in_half(name, model, command, folder)
    if not {"files", "times"} & {*parts}:
        return found
    paths, seconds = make_files(name, model, folder, everything="times" in parts)
    if "files" in parts:
        found["files"] = stored(name, paths, command)
    if "times" in parts:
        seconds |= to_fp32(model)
        found["times"] = {"pairs": pairs, "seconds": seconds, "latency": latencies(paths, pairs)}
    return found


def to_fp32(model):
    """{"ours_fp32", "keras_fp32"}: seconds of a conversion to float, medians of CONVERSIONS in turns."""
    makers = {"ours_fp32": lambda: float_files(model)("float"), "keras_fp32": lambda: keras_export(model)}
    taken = {what: [] for what in makers}
    for number in range(CONVERSIONS):
        for what, (_, seconds) in turn(makers, number).items():
            taken[what].append(seconds)
    return {what: statistics.median(each) for what, each in taken.items()}


def stored(name, paths, command):
    """What has no noise: bytes, operators, instructions."""
    operators = {
        f"{kind}-{scheme}": flatbuffer.count(flatbuffer.read(path.read_bytes()))
        for (kind, scheme), path in paths.items()
    }
    for operator, number in STOCK_OPERATORS.get(name, {}).items():
        assert operators["stock-fp32"][operator] == number, (operator, operators["stock-fp32"])
    sizes = {f"{kind}-{scheme}": path.stat().st_size for (kind, scheme), path in paths.items()}
    found = {"bytes": sizes, "operators": operators}
    return found | ({"millions_of_instructions": counts(command, paths)} if command else {})


def accuracy(limit, names):
    """{net: its `accuracies`} of the trained checkpoints over the test images."""
    dataset, found = data.load(os.environ["RESDENSE_CIFAR10"]), {}
    images, labels = dataset.test.array()[:limit], np.asarray(dataset.test.labels)[:limit]
    _, calibration = data.calibration(dataset, CALIBRATION, 0)
    for name in names:
        found[name] = accuracies(load(name), images, labels, calibration)
        print(name, found[name], flush=True)
    return found


def accuracies(model, images, labels, calibration):
    """{"images", "float", "fp32": {"accuracy", "same"}, ...}: how many are right, and how many as in Keras."""
    expected = model.predict(images, batch_size=100, verbose=0).argmax(axis=1)
    row = {"images": len(labels), "float": float((expected == labels).mean())}
    for scheme, file in our_files(model, calibration, TIMED).items():
        top = answers(file, images).argmax(axis=1)
        row[scheme] = {"accuracy": float((top == labels).mean()), "same": float((top == expected).mean())}
    return row


def distances(images, names):
    """{net: its `distance`} of the trained checkpoints over so many test images."""
    dataset, found = data.load(os.environ["RESDENSE_CIFAR10"]), {}
    _, calibration = data.calibration(dataset, CALIBRATION, 0)
    judged = dataset.test.array(np.arange(images))
    for name in names:
        found[name] = distance(load(name), judged, calibration)
        print(name, found[name], flush=True)
    return found


def distance(model, images, calibration, maxima=False):
    """{"images", "ours", "stock"}: how far int8 files lie from Keras, calibrated on the same images.

    The mean over the images of the largest difference of a probability, as the gate `parity` has it.
    """
    expected = model.predict(images, batch_size=100, verbose=0)
    made = {"ours": our_files, "stock": stock_files, **({"maxima": files_with_maxima} if maxima else {})}
    files_made = {kind: make(model, calibration, ["int8"])["int8"] for kind, make in made.items()}
    far = {kind: np.abs(answers(file, images) - expected).max(axis=1) for kind, file in files_made.items()}
    return {"images": len(images), **{kind: round(float(each.mean()), 5) for kind, each in far.items()}}


def preactivation(folder):
    """{name: {"accuracy", "distance"}} of pre-activation bottleneck nets of 20 layers; those in `folder` are trained.

    Three learn the digits, whose distance is taken over all images that did not calibrate: it tells how near an answer
    is, not how right. One learns 20,000 images of CIFAR-10 for eight epochs. "maxima" is our file without zero_bounds.
    """
    found, folder = {}, folder / "preactivation"
    folder.mkdir(parents=True, exist_ok=True)
    digits, some = data.load("digits"), data.load(part_of_cifar(folder / "cifar10-part.npz"))
    for name, dataset, recipe, seed in (
        *((f"digits, seed {seed}", digits, ("compare", 30, 2 / 30), seed) for seed in range(3)),
        ("20,000 images of cifar10", some, ("fast", 8, 0.2), 0),
    ):
        model = learnt(folder / f"{name}.keras", dataset, recipe, seed)
        chosen, calibration = data.calibration(dataset, CALIBRATION, 0)
        images, labels = dataset.test.array()[:DISTANCE_IMAGES], np.asarray(dataset.test.labels)[:DISTANCE_IMAGES]
        row = {"accuracy": accuracies(model, images, labels, calibration)}
        others = held_out(dataset, chosen, 0)[1][: DISTANCE_IMAGES - len(images)]
        row["distance"] = distance(model, np.concatenate([images, others]), calibration, maxima=True)
        found[f"pre-activation, {name}"] = row
        print(name, row, flush=True)
    return found


def part_of_cifar(path):
    """The path of an .npz with 20,000 of CIFAR-10's training images and its test images."""
    if not path.exists():
        with np.load(os.environ["RESDENSE_CIFAR10"]) as whole:
            chosen = np.random.default_rng(0).permutation(len(whole["x_train"]))[:20_000]
            test = {name: whole[name] for name in ("x_test", "y_test")}
            np.savez(path, x_train=whole["x_train"][chosen], y_train=whole["y_train"][chosen], **test)
    return path


def learnt(path, dataset, recipe, seed):
    """The net in the file, trained and put there first where there is none."""
    if not path.exists():
        name, epochs, warmup = recipe
        keras.utils.set_random_seed(seed)
        small = dataset.image_shape[-1] == 1
        shape = {"input_shape": dataset.image_shape, "shortcut": "B"} if small else {}
        pixels = preprocessing.measured(dataset.train.images) if small else True
        model = resdense_keras.cifar_resnet(
            depth=20, variant="v2", block="bottleneck", include_preprocessing=pixels, **shape
        )
        asked = training.recipe(name, epochs=epochs, warmup=warmup)
        training.Training(model, dataset, asked).run(seed=seed)
        model.save(path)
    return keras.saving.load_model(path, compile=False)


def write(name, parts):
    """Puts the parts into the net's record, each with its date and machine; others that it has stay."""
    path, today = RESULTS / f"export-{name}.json", datetime.date.today().isoformat()
    names = ("tensorflow", "keras", "ai-edge-litert", "litert-quantizer")
    common = {"date": today, "machine": machine(), "versions": {each: version(each) for each in names}}
    before = json.loads(path.read_text()) if path.exists() else {"benchmark": "export", "of": name}
    files.write_json(path, before | {part: common | content for part, content in parts.items()})


def table():
    """Lines of the table in docs/rewriting.md, from the record of each net."""
    columns, rows = [], {}
    for name in [name + end for name in NETS for end in ("", TRAINED)]:
        path = RESULTS / f"export-{name}.json"
        if path.exists():
            columns.append(name)
            for label, found in figures(json.loads(path.read_text())):
                goals = dict(zip(NETS, GOALS.get(label, ()), strict=False))
                rows.setdefault(label, {})[name] = cell(found, goals.get(name.removesuffix(TRAINED)))
    lines = ["| ours / the other | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    lines += [f"| {label} | " + " | ".join(rows[label].get(name, "–") for name in columns) + " |"
              for label in sorted(rows, key=[*GOALS, *rows].index)]  # fmt: skip
    return [line + "\n" for line in lines]


def kept(part):
    """{checkpoint: what the record of accuracies holds of it}, so that one net can be measured again."""
    path = RESULTS / "export-accuracy.json"
    stored = json.loads(path.read_text()).get(part, {}) if path.exists() else {}
    return {name: stored[name] for name in CHECKPOINTS if name in stored}


def accuracy_table():
    """Lines of the table of accuracies in docs/rewriting.md, from what `accuracy` and `distances` stored."""
    stored = json.loads((RESULTS / "export-accuracy.json").read_text())
    schemes = ("fp32", "dynamic", "int8")
    heads = ("checkpoint", "Keras", *schemes, "int8: distance from Keras, ours / stock")
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    rows = {name: (stored["nets"][name], stored.get("distance", {}).get(name)) for name in CHECKPOINTS}
    more = stored.get("preactivation", {}).get("nets", {})
    for name, (row, far) in {
        **rows,
        **{name: (each["accuracy"], each["distance"]) for name, each in more.items()},
    }.items():
        cells = [f"{100 * row[each]['accuracy']:.2f} % ({100 * row[each]['same']:.2f} %)" for each in schemes]
        more = f"; with maxima {far['maxima']:.4f}" if far and "maxima" in far else ""
        cells.append(f"{far['ours']:.4f} / {far['stock']:.4f} ({far['images']:,} images{more})" if far else "–")
        lines.append(f"| {name} | {100 * row['float']:.2f} % | " + " | ".join(cells) + " |")
    return [line + "\n" for line in lines]


def cell(found, goal):
    """A figure with its goal: "0.91 ≤ 0.92 (...)", or "**0.93 > 0.92** (...)" where it was missed."""
    value, median = f"{found['median']:.3f}", found["median"]
    if goal is not None:
        value = f"{value} ≤ {goal:.2f}" if median <= goal else f"**{value} > {goal:.2f}**"
        if max(found.get("high", median) - median, median - found.get("low", median)) > WIDEST:
            value += ", more pairs are needed"
    return f"{value} ({found['text']})"


def figures(record):
    """(row, {"median", "text", "low" and "high" where it has an interval}) of each figure of one net's record."""
    times, made = record.get("times", {}), record.get("files", {})
    for scheme, found in times.get("latency", {}).items():
        for kind in ("stock", "floor"):
            if f"over_{kind}" in found:
                span = found[f"over_{kind}"]
                both = f"{found['ours_ms']:.3g} / {found[f'{kind}_ms']:.3g} ms"
                yield f"{scheme} latency / {kind}", span | {"text": f"{span['low']:.3f}–{span['high']:.3f}; {both}"}
    for scheme, found in made.get("millions_of_instructions", {}).items():
        for kind in ("stock", "floor"):
            if kind in found:
                yield f"{scheme} Arm instructions / {kind}", share(found["ours"], found[kind], "M")
    if made:
        sizes = {key: size / 1e6 for key, size in made["bytes"].items()}
        yield "int8 file / stock", share(sizes["ours-int8"], sizes["stock-int8"], "MB")
    if halved := record.get("half"):
        counted = halved["millions_of_instructions"]
        for label, other in (("our fp32", "ours-fp32"), ("stock", "stock-fp16"),
                             ("stock with its accumulation flag", "stock-fp16-accumulating")):  # fmt: skip
            if counted:
                yield f"fp16 Arm instructions / {label}", share(counted["ours-fp16"], counted[other], "M")
        sizes = {key: size / 1e6 for key, size in halved["bytes"].items()}
        yield "fp16 file / our fp32", share(sizes["ours-fp16"], sizes["ours-fp32"], "MB")
    for found in in_chromium(record["of"]) if "of" in record else ():
        yield "fp16 / fp32 in Chromium", found
    if times:
        seconds = times["seconds"]
        yield "time to fp32 / Keras' litert export", share(seconds["ours_fp32"], seconds["keras_fp32"], "s")
        yield "all four schemes / four stock conversions", share(seconds["ours_all"], seconds["stock_all"], "s")


def in_chromium(name):
    """The newest ratio that benchmarks/half.py --browser stored for this net, if there is one."""
    for path in sorted(RESULTS.glob("half-browser-*.json"))[-1:]:
        row = json.loads(path.read_text())["nets"].get(name)
        if row:
            both = f"{row['fp16_ms']:.3g} / {row['fp32_ms']:.3g} ms"
            text = f"{row['low']:.3f}–{row['high']:.3f}; {both}"
            yield {"median": row["ratio"], "low": row["low"], "high": row["high"], "text": text}


def share(ours, theirs, unit):
    return {"median": ours / theirs, "text": f"{ours:.4g} / {theirs:.4g} {unit}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    choices = [*NETS, *(name + TRAINED for name in NETS if name in CHECKPOINTS)]
    parser.add_argument("--net", choices=choices, action="append", help="default: all but the trained ones")
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--count", help="program that prints `FILE MILLIONS`")
    parser.add_argument("--folder", type=Path, help="keeps files and trained nets and takes them again")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--distance", action="store_true")
    parser.add_argument("--preactivation", action="store_true")
    parser.add_argument("--images", type=int, help="of the accuracy, default: all; of the distance, default: 2000")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    names = [name.removesuffix(TRAINED) for name in arguments.net or CHECKPOINTS]
    if arguments.accuracy:
        write("accuracy", {"nets": kept("nets") | accuracy(arguments.images, names)})
    if arguments.distance:
        write("accuracy", {"distance": kept("distance") | distances(arguments.images or DISTANCE_IMAGES, names)})
    if arguments.preactivation:
        with tempfile.TemporaryDirectory() as temporary:
            write("accuracy", {"preactivation": {"nets": preactivation(arguments.folder or Path(temporary))}})
    if not (arguments.table or arguments.accuracy or arguments.distance or arguments.preactivation):
        for name in arguments.net or NETS:
            with tempfile.TemporaryDirectory() as temporary:
                folder = arguments.folder or Path(temporary)
                parts = measure(name, arguments.part or PARTS, arguments.pairs, arguments.count, folder)
            write(name, parts)
            for label, found in figures(parts):
                print(f"{name}: {label}: {found['median']:.3f} ({found['text']})", flush=True)
            keras.utils.clear_session()
    rewriting_document.put(MARKS, table())
    rewriting_document.put(ACCURACY_MARKS, accuracy_table())


if __name__ == "__main__":
    main()
