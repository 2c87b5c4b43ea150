"""How far out a maximum's bound may stand (rewriting/as_maximum.py, FARTHEST): what 8 bits lose, what Arm saves.

    RESDENSE_CIFAR10=cifar10.npz RESDENSE_CHECKPOINTS=DIR \
        python benchmarks/limits.py --count "$ARM/instructions"             # half an hour on 2 cores

The trained DenseNet-BC-100-12, in each limit's dynamic and int8 file: the mean distance of its probabilities from the
float file's and the share of answers that change, over training images that did not calibrate, and the instructions of
one inference. No test image is looked at: the limit is chosen with these. Writes benchmarks/results/ and the table of
docs/rewriting.md.
"""

import argparse
import datetime
import os
import re
import shlex
import subprocess
import tempfile
from importlib import import_module
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from checkpoints import load

from resdense_export import environment, flatbuffer, runtime
from resdense_export.bundle import CALIBRATION, held_out
from resdense_export.quantization import SCHEMES, quantize
from resdense_export.rewriting import float_files
from resdense_keras import data, files

NET = "densenet_bc100_12"
LIMITS = (4.0, 6.0, 8.0, 10.0, 16.0, 32.0)
ROOT = Path(__file__).parents[1]
DOCUMENT, RESULTS = ROOT / "docs" / "rewriting.md", ROOT / "benchmarks" / "results"
MARKS = ("<!-- table: python benchmarks/limits.py -->\n", "<!-- end of limits -->\n")


def measure(limit, model, calibration, images, expected, command):
    """{"maxima", "dynamic": {"distance", "changed", "millions"}, "int8": ...} with FARTHEST at `limit`."""
    import_module("resdense_export.rewriting.as_maximum").FARTHEST = limit
    floating, found = float_files(model), {}
    for scheme in ("dynamic", "int8"):
        content = quantize(floating(SCHEMES[scheme].graph), scheme, calibration if SCHEMES[scheme].calibrated else None)
        with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
            file.write(content)
            file.flush()
            answers = runtime.run(file.name, images)
            run = subprocess.run([*shlex.split(command), file.name], capture_output=True, text=True, check=True)
        found[scheme] = {
            "distance": round(float(np.abs(answers - expected).mean()), 6),
            "changed": float((answers.argmax(axis=1) != expected.argmax(axis=1)).mean()),
            "millions": float(run.stdout.split()[-1]),
        }
    return {"maxima": flatbuffer.count(flatbuffer.read(content)).get("MAXIMUM", 0), **found}


def write_table(rows):
    lines = [
        "| limit in deviations | maxima | dynamic: distance | changed | Arm instructions | int8: distance | changed "
        "| Arm instructions |\n",
        "|--:|" + "--:|" * 7 + "\n",
    ]
    for limit, row in rows.items():
        cells = [
            f"{1e3 * found['distance']:.2f}e-3 | {100 * found['changed']:.2f} % | {found['millions']:.1f} M"
            for found in (row["dynamic"], row["int8"])
        ]
        lines.append(f"| {limit} | {row['maxima']} | {' | '.join(cells)} |\n")
    start, end = (re.escape(mark) for mark in MARKS)
    text = MARKS[0] + "".join(lines) + MARKS[1]
    files.write_text(DOCUMENT, re.sub(f"(?s){start}.*?{end}", lambda _: text, DOCUMENT.read_text()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", required=True, help="program that prints `FILE MILLIONS`")
    parser.add_argument("--images", type=int, default=2000)
    given = parser.parse_args()
    dataset, model = data.load(os.environ["RESDENSE_CIFAR10"]), load(NET)
    chosen, calibration = data.calibration(dataset, CALIBRATION, 0)
    images = held_out(dataset, chosen, 0)[1][: given.images]
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(float_files(model)("float"))
        file.flush()
        expected = runtime.run(file.name, images)
    rows = {}
    for limit in LIMITS:
        rows[f"{limit:g}"] = measure(limit, model, calibration, images, expected, given.count)
        print(limit, rows[f"{limit:g}"], flush=True)
    today = datetime.date.today().isoformat()
    result = {"benchmark": "limits", "date": today, "versions": environment.versions(), "model": NET}
    result |= {"training_images": len(images), "limits": rows}
    files.write_json(RESULTS / f"limits-{today}.json", result)
    write_table(rows)


if __name__ == "__main__":
    main()
