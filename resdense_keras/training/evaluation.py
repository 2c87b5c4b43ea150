"""Judges a trained net on images that it has not seen; in this package only this module reads the test split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import naming_bad_files, pipeline
from ..data.dataset import representative
from ..errors import WorkError
from ..intervals import wilson
from .exhaustion import halving

if TYPE_CHECKING:
    import keras

    from resdense_keras.data import Dataset, Split

BATCH = 32  # Keras' own
TOP = 5
BINS = 15  # Guo et al. 2017, arXiv:1706.04599, section 5
KNOWN, GAP = 2_000, 0.02  # images that tell whether a net knows them, and what it is better on those that it knows


def evaluate(
    model: keras.Model, split: Split, class_names: Sequence[str] | None = None, batch_size: int = BATCH
) -> dict[str, Any]:
    """Figures of `model` on a split.

    Args:
        model: (N, H, W, C) float32 pixels in [0, 255] -> probabilities (or logits, which are told by their sums).
        split: A `data.Split`, usually `dataset.test`.
        class_names: Names of the classes, or None.
        batch_size: Images per step; fewer where the memory is short.
    Returns:
        {"accuracy", "top5", "per_class": [{"class", "name", "images", "accuracy"}], "confusion": rows of true classes,
        columns of predicted classes, "calibration_error", "images"}. Accuracies are fractions; "accuracy" of a class
        without images is None.
    Raises:
        WorkError: an output is not finite, or a file of the split cannot be read.
    """
    return figures(probabilities(model, split, batch_size), split.labels, class_names)


def figures(predicted, labels, class_names=None):
    """The figures of `evaluate` from (N, classes) probabilities and N labels."""
    confusion = confusion_matrix(predicted, labels)
    images = confusion.sum(axis=1)
    return {
        "accuracy": float(np.trace(confusion) / len(labels)),
        "top5": top_accuracy(predicted, labels, TOP),
        "per_class": [
            {
                "class": label,
                "name": class_names[label] if class_names and label < len(class_names) else None,
                "images": int(count),
                "accuracy": float(confusion[label, label] / count) if count else None,
            }
            for label, count in enumerate(images)
        ],
        "confusion": confusion.tolist(),
        "calibration_error": calibration_error(predicted, labels),
        "images": len(labels),
    }


@naming_bad_files()
def probabilities(model, split, batch_size=BATCH):
    """(N, classes) float64 probabilities of the model for a split."""

    def predict(size):
        return model.predict(pipeline(split, size, shuffle=False).map(lambda images, _: images), verbose=0)

    found = halving(predict, batch_size)
    return as_probabilities(found, model.name)


def knows_held_out(model: keras.Model, dataset: Dataset) -> bool:
    """Whether a net seems to have been trained on the held-out images of a dataset too.

    True if the lower end of the 95 % interval of the held-out accuracy is above the upper end of that of the training
    accuracy minus GAP. With few images the intervals are wide, and the answer is False.
    """
    (lowest, _), (_, highest) = (_interval(model, split) for split in (dataset.validation, dataset.train))
    return lowest > highest - GAP


def _interval(model, split):
    part = split.part(representative(split, KNOWN))
    right = probabilities(model, part).argmax(axis=1) == part.labels
    return wilson(int(right.sum()), len(part))


def as_probabilities(found, name):
    """(N, classes) float64 probabilities from the (N, outputs) that a net or file called `name` gave.

    A single output is the probability of the second of two classes; outputs outside 0 to 1 are taken as logits.
    """
    found = np.asarray(found, "float64")
    if not np.isfinite(found).all():
        raise WorkError(f"{name} answers with NaN or infinity", "its weights are damaged; train it anew")
    logits = (found < 0).any() or (found > 1 + 1e-2).any()
    if found.shape[1] == 1:
        found = 1 / (1 + np.exp(-found)) if logits else found
        return np.concatenate([1 - found, found], axis=1)
    if logits:
        found = np.exp(found - found.max(axis=1, keepdims=True))
        found /= found.sum(axis=1, keepdims=True)
    return found


def top_accuracy(predicted, labels, top):
    """Share of images whose class is among the `top` most probable ones; of equal probabilities the lower class comes
    first."""
    best = np.argsort(-predicted, axis=1, kind="stable")[:, :top]
    return float((best == labels[:, None]).any(axis=1).mean())


def confusion_matrix(predicted, labels):
    """(classes, classes) counts: the row is the true class, the column the predicted one."""
    classes = predicted.shape[1]
    pairs = labels * classes + predicted.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def calibration_error(predicted, labels, bins=BINS):
    """Expected calibration error: the mean distance of confidence and accuracy over `bins` of equal width."""
    return float(sum(share * abs(sure - right) for sure, right, share in reliability(predicted, labels, bins)))


def reliability(predicted, labels, bins=BINS):
    """[(mean confidence, accuracy, share of the images)] of the bins that are not empty."""
    confidence, right = predicted.max(axis=1), predicted.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        (float(confidence[chosen].mean()), float(right[chosen].mean()), float(chosen.mean()))
        for chosen in (place == number for number in range(bins))
        if chosen.any()
    ]
