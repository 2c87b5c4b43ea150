"""What a data spec becomes: three disjoint splits, and the images that calibrate a quantized model."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from resdense_keras.data import description, resizing
from resdense_keras.data.images import decode_all
from resdense_keras.data.source import Found
from resdense_keras.data.splits import VALIDATION_SHARE, spread
from resdense_keras.errors import RequestError, WorkError

# A run can only be resumed with the files that it began with.
BLOCK_BYTES = 32 * 2**20  # of pixels that are read at once
_HINT = "restore the file and go on, or begin again with `--on-bad-image skip`, which reads all files first"


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """A part of a data set: its pixels in memory, or the files to read them from where memory is too small.

    Attributes:
        labels: (N,) int64 class numbers.
        indices: (N,) int64 positions in the source, in rising order. No two splits share one; Dataset names the
            exception.
        image_shape: (height, width, channels).
        images: (N, height, width, channels) uint8, or None.
        paths: N files in a tuple, or None where the source has none.
        resize: How the files are brought to `image_shape`, of resizing.RULES.
    """

    labels: np.ndarray
    indices: np.ndarray
    image_shape: tuple
    images: np.ndarray | None = None
    paths: tuple | None = None
    resize: str = resizing.DEFAULT

    def __len__(self) -> int:
        return len(self.labels)

    def array(self, indices: Any = None, parts: Any = None) -> np.ndarray:
        """The images at `indices` (0 to N - 1, all when None), (n, height, width, channels) uint8.

        `parts`: The part of each image in its file to show, see `images.decode`; None for the whole image.

        Raises:
            WorkError: a file is damaged (it changed after the scan, or the scan read only its header); names it.
        """
        if self.images is not None and parts is None:
            return self.images if indices is None else self.images[indices]
        paths = self.paths if indices is None else [self.paths[index] for index in indices]
        *size, channels = self.image_shape
        images, reasons = decode_all(paths, channels=channels, size=size, resize=self.resize, parts=parts)
        if reasons:
            raise WorkError("; ".join(reasons.values()), _HINT)
        return images

    def identity(self) -> bytes:
        """What tells these images from others: the names and sizes of the files, else the pixels."""
        if self.paths is not None:  # a name that is not UTF-8 gives its own bytes
            names = "\n".join(f"{path.name} {path.stat().st_size}" for path in self.paths)
            return names.encode(errors="surrogateescape")
        return b"" if self.images is None else self.images.tobytes()

    @property
    def in_memory(self) -> bool:
        """Whether the pixels are in memory, so that `array` costs nothing."""
        return self.images is not None

    def held(self) -> Any:
        """All images: an array where they are in memory, else ImagesOnDisk."""
        return self.images if self.in_memory else ImagesOnDisk(self)

    def part(self, positions):
        """The Split of the images at `positions`, 0 to N - 1 and rising."""
        return replace(
            self,
            labels=self.labels[positions],
            indices=self.indices[positions],
            images=None if self.images is None else self.images[positions],
            paths=None if self.paths is None else tuple(self.paths[position] for position in positions),
        )

    def blocks(self, indices: Any = None, count: int | None = None) -> Iterator[np.ndarray]:
        """The images at `indices` in blocks of `count` (None: as many as fit into BLOCK_BYTES), each as `array` returns
        it."""
        indices = np.arange(len(self)) if indices is None else indices
        count = count or max(1, BLOCK_BYTES // int(np.prod(self.image_shape)))
        for begin in range(0, len(indices), count):
            yield self.array(indices[begin : begin + count])


class ImagesOnDisk:
    """Stands for the array of images of a split that stays on disk: files are read where pixels are used.

    Attributes:
        shape: (N, height, width, channels).
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, split):
        self._split, self.shape = split, (len(split), *split.image_shape)

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, positions):
        """The images at an array of positions, (n, height, width, channels) uint8."""
        return self._split.array(positions)

    def blocks(self):
        """All images, some at a time."""
        return self._split.blocks()

    def min(self):
        """The darkest pixel of all."""
        return self._range[0]

    def max(self):
        """The brightest pixel of all."""
        return self._range[1]

    @functools.cached_property
    def _range(self):
        ends = [(block.min(), block.max()) for block in self.blocks()]
        return min(low for low, _ in ends), max(high for _, high in ends)


def in_blocks(images: Any) -> Iterator[np.ndarray]:
    """The blocks of ImagesOnDisk; an array as a single block."""
    return images.blocks() if isinstance(images, ImagesOnDisk) else [images]


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """The splits of a data spec.

    Attributes:
        class_names: Names in the order of the class numbers; None where the source has none (.npz).
        validation, test: Two disjoint Splits; one and the same where a folder has val/ and no test/.
        given: Numbers of images that the source itself puts into train, validation and test; 0 where we split.
        held_out: Share of the training images that became the validation split, where the source has none.
        mirror: False where a mirrored image has another meaning, such as a digit.
        found: A Found record of what the folder contains, or None for other sources.
    """

    spec: str
    class_names: tuple | None
    image_shape: tuple
    train: Split
    validation: Split
    test: Split
    given: tuple = (0, 0, 0)
    held_out: float = VALIDATION_SHARE
    mirror: bool = True
    found: Found | None = None

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def name(self) -> str:
        """The last part of the spec, as text."""
        return description.as_text(Path(self.spec).name)

    @property
    def val_judges(self) -> bool:
        """Whether the validation split, which chose the epoch, is the test split too."""
        return self.test is self.validation

    @property
    def resize(self) -> str:
        """How files are brought to `image_shape`, of resizing.RULES."""
        return self.train.resize

    def val_note(self) -> str | None:
        """A sentence for reports and cards where val/ is the validation and the test split, or None."""
        return description.val_note(self)

    def describe(self) -> str:
        """What was understood of the data, in one line: splits, classes, sizes."""
        return description.line(self)

    @property
    def classes(self) -> int:
        """Number of outputs that a model for these data needs at least."""
        highest = max(split.labels.max() for split in self.splits.values())
        return int(highest) + 1 if self.class_names is None else len(self.class_names)

    def check_outputs(self, outputs: int) -> None:
        """Refuses a model with fewer outputs than there are classes; more are fine."""
        if self.classes > outputs:
            message = f"{self.spec} has labels up to {self.classes - 1}; a model of {outputs} outputs knows 0 to"
            raise RequestError(f"{message} {outputs - 1}", f"take a model with {self.classes} outputs or more")


def calibration(dataset: Dataset, count: int = 200, seed: int = 0) -> np.ndarray:
    """Training images that set the ranges of an int8 model, the classes in their proportions.

    Returns:
        Positions in the source, rising, and the images, (n, height, width, channels) uint8; n is `count`, or the
        whole of train where that is smaller.
    """
    chosen = representative(dataset.train, count, seed)
    return dataset.train.indices[chosen], dataset.train.array(chosen)


def representative(split: Split, count: int, seed: int = 0) -> np.ndarray:
    """Up to `count` positions in a split (0 to N - 1), rising, the classes in their proportions."""
    return np.sort(spread(split.labels, seed)[:count])
