"""Finds what a phone file cannot keep of a Keras model, before the work, and names the change that helps."""

import inspect
import re

import numpy as np

from resdense_keras import compat
from resdense_keras.errors import RequestError


def fitted(model):
    """`model` in the form that the export takes: without recomputation, with names that TensorFlow allows, and with one
    output tensor instead of a list or dictionary of one.

    Raises:
        RequestError: a layer keeps the behaviour of training, crops at random, has its channels first, is a softmax of
            one number, or has weights that are not finite or that Keras quantized. The layer is named.
    """
    import keras

    from resdense_keras.recompute import plain

    if not compat.is_graph(compat.graph(model)):
        return model  # not a graph of layers; later steps refuse it
    model = plain(model)
    _check_weights(model)
    _check_inference(model)
    _check_crops(model)
    _check_channels(model)
    _check_softmaxes(model)
    model = _with_plain_names(model)
    given = getattr(model, "output", None), getattr(model, "input", None)
    odd = isinstance(model, keras.Sequential) or any(isinstance(end, (list, tuple, dict)) for end in given)
    if odd and len(model.inputs) == len(model.outputs) == 1:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def calls(model):
    """All calls of operations in a model, also those in nested models."""
    for call in compat.calls(compat.graph(model)):
        if not call.is_input:
            yield call
            yield from calls(call.operation)


def check_float(model):
    """Raises a RequestError that names a layer which Keras quantized."""
    for layer in (part for own in model.layers for part in compat.parts(own)):
        if mode := getattr(layer, "quantization_mode", None):
            raise RequestError(
                f"layer {layer.name!r} was quantized by Keras (model.quantize({mode!r})), which LiteRT cannot compute",
                "give the model as it was before model.quantize(): the export quantizes it for phones",
            )


def copied(operation, **changes):
    """A new layer or operation of the same configuration, but for `changes`, and without its weights.

    See `with_activation`.
    """
    return with_activation(type(operation).from_config({**operation.get_config(), **changes}), operation)


def with_activation(made, operation):
    """`made`, from the configuration of `operation`, with its activation.

    A configuration has only the name of an activation: a function of one's own that is called `gelu` would become
    Keras' there.
    """
    if inspect.isfunction(getattr(operation, "activation", None)):
        made.activation = operation.activation
    return made


def cloned(model, function):
    """A copy of a model with `function(layer)` in the place of each layer or operation, and the weights of `model`."""
    import keras

    copy = keras.models.clone_model(model, clone_function=function, recursive=True)
    copy.set_weights(model.get_weights())
    for layer in compat.parts(copy):
        if hasattr(layer, "finalize_state"):  # keras.layers.Normalization derives what it computes with
            layer.finalize_state()
    return copy


def _check_weights(model):
    check_float(model)
    for weight in model.weights:
        if not np.isfinite(np.asarray(weight, "float32")).all():
            raise RequestError(
                f"{weight.path} of model {model.name!r} holds NaN or infinite numbers, so every answer is worthless",
                "give a checkpoint from before the training diverged, or train again with a lower learning rate",
            )


def _check_softmaxes(model):
    """Refuses a softmax of one number, at the end of a net or inside it: it is 1 for every image."""
    for call in calls(model):
        operation, shape = call.operation, tuple(call.outputs[0].shape)
        activation = getattr(getattr(operation, "activation", None), "__name__", None)
        if (activation == "softmax" or type(operation).__name__ == "Softmax") and len(shape) == 2 and shape[-1] == 1:
            raise RequestError(
                f"layer {operation.name!r} is a softmax of one number, which is 1 for every image",
                "take a sigmoid in its place, or a softmax of two numbers for two classes, and train again",
            )


def _with_plain_names(model):
    """`model`, or a copy of it where TensorFlow does not allow the name of a layer, such as `my layer` or `água`."""
    if not all(_is_plain(call.operation.name) for call in calls(model)):
        model = cloned(model, copied)
        for number, call in enumerate(calls(model)):
            if not _is_plain(call.operation.name):
                call.operation.name = f"{plain_name(call.operation.name)}_{number}"
    return model if _is_plain(model.name) else _renamed(model)


def _renamed(model):
    import keras

    return keras.Model(model.inputs, model.outputs, name=plain_name(model.name))


def _is_plain(name):
    return plain_name(name) == name


def plain_name(name):
    """A name without the signs that TensorFlow does not allow in a scope."""
    return re.sub(r"^[^A-Za-z0-9]", "m", re.sub(r"[^A-Za-z0-9_.>-]", "_", name))


def _check_inference(model):
    for call in calls(model):
        if _trains(call):
            name, kind = call.operation.name, type(call.operation).__name__
            raise RequestError(
                f"layer {name!r} ({kind}) was called with training=True, so it goes on as in training: a file for a "
                "phone would answer by the statistics of its batch, or at random",
                f"build the model again without training=True in that call (weights keep), such as {name}(x)",
            )


def _check_crops(model):
    """Refuses a RandomCrop: Keras lets whole images through it in inference, and plans the layers behind for crops."""
    for call in calls(model):
        if type(call.operation).__name__ != "RandomCrop":
            continue
        given, cropped = (tuple(tensors[0].shape) for tensors in (call.arguments.keras_tensors, call.outputs))
        if given != cropped:
            raise RequestError(
                f"layer {call.operation.name!r} (RandomCrop) makes {cropped[1]}x{cropped[2]} of {given[1]}x{given[2]} "
                "pixels in training, and lets all through in inference: no file for a phone has both sizes",
                "build the net without it, for images of the size that it is used on; crop in the data instead",
            )


def _trains(call):
    """Whether an operation was called with training=True, by name or by place.

    Keras writes the default of `call` into the arguments. Layers that augment images have True as their default, and
    are silent in inference all the same.
    """
    given = call.arguments
    if not any(value is True for value in (*given.args, given.kwargs.get("training"))):
        return False
    try:
        signature = inspect.signature(type(call.operation).call)
        asked = signature.bind(None, *given.args, **given.kwargs).arguments.get("training")
    except (AttributeError, TypeError, ValueError):
        return given.kwargs.get("training") is True
    default = signature.parameters["training"].default if "training" in signature.parameters else None
    return asked is True and default is not True


def _check_channels(model):
    for call in calls(model):
        if getattr(call.operation, "data_format", None) == "channels_first" and len(call.outputs[0].shape) in (2, 4):
            raise RequestError(
                f"layer {call.operation.name!r} is channels_first; phones compute with channels last",
                "build the same net with data_format='channels_last' and an input of (height, width, channels): its "
                "weights have the same shapes, so new.set_weights(old.get_weights()) moves them (but for a Dense layer "
                "right behind a Flatten)",
            )
