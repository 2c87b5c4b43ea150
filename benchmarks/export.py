"""Our files against the stock converter's, and against what no treatment of batch norm could beat.

    python benchmarks/export.py --net densenet121 --count "$ARM/instructions"     # everything of one net
    python benchmarks/export.py --accuracy                                        # checkpoints over all of CIFAR-10
    python benchmarks/export.py --table                                           # the table of docs/rewriting.md

Stock is `TFLiteConverter.from_keras_model` of the same model with float32 ends. Floor is our graph with its remaining
batch norms deleted: wrong answers, but nothing that keeps them can be faster. Batch norms have random statistics: a
fresh net's are zeros and ones, which the converter drops. Latencies are medians of interleaved pairs on one thread with
a bootstrapped 95 % interval of the ratio. `--count` names a program that prints `FILE MILLIONS` for files, such as
instructions on an emulated core. Results go to benchmarks/results/, with date and machine.
"""

import argparse
import datetime
import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from checkpoints import CHECKPOINTS, load
from convert import keras_export, randomize_batch_norms

import resdense_keras
from resdense_export import flatbuffer, runtime
from resdense_export.conversion import convert
from resdense_export.emit import emit
from resdense_export.gates import generated_images
from resdense_export.graph import read
from resdense_export.measurement import machine
from resdense_export.quantization import SCHEMES, quantize
from resdense_export.rewriting import GRAPHS, apply, float_files
from resdense_export.rewriting.editing import Editor
from resdense_export.stock import stock
from resdense_keras import data, files

RESULTS = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parents[1] / "docs" / "rewriting.md"
MARKS = ("<!-- table: python benchmarks/export.py --table -->\n", "<!-- end of table -->\n")
IMAGES = 100
NETS = {
    "densenet121": {},
    "densenet_bc100_12": {},
    "resnet50_v2": {"variant": "v2-keras"},
    "resnet50": {"variant": "v1.5"},
}
STOCK_OPERATORS = {  # the stock file must be this, or it is not what we say we compare with
    "densenet121": {
        "CONV_2D": 120,
        "MUL": 63,
        "ADD": 63,
        "CONCATENATION": 58,
        "AVERAGE_POOL_2D": 3,
    },  # 62 and the input's
}


def build(name):
    """The net with its normalisation inside and batch norms as training leaves them, the same on every run."""
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


def timed(make):
    start = time.perf_counter()
    made = make()
    return made, round(time.perf_counter() - start, 2)


def make_files(name, model, folder):
    """({(kind, scheme): path}, {what: seconds}); our times include rewriting and calibration, each graph once."""
    images, paths, seconds = generated_images(model.input_shape[1:], IMAGES), {}, {}

    def keep(kind, scheme, content):
        paths[kind, scheme] = folder / f"{name}-{kind}-{scheme}.tflite"
        paths[kind, scheme].write_bytes(content)

    def ours():
        floating = float_files(model)
        for scheme, row in SCHEMES.items():
            keep("ours", scheme, quantize(floating(row.graph), scheme, images if row.calibrated else None))

    _, seconds["ours_fp32"] = timed(lambda: float_files(model)("float"))
    _, seconds["keras_fp32"] = timed(lambda: keras_export(model))
    _, seconds["ours_all"] = timed(ours)
    seconds["stock_all"] = 0
    for scheme in SCHEMES:
        content, taken = timed(lambda scheme=scheme: stock(model, scheme, images))
        seconds["stock_all"] += taken
        keep("stock", scheme, content)
    floors = {graph: convert(floor(model, graph)) for graph in GRAPHS}
    for scheme in ("fp32", "int8"):
        row = SCHEMES[scheme]
        keep("floor", scheme, quantize(floors[row.graph], scheme, images if row.calibrated else None))
    return paths, seconds


