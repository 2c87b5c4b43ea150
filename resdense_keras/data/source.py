"""Labelled images in the order of their source, before any split."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from resdense_keras.data import resizing


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """What a reader of data returns: the images of train first, then validation, then test.

    Attributes:
        labels: (N,) int64 class numbers.
        image_shape: (height, width, channels).
        given: Numbers of the N images that the source itself puts into train, validation and test. Where the last two
            are 0, we split.
        class_names: Names in the order of the class numbers, or None.
        images: (N, height, width, channels) uint8, or None.
        paths: N files, or None.
        resize: How the files are brought to `image_shape`, of resizing.RULES.
        mirror: False where a mirrored image has another meaning, such as a digit.
        found: A Found record of what the folder contains, or None for other sources.
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
    """What was found in a folder, for the first line that a command prints.

    Attributes:
        names: {part: the name of its folder}, for the splits that the folder has.
        left_out: {folder that is not a split: number of its images}.
        sizes: A Counter of the (height, width) of the images before they are resized.
        labelled: Whether the images are of classes; False where nobody asked and the folder has none.
    """

    names: dict
    left_out: dict
    sizes: Counter
    labelled: bool = True
