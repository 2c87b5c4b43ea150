"""Finds what a phone file cannot keep of a Keras model, before the work, and names the change that helps."""

import inspect

from resdense_keras import compat
from resdense_keras.errors import RequestError


def fitted(model):
    """`model` in the form that the export takes: without recomputation, and with one output tensor instead of a list or
    dictionary of one.

    Raises:
        RequestError: a layer keeps the behaviour of training, or has its channels first; the layer is named.
    """
    import keras

    from resdense_keras.recompute import plain

    if not compat.is_graph(compat.graph(model)):
        return model  # not a graph of layers; later steps refuse it
    model = plain(model)
    _check_inference(model)
    _check_channels(model)
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


def _check_inference(model):
    for call in calls(model):
        if _trains(call):
            name, kind = call.operation.name, type(call.operation).__name__
            raise RequestError(
                f"layer {name!r} ({kind}) was called with training=True, so it goes on as in training: a file for a "
                "phone would answer by the statistics of its batch, or at random",
                f"build the model again without training=True in that call (weights keep), such as {name}(x)",
            )


def _trains(call):
    """Whether an operation was called with training=True, by name or by place."""
    if call.arguments.kwargs.get("training") is True:
        return True
    if not any(value is True for value in call.arguments.args):
        return False
    try:
        bound = inspect.signature(type(call.operation).call).bind(None, *call.arguments.args, **call.arguments.kwargs)
    except TypeError:
        return False
    return bound.arguments.get("training") is True


def _check_channels(model):
    for call in calls(model):
        if getattr(call.operation, "data_format", None) == "channels_first" and len(call.outputs[0].shape) in (2, 4):
            raise RequestError(
                f"layer {call.operation.name!r} is channels_first; phones compute with channels last",
                "build the same net with data_format='channels_last' and an input of (height, width, channels): its "
                "weights have the same shapes, so new.set_weights(old.get_weights()) moves them (but for a Dense layer "
                "right behind a Flatten)",
            )
