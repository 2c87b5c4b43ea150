"""Starts a training: builds the net for the data, loads start weights where they are given, and freezes layers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from .. import compat, create, preprocessing, weights
from ..data import representative
from ..errors import RequestError, WorkError, unknown
from .devices import OneDevice
from .loop import Training
from .objectives import scales

if TYPE_CHECKING:
    from resdense_keras.data import Dataset

    from .request import TrainingRequest

# Of `resdense slim`: the net, its origin, the teacher, which gives the origin's answers by fewer operations, and what
# the plan keeps with the data that it was made from
SLIM, WHOLE, TEACHER = (f"checkpoints/{name}.keras" for name in ("slim", "whole", "teacher"))
CHOICE = "checkpoints/keep.json"
MEASURED_IMAGES = 2_000  # number of files that are measured; the mean of so many is known to a grey level


def start(
    request: TrainingRequest,
    dataset: Dataset,
    devices: Any = None,
    *,
    net: Mapping[str, Any] | None = None,
    fresh: bool = True,
    again: Training | None = None,
) -> Training:
    """The loop.Training of a TrainingRequest on its data, before the first step; `train` and `compare` start here.

    XLA is off; set `jit` of the result to turn it on.

    Args:
        request: A TrainingRequest.
        dataset: The data that it names, see `runs.load_data`.
        devices: Where the steps run, from devices.choose; default: one.
        net: Arguments of the net's builder, as a run keeps them; default: those of `arguments_of`. For a request with
            `slim` the files of its nets, {"slim"} and, where the recipe has a teacher, {"teacher"}.
        fresh: False where a saved state will be loaded: the start weights are then not read.
        again: What this function returned for another seed, or None. That object is reset and used again, because
            tracing a net takes long.
    Raises:
        RequestError: options, weights or data that do not fit the net.
    """
    devices = devices or OneDevice()
    keras.utils.set_random_seed(request.seed)
    keras.config.set_dtype_policy(request.precision)
    try:
        with devices.scope():
            model = devices.prepare(new_net(request, net or arguments_of(request, dataset), fresh))
            teacher = load_net(net["teacher"]) if "teacher" in (net or {}) else None
        if request.recipe.sparsity and not (request.weights or request.slim):
            # They end at zero then, where they would else swing around it; a scale that is trained may be below zero
            for scale in scales(model):
                scale.constraint = keras.constraints.NonNeg()
    finally:
        keras.config.set_dtype_policy("float32")
    if again is None:
        return Training(model, dataset, request.recipe, devices=devices, rules=request.rules, teacher=teacher)
    again.model.set_weights(model.get_weights())
    return again


def arguments_of(request, dataset):
    """The builder's arguments of a TrainingRequest's net, see `arguments`."""
    return arguments(request.model, dataset, request.options, request.weights, of_run=request.rules > 1)


def new_net(request, net, fresh=False):
    """The request's net, built with the arguments `net` and frozen as asked; with its start weights where `fresh`."""
    if request.slim:
        return load_net(net["slim"])
    model = create(request.model, **net)
    if fresh:
        load(model, request.model, request.weights)
    return freeze(model, request.freeze) if request.freeze else model


def load_net(path):
    """The net in a .keras file of a run folder, without compile state.

    Raises:
        WorkError: the file is gone or damaged.
    """
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds for a file that it cannot read
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise WorkError(f"{path} cannot be read: {reason}", "begin again with another `--out`") from error


def build(
    name: str, dataset: Dataset, options: Mapping[str, Any] | None = None, source: str | Path | None = None
) -> keras.Model:
    """The net `name` with the normalisation inside: pixels in [0, 255] -> probabilities of the data's classes.

    Args:
        options: Builder options, which take precedence.
        source: Weights to start from: a set by name, or a file. Their head is left out where the classes differ.
    Raises:
        RequestError: the net takes images of another shape, or options contradict the named weights.
    """
    return load(create(name, **arguments(name, dataset, options, source)), name, source)


def arguments(name, dataset, options=None, source=None, of_run=True):
    """The builder's arguments of `build`. Of start files only a .keras file is read, for the normalisation inside it.

    `of_run`: False to do as version 0.1, which used ImageNet's normalisation for such a file too.
    """
    own = {"input_shape": dataset.image_shape, "classes": dataset.classes}
    options = dict(options or {})
    row = None if source is None else weights.find(name, source)
    if row is not None:
        trained = {**row.arguments, "include_preprocessing": row.preprocessing}
        _check_agree(name, source, trained, options)
        shape = options.get("input_shape", row.arguments.get("input_shape"))
        _check_fits(name, shape, dataset, len(row.preprocessing.mean), source)
        return {**own, **options, **trained}
    _check_fits(name, options.get("input_shape"), dataset)
    return {**own, "include_preprocessing": _pixels(dataset, source, of_run), **options}


def load(model, name, source):
    """`model` with the weights `source` of the net `name`; as it is where there are none."""
    row = None if source is None else weights.find(name, source)
    if row is not None:
        weights.load_named(model, row, head=None if model.output_shape[-1] == row.classes else "skip")
        return model
    return model if source is None else _load(model, source)


def _pixels(dataset, source, of_run):
    """The normalisation that `build` uses without named weights."""
    if source is None:
        return pixels(dataset)
    found = preprocessing.of_file(source) if of_run else None
    if found is not None and len(found.mean) == dataset.image_shape[-1]:
        return found
    # True: what the family's published nets were trained on
    return True if dataset.image_shape[-1] == 3 else pixels(dataset)


def _check_agree(name, source, trained, options):
    """Refuses options that differ from those that the named weights were trained with, as the builders do."""
    for option, value in trained.items():
        given = options.get(option)
        if option == "include_preprocessing" and given is True:
            continue  # the weights' own
        if option in options and given is not None and given != value:
            raise RequestError(
                f"{option}={given!r} was given, but weights={source!r} of {name} were trained with {option}={value!r}",
                f"leave {option} out, or train without --weights",
            )


def pixels(dataset):
    """The normalisation of these data, measured on all training images of arrays, or on MEASURED_IMAGES files.

    The choice of files does not depend on free memory, or a run that is resumed elsewhere would build another net.
    """
    train = dataset.train
    chosen = None if train.paths is None else representative(train, MEASURED_IMAGES)
    return preprocessing.measured(train.blocks(chosen))


def _check_fits(name, shape, dataset, channels=None, source=None):
    """Refuses images of another shape than the net takes, or with other channels than its weights were trained on.

    Args:
        shape: (height, width, channels) of the net, where its weights or options fix it, or None.
        channels: Number of channels of the images that the weights `source` were trained on, or None.
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
    """Loads all weights of the file, or all but the head where the classes differ."""
    try:
        return weights.load_weights(model, path)
    except RequestError as whole:
        try:
            weights.load_weights(model, path, head="skip")
        except RequestError:
            raise whole from None
        warnings.warn(f"{path}: the head does not fit and starts anew", stacklevel=2)
        return model


def unfreeze(model: keras.Layer) -> None:
    """Lets a layer or model be trained, with all layers inside it.

    `model.trainable = True` does not reach them where it is True already, because TensorFlow's objects skip such an
    assignment.
    """
    for layer in compat.parts(model):
        layer.trainable = True


def freeze(model: keras.Model, through: str):
    """Freezes all layers up to and including "stem" or a stage such as "stage3"; their batch norms use their moving
    statistics and do not change them.

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
