"""The images of an export: those that calibrate, those that judge, and those that choose the layers that stay in
float."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from resdense_keras.data.splits import spread
from resdense_keras.errors import RequestError

from ..limits import WEAK_CALIBRATION
from ..making import within_budget
from ..sources import generated_images

CALIBRATION = 200  # training images that set the int8 ranges
GOLDEN = 20  # images that are shown to every port of a file


@dataclass(frozen=True)
class Evidence:
    """The images for the export of one net.

    Attributes:
        images, labels, indices: Images of the gates, disjoint from `calibration`; `images` is an array, or
            ImagesOnDisk. Without data they are generated, and labels and indices are None.
        calibration, calibration_indices: Training images, or None.
        doubts: Sentences on how the calibration images differ from the judging ones, see making/likeness.py.
        sensitivity, sensitivity_indices: Images that rank layers by their sensitivity, disjoint from the other two;
            None without a budget.
        choosing: data.Split of test images, disjoint from all of these, that decide how many layers stay float; or
            None. Other images measure the loss of the chosen file.
        dataset: The data.Dataset, for schemes that train the net further; or None.
        fingerprint: sha256 of the judging images and their labels; equal for files that were judged on the same images.
            None without data.
    """

    images: Any
    labels: np.ndarray | None = None
    indices: np.ndarray | None = None
    calibration: np.ndarray | None = None
    calibration_indices: np.ndarray | None = None
    doubts: tuple = ()
    sensitivity: np.ndarray | None = None
    sensitivity_indices: np.ndarray | None = None
    choosing: Any = None
    dataset: Any = None
    fingerprint: str | None = None

    @property
    def data_name(self):
        """Name of the data set for the card; None without data."""
        return None if self.dataset is None else self.dataset.name

    @property
    def weak_calibration(self):
        """Whether so few images calibrate that int8 is marked weak."""
        return self.calibration is not None and len(self.calibration) < WEAK_CALIBRATION

    def some_images(self):
        """Up to CALIBRATION of the judging images, evenly spaced."""
        count = len(self.images)
        return self.images[np.arange(min(CALIBRATION, count)) * count // min(CALIBRATION, count)]


def from_dataset(dataset, seed=0, *, with_sensitivity=False):
    """Evidence that calibrates on training images and judges on all test images of a data.Dataset; `with_sensitivity`
    takes some of the test images to choose float layers.
    """
    from resdense_keras.data import calibration

    chosen, images = calibration(dataset, CALIBRATION, seed)
    positions, sensitive = held_out(dataset, chosen, seed) if with_sensitivity else (None, None)
    choosing, judging = _choosing_first(dataset.test, seed) if with_sensitivity else (None, dataset.test)
    return Evidence(
        images=judging.held(),
        labels=judging.labels,
        indices=judging.indices,
        calibration=images,
        calibration_indices=chosen,
        sensitivity=sensitive,
        sensitivity_indices=positions,
        choosing=choosing,
        dataset=dataset,
        fingerprint=hashlib.sha256(judging.labels.tobytes() + judging.identity()).hexdigest(),
    )


def _choosing_first(test, seed):
    """(the part of the test images that chooses, the rest, which judges), both with the classes in proportion."""
    count = min(within_budget.IMAGES, len(test) // 2)
    order = spread(test.labels, seed)
    return (test.part(np.sort(order[:count])) if count else None), test.part(np.sort(order[count:]))


def without_data(image_shape):
    """Evidence of generated images, on which files are only compared with the float model."""
    return Evidence(images=generated_images(image_shape, GOLDEN))


def held_out(dataset, calibrating, seed):
    """Images that neither calibrate nor judge. Images held out of training come first, because the net does not know
    them.

    Returns:
        Positions in the source, rising, and up to within_budget.IMAGES images.
    """
    parts = []
    for split in (dataset.train,) if dataset.val_judges else (dataset.validation, dataset.train):
        left = within_budget.IMAGES - sum(len(positions) for positions, _ in parts)
        order = spread(split.labels, seed)
        free = order[~np.isin(split.indices[order], calibrating)][:left]
        if len(free):
            parts.append((split.indices[free], split.array(free)))
    if not parts:
        message = f"--budget needs images that neither calibrate nor judge; all {len(dataset.train)} of train calibrate"
        raise RequestError(message, "give more training images, or leave --budget out")
    positions, images = (np.concatenate(values) for values in zip(*parts, strict=True))
    rising = np.argsort(positions)
    return positions[rising], images[rising]
