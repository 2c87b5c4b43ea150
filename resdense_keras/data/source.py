"""Labelled images in the order of their source, before any split."""

from dataclasses import dataclass

import numpy as np


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
    """

    labels: np.ndarray
    image_shape: tuple
    given: tuple
    class_names: tuple | None = None
    images: np.ndarray | None = None
    paths: tuple | None = None
