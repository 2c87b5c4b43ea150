"""The images of an export: what calibrates, what judges, and what chooses the layers that stay in float."""

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
    """The images that one net is exported with.

    Attributes:
        images, labels, indices: What the gates judge on, disjoint from `calibration`; `images` is an array, or images
            on disk. Without data they are generated, and labels and indices are None.
        calibration, calibration_indices: Training images, or None.
        sensitivity, sensitivity_indices: Images that float layers are ranked with, disjoint from the other two; or
            None where none are.
        choosing: The data.Split of test images, disjoint from all of these, that tell how many layers stay float; or
            None. What a file that they chose loses, others tell.
        dataset: The data.Dataset, for schemes that train on, or None.
    """

    images: Any
    labels: np.ndarray | None = None
    indices: np.ndarray | None = None
    calibration: np.ndarray | None = None
    calibration_indices: np.ndarray | None = None
    sensitivity: np.ndarray | None = None
    sensitivity_indices: np.ndarray | None = None
    choosing: Any = None
    dataset: Any = None

    @property
    def data_name(self):
        """Of the data set, for the card; None without one."""
        return None if self.dataset is None else self.dataset.name

    @property
    def weak_calibration(self):
        """Whether there are so few images to calibrate with that int8 is marked weak."""
        return self.calibration is not None and len(self.calibration) < WEAK_CALIBRATION


def from_dataset(dataset, seed=0, *, with_sensitivity=False):
    """Evidence that calibrates on training images and judges on test images of a data.Dataset: all, but for those that
    choose float layers `with_sensitivity`.
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
    )


def _choosing_first(test, seed):
    """(a part of the test images that chooses, the rest, that judges), the classes in their proportions in both."""
    count = min(within_budget.IMAGES, len(test) // 2)
    order = spread(test.labels, seed)
    return (test.part(np.sort(order[:count])) if count else None), test.part(np.sort(order[count:]))


def without_data(image_shape):
    """Evidence on which files are only compared with the float model: images made up here."""
    return Evidence(images=generated_images(image_shape, GOLDEN))


def held_out(dataset, calibrating, seed):
    """Images that neither calibrate nor judge: those held out of training first, for the net does not know them.

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
