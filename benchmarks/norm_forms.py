"""What a batch norm with ReLU costs that cannot fold, in each form that it can be written in.

    python benchmarks/norm_forms.py --count "$ARM/instructions"

Six in a row on 28 x 28 x 128 numbers between a convolution and the head, less the same net without them, for each
number that one of them computes. `--count` names a program that prints `FILE MILLIONS`. Writes benchmarks/results/ and
the table in docs/rewriting.md.
"""

import argparse
import datetime
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import rewriting_document
from keras import layers, ops

from resdense_export.making.conversion import convert
from resdense_export.making.quantization import quantize
from resdense_export.sources import generated_images
from resdense_keras import files

SIDE, CHANNELS, ROW = 28, 128, 6
RESULTS = Path(__file__).parent / "results"
MARKS = ("<!-- table: python benchmarks/norm_forms.py -->\n", "<!-- end of forms -->\n")
CONSTANT = np.random.default_rng(0).normal(0, 1, CHANNELS).astype("float32")
FORMS = {
    "depthwise 1x1 with bias and ReLU": lambda x: layers.DepthwiseConv2D(1, activation="relu")(x),
    "MUL, ADD with ReLU": lambda x: layers.ReLU()(x * CONSTANT + CONSTANT),
    "ADD with ReLU": lambda x: layers.ReLU()(x + CONSTANT),
    "MAXIMUM with a constant": lambda x: ops.maximum(x, CONSTANT),
}


def millions(command, form, images):
    """{"fp32": millions of instructions of the net with ROW times `form`, "int8": ...}."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.ReLU()(layers.Conv2D(CHANNELS, 1)(inputs))
    for _ in range(ROW):
        x = form(x)
    model = keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    floating, found = convert(model), {}
    for scheme in ("fp32", "int8"):
        with rewriting_document.on_disk(quantize(floating, scheme, images)) as path:
            found[scheme] = rewriting_document.millions(command, path)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", required=True, help="program that prints `FILE MILLIONS`")
    command = parser.parse_args().count
    keras.utils.set_random_seed(0)
    images = generated_images((SIDE, SIDE, 3), 100)
    without = millions(command, lambda x: x, images)
    each = 1e6 / (ROW * SIDE * SIDE * CHANNELS)
    rows = {}
    for name, form in FORMS.items():
        found = millions(command, form, images)
        rows[name] = {scheme: round((found[scheme] - without[scheme]) * each, 2) for scheme in found}
        print(name, rows[name], flush=True)
    today = datetime.date.today().isoformat()
    result = {"benchmark": "norm_forms", "date": today, "instructions_a_number": rows}
    files.write_json(RESULTS / f"norm_forms-{today}.json", result)
    lines = ["| form | fp32 | int8 |\n", "|---|--:|--:|\n"]
    lines += [f"| {name} | {row['fp32']:.1f} | {row['int8']:.1f} |\n" for name, row in rows.items()]
    rewriting_document.put(MARKS, lines)


if __name__ == "__main__":
    main()
