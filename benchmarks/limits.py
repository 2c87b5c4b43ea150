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
from importlib import import_module
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import rewriting_document
from checkpoints import load, training_images
from rewriting_document import answers, distance, millions, on_disk

from resdense_export import environment
from resdense_export.making.float_files import float_files
from resdense_export.making.quantization import quantize
from resdense_export.schemes import SCHEMES
from resdense_export.tflite import flatbuffer, running
from resdense_keras import files

NET = "densenet_bc100_12"
LIMITS = (4.0, 6.0, 8.0, 10.0, 16.0, 32.0)
RESULTS = Path(__file__).parent / "results"
MARKS = ("<!-- table: python benchmarks/limits.py -->\n", "<!-- end of limits -->\n")


def measure(limit, model, calibration, images, expected, command):
    """{"maxima", "dynamic": {"distance", "changed", "millions"}, "int8": ...} with FARTHEST at `limit`."""
    import_module("resdense_export.nets.rewriting.as_maximum").FARTHEST = limit
    floating, found = float_files(model), {}
    for scheme in ("dynamic", "int8"):
        content = quantize(floating(SCHEMES[scheme].graph), scheme, calibration)
        with on_disk(content) as path:
            found[scheme] = distance(running.run(path, images), expected) | {"millions": millions(command, path)}
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
    rewriting_document.put(MARKS, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", required=True, help="program that prints `FILE MILLIONS`")
    parser.add_argument("--images", type=int, default=2000)
    given = parser.parse_args()
    model = load(NET)
    calibration, images = training_images(given.images)
    expected = answers(float_files(model)("float"), images)
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
