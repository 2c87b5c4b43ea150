"""Classifies images with the net of this bundle: python snippets/classify.py [--file NET.tflite] IMAGE ...

Needs Python 3.10, ai-edge-litert, numpy and pillow; everything else it reads from model.json.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

BUNDLE = Path(__file__).resolve().parents[1]
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Classifier:
    """One .tflite file of the bundle; `names` is None where the net's classes have none."""

    def __init__(self, file=None, bundle=BUNDLE, threads=1):
        self.model = json.loads((bundle / "model.json").read_text(encoding="utf-8"))
        file = file or self.model["recommended"]["cpu"]["file"]
        self.runner = Interpreter(str(bundle / file), num_threads=threads).get_signature_runner(self.model["signature"])
        labels = self.model["output"]["labels"]
        self.names = labels and (bundle / labels).read_text(encoding="utf-8").splitlines()

    def __call__(self, image):
        """Probabilities (classes,) of a Pillow image."""
        given = self.model["input"]
        found = self.run(to_pixels(image, given["shape"][1:], [step["step"] for step in given["resize_steps"]]))
        one = self.model["output"]["classes"] == 2 and len(found) == 1  # the probability of the second class
        return np.array([1 - found[0], found[0]]) if one else found

    def run(self, pixels):
        """The net's own outputs for (height, width, channels) pixels of exactly the input's size."""
        given = self.model["input"]
        batch = np.asarray(pixels, given["dtype"])[np.newaxis]
        return self.runner(**{given["name"]: batch})[self.model["output"]["name"]][0]


def to_pixels(image, shape, steps):
    """A photo as the net takes it, by the rule in model.json: turned, over white, cropped or stretched or padded.

    `steps` are the names of that rule's steps.
    """
    height, width, channels = shape
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data and channels != 4:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(MODES[channels])
    if "crop" in steps:
        scale = min(image.width / width, image.height / height)
        cut_width, cut_height = max(1, round(scale * width)), max(1, round(scale * height))
        left, top = (image.width - cut_width) // 2, (image.height - cut_height) // 2
        image = image.crop((left, top, left + cut_width, top + cut_height))
    size = width, height
    if "pad" in steps:
        scale = max(image.width / width, image.height / height)
        size = max(1, round(image.width / scale)), max(1, round(image.height / scale))
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)  # Pillow's filter is antialiased
    if size != (width, height):
        whole = Image.new(image.mode, (width, height))  # black
        whole.paste(image, ((width - size[0]) // 2, (height - size[1]) // 2))
        image = whole
    return np.asarray(image, np.uint8).reshape(shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", help="a .tflite file of this bundle; default: the one that model.json recommends")
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("images", nargs="+")
    arguments = parser.parse_args()
    if arguments.file and not (BUNDLE / arguments.file).is_file():
        known = ", ".join(sorted(path.name for path in BUNDLE.glob("*.tflite")))
        sys.exit(f"error: --file {arguments.file} is not in this bundle; give a name, one of {known}")
    classifier = Classifier(arguments.file)
    for path in arguments.images:
        try:
            with Image.open(path) as image:
                probabilities = classifier(image)
        except OSError as error:  # there is no such file, or Pillow cannot read it
            sys.exit(f"error: {path} cannot be read as an image: {error}")
        for number in np.argsort(-probabilities)[: arguments.top]:
            name = classifier.names[number] if classifier.names and number < len(classifier.names) else number
            print(f"{path}\t{name}\t{probabilities[number]:.4f}")


if __name__ == "__main__":
    main()
