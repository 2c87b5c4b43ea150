"""The input and output of a net with named weights: pixels as the weights expect them, and the names of classes."""

import json
from typing import Any

import numpy as np

from ..errors import RequestError, unknown
from ..preprocessing import PREPROCESSING, Preprocessing
from .table import find


def record(which):
    """The record that `which` names: a key of PREPROCESSING, "model/weights", or a Preprocessing itself."""
    if isinstance(which, Preprocessing):
        return which
    if isinstance(which, str) and "/" in which:
        model, _, name = which.partition("/")
        found = find(model, name)
        if found is not None:
            return found.preprocessing
    if which not in PREPROCESSING:
        raise unknown("preprocessing", which, PREPROCESSING)
    return PREPROCESSING[which]


def preprocess_input(x: Any, weights: str | Preprocessing) -> np.ndarray:
    """Pixels as the weights expect them.

    Args:
        x: RGB pixels in [0, 255], shape (..., H, W, C).
        weights: "model/weights" such as "resnet50/imagenet", a key of `PREPROCESSING`, or a `Preprocessing`.
    Returns:
        float32 array of the same shape.
    Raises:
        RequestError: there is no such record, or it is for another number of channels.
    Example:
        >>> resdense_keras.preprocess_input(np.zeros((1, 2, 2, 3)), "densenet121/imagenet").shape
        (1, 2, 2, 3)
    """
    return record(weights)(x)


def decode_predictions(predictions: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """The `top` most probable ImageNet classes of each row of (N, 1000) probabilities.

    Returns:
        [[(WordNet id, label, probability), ...], ...], the most probable first.

    The names come from Keras' own imagenet_class_index.json, fetched once and checked by checksum.
    Example:
        >>> resdense_keras.decode_predictions(np.eye(1, 1000), top=1)
        [[('n01440764', 'tench', 1.0)]]
    """
    predictions = np.asarray(predictions)
    if predictions.ndim != 2 or predictions.shape[1] != 1000:
        raise RequestError(
            f"predictions of shape {predictions.shape} were given; ImageNet's are (N, 1000)",
            "other class names are in the labels.txt of the run or bundle",
        )
    from . import download

    index = json.loads(download.class_index().read_text())
    best = np.argsort(-predictions, axis=1)[:, :top]
    return [[(*index[str(i)], float(row[i])) for i in order] for row, order in zip(predictions, best, strict=True)]
