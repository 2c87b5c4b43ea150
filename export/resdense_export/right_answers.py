"""Which images a file answers rightly: the bits in report.json, and what they say of each class."""

import base64

import numpy as np


def packed(right):
    """(N,) bool as report.json holds it: one bit per image, in order, in base64."""
    return base64.b64encode(np.packbits(right)).decode()


def unpacked(text, images=None):
    """(images,) bool of what `packed` made; without `images` up to the end of its last byte.

    Raises:
        ValueError: it is not base64.
    """
    content = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    return np.unpackbits(content, count=images).astype(bool)


def right_by_class(exports, labels, names):
    """[{"name", "images", "right": {scheme: images}}], one per class, in the order of the outputs; None without labels.

    Args:
        exports: Entries of report.json with `right`.
        labels: N integers, or None.
        names: Class names in the order of the outputs, or None: then they are numbered.
    """
    if labels is None:
        return None
    ours = [row for row in exports if row["converter"] == "rewritten" and row.get("right")]
    if not ours:
        return None
    count = len(names) if names else int(labels.max()) + 1
    images = np.bincount(labels, minlength=count)
    right = {row["scheme"]: np.bincount(labels[unpacked(row["right"], len(labels))], minlength=count) for row in ours}
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


def worst_first(rows):
    """The classes of `right_by_class` with images, by the share that the file `for_phones` has right, least first."""
    judged = [row for row in rows if row["images"]]
    return sorted(judged, key=lambda row: row["right"][for_phones(rows)] / row["images"])
