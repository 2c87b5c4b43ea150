"""What rewriting/image_rows.py saves: the stem of a 224 x 224 net with and without it, in Arm instructions.

    python benchmarks/stem.py --count "$ARM/instructions"

A shift, a padding by 3, a 7x7 convolution with stride 2 and 64 filters, a mean. `--count` names a program that prints
`FILE MILLIONS`. Writes benchmarks/results/ and the table of docs/rewriting.md.
"""

import argparse
import datetime
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import rewriting_document
from keras import layers

from resdense_export import environment
from resdense_export.making.conversion import convert
from resdense_export.making.quantization import quantize
from resdense_export.nets.emitting import emit
from resdense_export.nets.reading import read
from resdense_export.nets.rewriting import apply
from resdense_export.nets.rewriting.image_rows import image_rows
from resdense_export.sources import generated_images
from resdense_keras import files

SIDE, SCHEMES = 224, ("fp32", "dynamic", "int8")
RESULTS = Path(__file__).parent / "results"
MARKS = ("<!-- table: python benchmarks/stem.py -->\n", "<!-- end of stem -->\n")
FORMS = {"pixel by pixel": (), "rows, two pixels at a time": (image_rows,)}


def stem():
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.ZeroPadding2D(3)(layers.Rescaling(1.0, offset=[-123.0, -116.0, -103.0])(inputs))
    x = layers.Conv2D(64, 7, strides=2, activation="relu")(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", required=True, help="program that prints `FILE MILLIONS`")
    command = parser.parse_args().count
    keras.utils.set_random_seed(0)
    nodes, images, rows = read(stem()), generated_images((SIDE, SIDE, 3), 100), {}
    for form, passes in FORMS.items():
        floating, rows[form] = convert(emit(apply(nodes, passes))), {}
        for scheme in SCHEMES:
            with rewriting_document.on_disk(quantize(floating, scheme, images)) as path:
                rows[form][scheme] = rewriting_document.millions(command, path)
        print(form, rows[form], flush=True)
    today = datetime.date.today().isoformat()
    result = {"benchmark": "stem", "date": today, "versions": environment.versions()}
    files.write_json(RESULTS / f"stem-{today}.json", result | {"millions_of_instructions": rows})
    lines = ["| stem | " + " | ".join(SCHEMES) + " |\n", "|---|" + "--:|" * len(SCHEMES) + "\n"]
    lines += [
        f"| {form} | " + " | ".join(f"{found[scheme]:.1f} M" for scheme in SCHEMES) + " |\n"
        for form, found in rows.items()
    ]
    rewriting_document.put(MARKS, lines)


if __name__ == "__main__":
    main()
