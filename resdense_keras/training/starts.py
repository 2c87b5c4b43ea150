"""The net at the start of a training: built for the data, from other weights where they are given, partly frozen."""

import re
import warnings

from .. import create, preprocessing, weights
from ..data import calibration
from ..errors import RequestError, unknown

MEASURED_IMAGES = 2_000  # of those in files; the mean of so many is known to a grey level


def build(name, dataset, options=None, source=None):
    """The net of that name with the normalisation inside, [0, 255] pixels -> probabilities of the data's classes.

    Args:
        options: Builder options, which win.
        source: Weights to start from: a set by name, or a file. Its head is left out where its classes are others.
    """
    own = {"input_shape": dataset.image_shape, "classes": dataset.classes}
    options = dict(options or {})
    row = None if source is None else weights.find(name, source)
    if row is not None:
        trained = {**row.arguments, "include_preprocessing": row.preprocessing}
        model = create(name, **{**own, **trained, **options})
        weights.load_named(model, row, head=None if model.output_shape[-1] == row.classes else "skip")
        return model
    known = source is not None and dataset.image_shape[-1] == 3  # what the family's published nets were trained on
    pixels = True if known else preprocessing.measured(_training_images(dataset))
    model = create(name, **{**own, "include_preprocessing": pixels, **options})
    return model if source is None else _load(model, source)


def _training_images(dataset):
    """All of arrays, MEASURED_IMAGES of files: the same ones whether or not memory holds all, or a run that goes on
    elsewhere would build another net."""
    train = dataset.train
    return train.images if train.paths is None else calibration(dataset, MEASURED_IMAGES)[1]


def _load(model, path):
    """All of the file's weights, or all but the head where that is of other classes."""
    try:
        return weights.load_weights(model, path)
    except RequestError as whole:
        try:
            weights.load_weights(model, path, head="skip")
        except RequestError:
            raise whole from None
        warnings.warn(f"{path}: the head does not fit and starts anew", stacklevel=2)
        return model


def freeze(model, through):
    """Freezes all layers up to and including those of one stage, "stem" or "stage3"; their batch norms keep their
    moving statistics and use them.

    Raises:
        RequestError: the net has no such stage.
    """
    stages = list(dict.fromkeys(stage for layer in model.layers if (stage := _stage(layer.name))))
    if through not in stages:
        raise unknown("stage to freeze", through, stages)
    frozen = stages[: stages.index(through) + 1]
    for layer in model.layers:
        if _stage(layer.name) in frozen:
            layer.trainable = False
    return model


def _stage(layer):
    match = re.match(r"(stem|stage\d+)_", layer)
    return match and match[1]