def ratio(ours, theirs, random):
    """{"median", "low", "high"} of ours over theirs, pair by pair; the interval by bootstrap."""
    shares = np.asarray(ours) / np.asarray(theirs)
    again = np.median(random.choice(shares, (2000, len(shares))), axis=1)
    low, high = np.percentile(again, (2.5, 97.5))
    return {"median": round(float(np.median(shares)), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def latencies(paths, pairs):
    """{"fp32": {"ours_ms", "stock_ms", "ratio", ...}} on one thread, files of one scheme taking turns."""
    random, found = np.random.default_rng(0), {}
    for scheme in ("fp32", "dynamic", "int8"):
        kinds = [kind for kind, other in paths if other == scheme]
        times = dict(zip(kinds, runtime.time_rounds([paths[kind, scheme] for kind in kinds], pairs), strict=True))
        found[scheme] = {f"{kind}_ms": round(float(np.median(taken)) / 1e6, 3) for kind, taken in times.items()}
        for kind in set(kinds) - {"ours"}:
            found[scheme][f"over_{kind}"] = ratio(times["ours"], times[kind], random)
    return found


def counts(command, paths):
    """{"fp32": {"ours": millions, "stock": ...}} as `command FILE` prints them."""
    found = {}
    for (kind, scheme), path in paths.items():
        if scheme != "fp16":
            run = subprocess.run([*shlex.split(command), str(path)], capture_output=True, text=True, check=True)
            found.setdefault(scheme, {})[kind] = float(run.stdout.split()[-1])
    return found


def measure(name, pairs, command):
    """The record of one net."""
    model = build(name)
    with tempfile.TemporaryDirectory() as folder:
        paths, seconds = make_files(name, model, Path(folder))
        operators = {
            f"{kind}-{scheme}": flatbuffer.count(flatbuffer.read(path.read_bytes()))
            for (kind, scheme), path in paths.items()
        }
        for operator, number in STOCK_OPERATORS.get(name, {}).items():
            assert operators["stock-fp32"][operator] == number, (operator, operators["stock-fp32"])
        record = {
            "seconds": seconds,
            "bytes": {f"{kind}-{scheme}": path.stat().st_size for (kind, scheme), path in paths.items()},
            "operators": operators,
            "pairs": pairs,
            "latency": latencies(paths, pairs),
        }
        if command:
            record["millions_of_instructions"] = counts(command, paths)
    return record


def accuracy(limit):
    """{net: {"float", "fp32": {"accuracy", "same"}, ...}} of the trained checkpoints over the test images."""
    dataset, found = data.load(os.environ["RESDENSE_CIFAR10"]), {}
    images, labels = dataset.test.array()[:limit], np.asarray(dataset.test.labels)[:limit]
    _, calibration = data.calibration(dataset, 200, 0)
    for name in CHECKPOINTS:
        model = load(name)
        expected = model.predict(images, batch_size=100, verbose=0).argmax(axis=1)
        row = {"images": len(labels), "float": float((expected == labels).mean())}
        floating = float_files(model)
        with tempfile.TemporaryDirectory() as made:
            for scheme in ("fp32", "dynamic", "int8"):
                path = Path(made) / f"{scheme}.tflite"
                graph = SCHEMES[scheme].graph
                path.write_bytes(quantize(floating(graph), scheme, calibration if SCHEMES[scheme].calibrated else None))
                top = runtime.run(path, images).argmax(axis=1)
                row[scheme] = {"accuracy": float((top == labels).mean()), "same": float((top == expected).mean())}
        found[name] = row
        print(name, row, flush=True)
    return found


def write(kind, content):
    today = datetime.date.today().isoformat()
    names = ("tensorflow", "keras", "ai-edge-litert", "ai-edge-quantizer")
    common = {"benchmark": "export", "date": today, "machine": machine(), "versions": {n: version(n) for n in names}}
    files.write_json(RESULTS / f"export-{kind}-{today}.json", common | content)


def table():
    """Lines of the table in docs/rewriting.md, from the newest result of each net."""
    columns, rows = [], {}
    for name in NETS:
        stored = sorted(RESULTS.glob(f"export-{name}-*.json"))
        if stored:
            columns.append(name)
            for label, value in figures(json.loads(stored[-1].read_text())):
                rows.setdefault(label, {})[name] = value
    lines = ["| ours / the other | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    lines += [
        f"| {label} | " + " | ".join(row.get(name, "–") for name in columns) + " |" for label, row in rows.items()
    ]
    return [line + "\n" for line in lines]


def figures(record):
    """(row, text) of each figure of one net's record."""
    for scheme, found in record["latency"].items():
        for kind in ("stock", "floor"):
            if f"over_{kind}" in found:
                span = found[f"over_{kind}"]
                times = f"{found['ours_ms']:.3g} / {found[f'{kind}_ms']:.3g} ms"
                yield (
                    f"{scheme} latency / {kind}",
                    f"{span['median']:.3f} ({span['low']:.3f}–{span['high']:.3f}; {times})",
                )
    for scheme, found in record.get("millions_of_instructions", {}).items():
        for kind in ("stock", "floor"):
            if kind in found:
                text = f"{found['ours'] / found[kind]:.3f} ({found['ours']:.1f} / {found[kind]:.1f} M)"
                yield f"{scheme} Arm instructions / {kind}", text
    sizes = record["bytes"]
    yield "int8 file / stock", f"{sizes['ours-int8'] / sizes['stock-int8']:.3f}"
    seconds = record["seconds"]
    yield "time to fp32 / Keras' litert export", f"{seconds['ours_fp32'] / seconds['keras_fp32']:.2f}"
    yield "all four schemes / four stock conversions", f"{seconds['ours_all'] / seconds['stock_all']:.2f}"


def write_table():
    text = DOCUMENT.read_text()
    start, end = (re.escape(mark) for mark in MARKS)
    files.write_text(DOCUMENT, re.sub(f"(?s){start}.*?{end}", lambda _: MARKS[0] + "".join(table()) + MARKS[1], text))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--net", choices=NETS, action="append", help="default: all")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--count", help="program that prints `FILE MILLIONS`")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--images", type=int, help="of the accuracy; default: all")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.accuracy:
        write("accuracy", {"nets": accuracy(arguments.images)})
    elif not arguments.table:
        for name in arguments.net or NETS:
            record = measure(name, arguments.pairs, arguments.count)
            write(name, record)
            for label, text in figures(record):
                print(f"{name}: {label}: {text}", flush=True)
            keras.utils.clear_session()
    write_table()


if __name__ == "__main__":
    main()
