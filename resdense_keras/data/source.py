"""Labelled images in the order of their source, before any split."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from resdense_keras.data import resizing


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """All that a reader of data hands over, train first, then validation, then test.

    Attributes:
        labels: (N,) int64 class numbers.
        image_shape: (height, width, channels).
        given: How many of the N images the source itself puts into train, validation and test. A 0 for the last two
            means that we split.
        class_names: Names in the order of the class numbers, or None.
        images: (N, height, width, channels) uint8, or None.
        paths: N files, or None.
        resize: How the files are brought to `image_shape`, of resizing.RULES.
        mirror: False where a mirrored image means something else, as a digit does.
        found: What a folder turned out to be, or None.
    """

    labels: np.ndarray
    image_shape: tuple
    given: tuple
    class_names: tuple | None = None
    images: np.ndarray | None = None
    paths: tuple | None = None
    resize: str = resizing.DEFAULT
    mirror: bool = True
    found: "Found | None" = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Found:
    """What a folder turned out to be, for the line that a command begins with.

    Attributes:
        names: {part: the name of its folder}, of the splits that the folder brings.
        left_out: {folder that is not a split: how many images it has}.
        sizes: A Counter of the (height, width) of the images before they are resized.
        labelled: Whether the images are of classes; False where nobody asked and the folder has none.
    """

    names: dict
    left_out: dict
    sizes: Counter
    labelled: bool = True
