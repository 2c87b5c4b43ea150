"""The net at the start of a training: built for the data, from other weights where they are given, partly frozen."""

import re
import warnings

from .. import create, preprocessing, weights
from ..data import representative
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
        shape = options.get("input_shape", row.arguments.get("input_shape"))
        _check_fits(name, shape, dataset, len(row.preprocessing.mean), source)
        model = create(name, **{**own, **trained, **options})
        weights.load_named(model, row, head=None if model.output_shape[-1] == row.classes else "skip")
        return model
    known = source is not None and dataset.image_shape[-1] == 3  # what the family's published nets were trained on
    _check_fits(name, options.get("input_shape"), dataset)
    model = create(name, **{**own, "include_preprocessing": True if known else pixels(dataset), **options})
    return model if source is None else _load(model, source)


def pixels(dataset):
    """The normalisation of these data: measured on all training images of arrays, on MEASURED_IMAGES of files.

    Of files the same ones whether or not memory holds all, or a run that goes on elsewhere would build another net.
    """
    train = dataset.train
    chosen = None if train.paths is None else representative(train, MEASURED_IMAGES)
    return preprocessing.measured(train.blocks(chosen))


def _check_fits(name, shape, dataset, channels=None, source=None):
    """Refuses images of another shape than the net takes, or of other channels than its weights were trained on.

    Args:
        shape: (height, width, channels) of the net, where its weights or options fix it, or None.
        channels: Of the images that the weights `source` were trained on, or None.
    """
    images = dataset.image_shape
    if shape is not None and any(side not in (None, given) for side, given in zip(shape, images, strict=True)):
        message = f"{name} takes images of {_shape(shape)} here, {dataset.spec} has {_shape(images)}"
        hint = "leave --weights out, and the net is built for the images" if source else "leave input_shape out"
        raise RequestError(message, hint)
    if channels not in (None, images[-1]):
        hint = (
            "leave input_shape out: the photos of a folder are then decoded in the colours of the weights"
            if dataset.found
            else "train without --weights; or repeat the channel, numpy.repeat(images, 3, axis=-1), and save the .npz "
            "anew; or pass a folder of images, which is decoded in the colours of the weights"
        )
        message = f"the weights {source} of {name} take {_colours(channels)}, {dataset.spec} has {_colours(images[-1])}"
        raise RequestError(message, hint)


def _shape(shape):
    height, width, channels = shape
    return f"{height}x{width} in {_colours(channels)}"


def _colours(channels):
    return {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")


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
