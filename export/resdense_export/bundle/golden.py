"""golden/: images as lossless PNGs of exactly the input's size, and every file's outputs for them.

Whoever ports the net to a phone runs them there: another output than these means that the app feeds other pixels, not
that the phone differs.
"""

import math

import numpy as np

from resdense_keras import files

from ..judging.reference import span
from ..models.answers import has_classes
from ..tflite import running
from .evidence import GOLDEN

# Largest difference of one probability; for logits as many times more as their span is wider. `half` is for float16
# files, and for any file on a GPU that computes in float16. half and int8 also need the same top-1.
TOLERANCE = {"float": 1e-3, "half": 0.03, "int8": 0.1}
# Largest size of golden.json in bytes, and the bytes of one number in it. With many outputs there are fewer images; if
# even one image has too many, only the first outputs are kept.
LARGEST, DIGITS = 950_000, 26
_CHANNELS = (1, 3, 4)  # that a PNG can hold


def write(bundle):
    """Writes the images and golden.json: the label of each image, and the outputs of each of our files.

    Where the outputs are not classes, golden.json may hold only the first `numbers` of them.
    """
    from PIL import Image

    chosen = positions(bundle.evidence.labels, len(bundle.evidence.images))
    files_made = sum(export["converter"] == "rewritten" for export in bundle.exports)
    numbers = math.prod(bundle.net.model.output_shape[1:])
    if not has_classes(bundle.answers):
        fitting = LARGEST // (DIGITS * max(1, files_made))  # numbers of each file, over all images
        chosen, numbers = chosen[: max(1, fitting // numbers)], min(numbers, fitting)
    images = bundle.evidence.images[chosen]
    if images.shape[-1] not in _CHANNELS:
        return
    answers = {
        export["file"]: running.run(bundle.folder / export["file"], images)
        for export in bundle.exports
        if export["converter"] == "rewritten"
    }
    rows = []
    for number, (position, image) in enumerate(zip(chosen, images, strict=True)):
        name = f"{number:02d}.png"
        with files.writing(bundle.folder / "golden" / name) as path:
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(path)
        rows.append(
            {
                "image": name,
                "label": None if bundle.evidence.labels is None else int(bundle.evidence.labels[position]),
                "probabilities": {
                    file: [round(float(p), 6) for p in probabilities[number][:numbers]]
                    for file, probabilities in answers.items()
                },
            }
        )
    width = max(map(span, answers.values()), default=1.0)
    tolerance = {kind: limit * width for kind, limit in TOLERANCE.items()}
    whole = all(numbers == each.shape[1] for each in answers.values())
    about = {"tolerance": tolerance, **({} if whole else {"numbers": numbers})}
    files.write_json(bundle.folder / "golden" / "golden.json", {**about, "images": rows})


def positions(labels, count):
    """Positions of up to GOLDEN images; the classes take turns."""
    if labels is None:
        return np.arange(min(GOLDEN, count))
    rank = np.zeros(count, int)  # how many of its class come before an image
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    return np.sort(np.lexsort((labels, rank))[:GOLDEN])
