"""The meaning of a model's input pixels, read from its first operations.

A model that begins with a Rescaling, a Normalization, a flip of the channels or Keras' `preprocess_input` shows what it
takes. Layers that only act in training, such as augmentation, are skipped.
"""

from dataclasses import dataclass

import numpy as np

from resdense_keras import compat

LARGEST_SCALE = 1.0  # largest scale for pixels in [0, 255]; a larger one means pixels in [0, 1]
_SILENT = ("Dropout", "GaussianNoise", "GaussianDropout", "SpatialDropout2D", "ActivityRegularization", "Identity")


@dataclass(frozen=True)
class Front:
    """The operations before a model's first real layer, as x * scale + offset per channel.

    Attributes:
        names: Names of the layers and operations that change the pixels.
        scale, offset: One number per channel, in the order of the channels after a flip.
        flipped: Whether the order of the channels is reversed first (RGB in, BGR after it).
    """

    names: tuple[str, ...]
    scale: np.ndarray
    offset: np.ndarray
    flipped: bool

    @property
    def takes_pixels(self):
        """Whether the input is pixels in [0, 255]."""
        return bool(self.names) and bool((np.abs(self.scale) <= LARGEST_SCALE).all())


def front(model):
    """The Front of a model with one input; it has no names where the first operation is already a layer of the net."""
    model = compat.graph(model)
    tensor = model.inputs[0]
    channels = tensor.shape[-1] or 1
    found = Front((), np.ones(channels), np.zeros(channels), False)
    return _walk(model, tensor, found)[0]


def _walk(model, tensor, found):
    """(the Front up to where the graph forks or the net begins, the tensor there or None)."""
    while True:
        calls = [call for call in compat.calls(model) if _reads(call, tensor)]
        if (turned := _reordered(model, calls)) and not found.flipped:
            found, tensor = Front((*found.names, turned.operation.name), *_backwards(found), True), turned.outputs[0]
            continue
        if len(calls) != 1 or len(calls[0].arguments.keras_tensors) != 1 or len(calls[0].outputs) != 1:
            return found, None
        call = calls[0]
        inner = compat.graph(call.operation)
        if compat.is_graph(inner):
            found, end = _walk(inner, inner.inputs[0], found)
            if end is not inner.outputs[0]:
                return found, None
        else:
            changed = _step(call, found)
            if changed is None:
                return found, None
            found = changed
        tensor = call.outputs[0]
        if any(tensor is output for output in model.outputs):
            return found, tensor


def _reads(node, tensor):
    return not node.is_input and any(given is tensor for given in node.arguments.keras_tensors)


def _step(call, found):
    """The Front with one more operation; None for an operation that does not belong to it."""
    import keras

    operation, kind = call.operation, type(call.operation).__name__
    if isinstance(operation, keras.layers.Layer):
        if not type(operation).__module__.startswith("keras."):
            return None
        if kind in _SILENT or _augments(operation):
            return found
        numbers = _of_layer(operation, kind)
        return numbers and _scaled(found, operation.name, *numbers)
    return _of_operation(call, kind, found)


def _augments(layer):
    """Whether a layer acts only in training: Keras' Random* layers and those that mix images."""
    augmentation = compat.image_augmentation()
    known = augmentation is not None and isinstance(layer, augmentation)
    return (known or type(layer).__name__.startswith("Random")) and type(layer).__name__ not in (
        "CenterCrop",
        "Resizing",
    )


def _of_layer(layer, kind):
    """(scale, offset) of a layer that normalises, else None."""
    if kind == "Rescaling":
        numbers = _by_channel(layer.scale), _by_channel(layer.offset)
        return None if any(values is None for values in numbers) else numbers
    if kind == "Normalization" and layer.mean is not None:
        mean, variance = _by_channel(layer.mean), _by_channel(layer.variance)
        if mean is None or variance is None:
            return None
        deviation = np.maximum(np.sqrt(variance), 1e-7)  # keras.backend.epsilon(), as the layer itself
        return (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)
    return None


def _of_operation(call, kind, found):
    """The Front with a keras.ops operation on the pixels and a constant: x / 127.5, x - mean, x[..., ::-1]."""
    arguments = [*call.arguments.args, *call.arguments.kwargs.values()]
    tensor = call.arguments.keras_tensors[0]
    name = call.operation.name
    if kind in ("GetItem", "Flip"):
        return _flip(call, kind, arguments, found)
    if kind == "Cast":
        return found
    if kind not in ("Add", "Subtract", "Multiply", "Divide", "TrueDivide") or len(arguments) != 2:
        return None
    first = arguments[0] is tensor
    number = _by_channel(arguments[1 if first else 0])
    if number is None or number.size not in (1, found.scale.size):
        return None
    if kind == "Add":
        return _scaled(found, name, 1.0, number)
    if kind == "Multiply":
        return _scaled(found, name, number, 0.0)
    if kind == "Subtract":
        return _scaled(found, name, 1.0, -number) if first else _scaled(found, name, -1.0, number)
    return _scaled(found, name, 1 / number, 0.0) if first else None


def _by_channel(value):
    """A flat array of the numbers along the last axis, or of the one number; None for any other value."""
    try:
        numbers = np.asarray(value, float)
    except (TypeError, ValueError):
        return None
    return numbers.ravel() if numbers.size == 1 or numbers.shape[-1] == numbers.size else None


def _flip(call, kind, arguments, found):
    """The Front with a reversal of the channels, which weights from Caffe need."""
    key = arguments[-1]
    if kind == "Flip":
        turned = call.operation.axis in (-1, 3)
    else:
        last = _of_channels(key)
        turned = isinstance(last, slice) and (last.start, last.stop, last.step) == (None, None, -1)
    if not turned or found.flipped:
        return None
    return Front((*found.names, call.operation.name), *_backwards(found), True)


def _backwards(found):
    return found.scale[::-1], found.offset[::-1]


def _reordered(model, calls):
    """The Stack that joins the three channels in reverse order, as `preprocess_input` for Caffe's weights does."""
    picks = [(call, _pick(call)) for call in calls]
    if len(picks) != 3 or {number for _, number in picks} != {0, 1, 2}:
        return None
    order = {id(call.outputs[0]): number for call, number in picks}
    readers = [call for call in compat.calls(model) if _reads(call, calls[0].outputs[0])]
    if len(readers) != 1 or type(readers[0].operation).__name__ != "Stack" or readers[0].operation.axis not in (-1, 3):
        return None
    numbers = [order.get(id(tensor)) for tensor in readers[0].arguments.keras_tensors]
    return readers[0] if numbers == [2, 1, 0] else None


def _pick(call):
    """n where the operation is x[..., n], else None."""
    if type(call.operation).__name__ != "GetItem":
        return None
    last = _of_channels([*call.arguments.args, *call.arguments.kwargs.values()][-1])
    return last if isinstance(last, int) else None


def _of_channels(key):
    """`last` of x[..., last] and x[:, :, :, last], else None."""
    if not isinstance(key, (tuple, list)) or not key or any(part not in (Ellipsis, slice(None)) for part in key[:-1]):
        return None
    return key[-1] if Ellipsis in key[:-1] or len(key) == 4 else None


def _scaled(found, name, scale, offset):
    channels = found.scale.size
    if np.size(scale) not in (1, channels) or np.size(offset) not in (1, channels):
        return None
    return Front((*found.names, name), found.scale * scale, found.offset * scale + offset, found.flipped)
