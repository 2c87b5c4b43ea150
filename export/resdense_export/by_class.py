"""How often the files of a net are right on each class, from what their gates already found."""

import base64

import numpy as np


def right_by_class(exports, labels, names):
    """[{"name", "images", "right": {scheme: images}}], a class each, in the order of the outputs; None without labels.

    Args:
        exports: Entries of report.json; `right` has a bit for each image.
        labels: N integers, or None.
        names: Class names in the order of the outputs, or None: then they are numbered.
    """
    judged = {row["scheme"]: _bits(row["right"], labels) for row in exports if _ours(row)}
    if labels is None or not judged:
        return None
    count = len(names) if names else int(labels.max()) + 1
    images = np.bincount(labels, minlength=count)
    right = {scheme: np.bincount(labels[bits], minlength=count) for scheme, bits in judged.items()}
    return [
        {
            "name": str(names[place] if names else place),
            "images": int(images[place]),
            "right": {scheme: int(counts[place]) for scheme, counts in right.items()},
        }
        for place in range(count)
    ]


def for_phones(rows):
    """The scheme whose figures are told where there is room for one: int8, else the last."""
    schemes = list(rows[0]["right"])
    return "int8" if "int8" in schemes else schemes[-1]


def _ours(export):
    return export["converter"] == "rewritten" and export.get("right")


def _bits(packed, labels):
    return np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8), count=len(labels)).astype(bool)
