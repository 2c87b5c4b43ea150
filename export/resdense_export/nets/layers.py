"""All kinds of layers that the export knows: how each is read from Keras, how it is built again, and whether aware
training supports it.

`READERS` has a function for each class of Keras layer or operation, `KINDS` a row for each kind of node. Any other
layer is carried through as it is. A new layer needs a reader, and a row where its kind is new. Its costs belong in
resdense_keras.profiles; a test compares the tables.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from resdense_keras import compat


@dataclass(frozen=True)
class Kind:
    """A kind of node.

    Attributes:
        emit: Function (node, module of layers) -> function of the inputs.
        weights: Names of its arrays, in the order of the layer's weights; empty where there are none to set.
        aware: Whether tf_keras and tensorflow-model-optimization have it, as schemes with training need.
        joins: Whether its layer takes all inputs as one list.
    """

    emit: Callable[[Any, Any], Callable]
    weights: tuple[str, ...] = ()
    aware: bool = False
    joins: bool = False


# Reading


def known(call):
    """[(kind, attributes, weights)] for a call that the passes know, else None.

    A part in the middle of a layer has a fourth entry, its output shape.
    """
    import keras

    operation = call.operation
    kind = type(operation)
    own = getattr(keras.layers, kind.__name__, None) is kind or compat.is_keras_operation(kind)
    reader = READERS.get(kind.__name__) if own else None
    if reader is None or getattr(operation, "data_format", "channels_last") != "channels_last":
        return None
    if getattr(operation, "quantization_mode", None) or getattr(operation, "lora_enabled", False):
        return None
    return reader(operation, call)


def _arrays(**variables):
    return {name: np.asarray(variable, np.float64) for name, variable in variables.items() if variable is not None}


def _activation(layer):
    """[("Activation", ...)] of a layer's own activation, [] where it is linear, None where it is the user's code."""
    import keras

    name = keras.activations.serialize(layer.activation)
    library = getattr(layer.activation, "__module__", "").partition(".")[0]  # one's own may have a name of Keras
    if not isinstance(name, str) or library not in ("keras", "tensorflow"):
        return None
    return [] if name == "linear" else [("Activation", {"activation": name}, {})]


def _with_activation(layer, kind, attributes, weights):
    activation = _activation(layer)
    return None if activation is None else [(kind, attributes, weights), *activation]


def _convolution(layer, call):
    if layer.padding not in ("same", "valid"):
        return None
    attributes = {
        "filters": layer.filters,
        "kernel_size": tuple(layer.kernel_size),
        "strides": tuple(layer.strides),
        "padding": layer.padding,
        "dilation_rate": tuple(layer.dilation_rate),
    }
    attributes |= {} if layer.groups == 1 else {"groups": layer.groups}
    return _with_activation(layer, "Conv2D", attributes, _arrays(kernel=layer.kernel, bias=layer.bias))


def _separable(layer, call):
    """The two convolutions of a separable one; as two nodes, neighbours fold into them."""
    spatial = {
        "kernel_size": tuple(layer.kernel_size),
        "strides": tuple(layer.strides),
        "padding": layer.padding,
        "dilation_rate": tuple(layer.dilation_rate),
        "depth_multiplier": layer.depth_multiplier,
    }
    across = {
        "filters": layer.filters,
        "kernel_size": (1, 1),
        "strides": (1, 1),
        "padding": "valid",
        "dilation_rate": (1, 1),
    }
    shape = (*call.outputs[0].shape[1:-1], layer.pointwise_kernel.shape[2])
    first = ("DepthwiseConv2D", spatial, _arrays(kernel=layer.depthwise_kernel), shape)
    second = _with_activation(layer, "Conv2D", across, _arrays(kernel=layer.pointwise_kernel, bias=layer.bias))
    return second and [first, *second]


def _depthwise(layer, call):
    attributes = {
        "kernel_size": tuple(layer.kernel_size),
        "strides": tuple(layer.strides),
        "padding": layer.padding,
        "dilation_rate": tuple(layer.dilation_rate),
        "depth_multiplier": layer.depth_multiplier,
    }
    return _with_activation(layer, "DepthwiseConv2D", attributes, _arrays(kernel=layer.kernel, bias=layer.bias))


def _dense(layer, call):
    attributes = {"units": layer.units}
    return _with_activation(layer, "Dense", attributes, _arrays(kernel=layer.kernel, bias=layer.bias))


def _batch_norm(layer, call):
    rank = len(call.outputs[0].shape)
    axis = layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis
    if axis not in (-1, rank - 1) or call.arguments.kwargs.get("training"):
        return None
    arrays = _arrays(gamma=layer.gamma, beta=layer.beta, mean=layer.moving_mean, variance=layer.moving_variance)
    deviation = np.sqrt(arrays["variance"] + layer.epsilon)
    scale = arrays.get("gamma", 1.0) / deviation
    shift = arrays.get("beta", 0.0) - arrays["mean"] * scale
    return _affine(scale, shift, call, {"mean": arrays["mean"], "deviation": deviation})


def _rescaling(layer, call):
    # As the layer rounds them: a list of Python numbers passes through float32.
    numbers = (layer.backend.cast(value, layer.compute_dtype) for value in (layer.scale, layer.offset))
    return _affine(*(np.asarray(value, np.float64) for value in numbers), call)


def _normalization(layer, call):
    """A Normalization, with statistics that it learnt or was given, one for all channels or one per channel."""
    import keras

    if layer.mean is None or layer.variance is None:
        return None
    mean, variance = (_constant(value, call.outputs[0].shape) for value in (layer.mean, layer.variance))
    if mean is None or variance is None:
        return None
    deviation = np.maximum(np.sqrt(variance), keras.backend.epsilon())
    scale, shift = (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)
    return _affine(scale, shift, call)


def _arithmetic(turn):
    """Reads an operation of a tensor and a constant: `turn` gives (scale, shift) from the constant, with the tensor
    first or second."""

    def read_arithmetic(operation, call):
        arguments = [*call.arguments.args, *call.arguments.kwargs.values()]
        tensors = call.arguments.keras_tensors
        same = len(tensors) == 1 and tensors[0].shape == call.outputs[0].shape and len(tensors[0].shape) >= 2
        if not same or len(arguments) != 2:
            return None
        first = arguments[0] is tensors[0]
        number = _constant(arguments[1 if first else 0], tensors[0].shape)
        turned = None if number is None else turn(number, first)
        if turned is None or not all(np.isfinite(part).all() for part in turned):
            return None
        return _affine(*turned, call)

    return read_arithmetic


def _constant(value, shape):
    """The number, or one number per channel for tensors of this shape, in float64; None for anything else."""
    try:
        number = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None
    along = number.size == 1 or (number.shape[-1] == number.size and number.shape[-1] == shape[-1])
    return number.ravel() if along and number.ndim <= len(shape) else None


def _difference(number, first):
    return (np.ones(1), -number) if first else (-np.ones(1), number)


def _quotient(number, first):
    with np.errstate(divide="ignore"):
        return (1 / number, np.zeros(1)) if first else None


def _affine(scale, shift, call, statistics=None):
    """An Affine node with one scale and shift per channel, or None for other shapes."""
    shape = call.outputs[0].shape
    weights = {"scale": _constant(scale, shape), "shift": _constant(shift, shape), **(statistics or {})}
    if shape[-1] is None or any(value is None for value in weights.values()):
        return None
    return [("Affine", {}, {name: np.broadcast_to(value, shape[-1:]) for name, value in weights.items()})]


def _relu(layer, call):
    if layer.negative_slope and not layer.threshold and layer.max_value is None:
        return _leaky(layer, call)
    if layer.negative_slope or layer.threshold or layer.max_value not in (None, 6):
        return None
    return [("Activation", {"activation": "relu6" if layer.max_value else "relu"}, {})]


def _leaky(operation, call):
    return _slopes(call, np.asarray(np.float32(operation.negative_slope)))  # as TensorFlow's operator rounds it


def _prelu(layer, call):
    """PReLU whose slopes are shared by all pixels of a channel."""
    alpha = _constant(layer.alpha, call.outputs[0].shape)
    return None if alpha is None else _slopes(call, alpha)


def _slopes(call, slope):
    """A LeakyReLU node with one slope per channel; None where the number of channels is open."""
    channels = call.outputs[0].shape[-1]
    if channels is None:
        return None
    return [("LeakyReLU", {}, {"slope": np.broadcast_to(np.ravel(slope), (channels,)).astype(np.float64)})]


def _global_maximum(layer, call):
    return [("GlobalMaxPooling2D", {"keepdims": bool(layer.keepdims)}, {})]


def _relu6_operation(operation, call):
    return [("Activation", {"activation": "relu6"}, {})]


def _relu_operation(operation, call):
    return [("Activation", {"activation": "relu"}, {})]


def _activation_layer(layer, call):
    activation = _activation(layer)
    return activation if activation != [] else [("Identity", {}, {})]


def _softmax(operation, call):
    alone = len(call.arguments.args) == 1 and not any(value is not None for value in call.arguments.kwargs.values())
    last = operation.axis in (-1, len(call.outputs[0].shape) - 1)
    return [("Activation", {"activation": "softmax"}, {})] if alone and last else None  # beside it stands a mask


def _add(operation, call):
    tensors = call.arguments.keras_tensors
    if len(tensors) == 1:
        return _sum_with_constant(operation, call)
    same = len(tensors) >= 2 and all(tensor.shape == call.outputs[0].shape for tensor in tensors)
    return [("Add", {}, {})] if same and _joins_tensors(call) else None


def _joins_tensors(call):
    """Whether all that a call joins are tensors of the graph, and none is a constant."""
    import keras

    given = keras.tree.flatten((call.arguments.args, call.arguments.kwargs))
    return sum(value is not None for value in given) == len(call.arguments.keras_tensors)


_sum_with_constant = _arithmetic(lambda number, first: (np.ones(1), number))


def _concatenate(operation, call):
    rank = len(call.outputs[0].shape)
    return [("Concatenate", {}, {})] if operation.axis in (-1, rank - 1) and _joins_tensors(call) else None


def _zero_padding(layer, call):
    return [("ZeroPadding2D", {"padding": tuple(map(tuple, layer.padding))}, {})]


def _pooling(kind):
    def read_pooling(layer, call):
        names = ("pool_size", "strides")
        return [(kind, {name: tuple(getattr(layer, name)) for name in names} | {"padding": layer.padding}, {})]

    return read_pooling


def _global_average(layer, call):
    return [("GlobalAveragePooling2D", {"keepdims": bool(layer.keepdims)}, {})]


def _identity(layer, call):
    return [("Identity", {}, {})]


def _slice(operation, call):
    """x[:, ::s, ::s, :] with the same stride both ways, from the first pixel to the last; loaded from a file it is a
    list."""
    key = (*call.arguments.args, *call.arguments.kwargs.values())[-1]
    rank = len(call.outputs[0].shape)
    if rank != 4 or not isinstance(key, tuple | list) or not all(isinstance(part, slice) for part in key):
        return None
    steps = [part.step or 1 for part in (*key, *[slice(None)] * (4 - len(key)))]
    whole = all(part.start in (None, 0) and part.stop is None for part in key)
    if not whole or steps[0] != 1 or steps[3] != 1 or min(steps) < 1:
        return None
    return [("Slice", {"strides": (steps[1], steps[2])}, {})]


def _pad(operation, call):
    """keras.ops.pad with zeros on the channels, or with zeros or -inf around the image."""
    widths, value = operation.pad_width, call.arguments.kwargs.get("constant_values")
    value = call.arguments.args[1] if len(call.arguments.args) > 1 else value
    rank = len(call.outputs[0].shape)
    if rank != 4 or operation.mode != "constant" or np.ndim(widths) != 2 or np.shape(widths) != (4, 2):
        return None
    value, widths = 0 if value is None else value, tuple(tuple(int(n) for n in pair) for pair in widths)
    if not np.isscalar(value) or widths[0] != (0, 0):
        return None
    if widths[1:3] == ((0, 0), (0, 0)) and value == 0:
        return [("ChannelPadding", {"padding": widths[3]}, {})]
    if widths[3] == (0, 0) and value == 0:
        return [("ZeroPadding2D", {"padding": widths[1:3]}, {})]
    if widths[3] == (0, 0) and value < float(np.finfo(np.float16).min):
        return [("LowestPadding2D", {"padding": widths[1:3], "value": float(value)}, {})]
    return None


READERS = {
    "Conv2D": _convolution,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "ReLU": _relu,
    "Relu": _relu_operation,
    "Relu6": _relu6_operation,
    "LeakyReLU": _leaky,
    "LeakyRelu": _leaky,
    "PReLU": _prelu,
    "GlobalMaxPooling2D": _global_maximum,
    "Activation": _activation_layer,
    "Softmax": _softmax,
    "Add": _add,
    "Subtract": _arithmetic(_difference),
    "Multiply": _arithmetic(lambda number, first: (number, np.zeros(1))),
    **dict.fromkeys(("Divide", "TrueDivide"), _arithmetic(_quotient)),
    "Concatenate": _concatenate,
    "ZeroPadding2D": _zero_padding,
    "MaxPooling2D": _pooling("MaxPooling2D"),
    "AveragePooling2D": _pooling("AveragePooling2D"),
    "GlobalAveragePooling2D": _global_average,
    "GetItem": _slice,
    "Pad": _pad,
    # These do nothing once training is over.
    **dict.fromkeys(
        ("Identity", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization"),
        _identity,
    ),
}


# Building


def _common(node):
    return {"name": node.name, "dtype": node.dtype}


def _weighted(kind):
    def make(node, layers):
        return getattr(layers, kind)(use_bias="bias" in node.weights, **node.attributes, **_common(node))

    return make


def _settings(kind):
    def make(node, layers):
        return getattr(layers, kind)(**node.attributes, **_common(node))

    return make


def _as_rescaling(node, layers):
    """A single number where all channels share it, because with a short vector XNNPACK starts anew at each pixel."""
    both = (np.array(node.weights[key]) for key in ("scale", "shift"))  # arrays keep all digits, lists do not
    scale, shift = (numbers[0] if (numbers == numbers[0]).all() else numbers for numbers in both)
    return layers.Rescaling(scale, offset=shift, **_common(node))


def _lowest_padding(node, layers):
    return _padded(node, (0, 0), *node.attributes["padding"], (0, 0), constant_values=node.attributes["value"])


def _mirror_padding(node, layers):
    return _padded(node, (0, 0), *node.attributes["padding"], (0, 0), mode="symmetric")


def _channel_padding(node, layers):
    return _padded(node, (0, 0), (0, 0), (0, 0), node.attributes["padding"])


def _row_padding(node, layers):
    rows, ends = node.attributes["padding"]
    return _padded(node, (0, 0), rows, (0, 0), ends)


def _padded(node, *widths, **settings):
    import keras

    return lambda x: _named(node, keras.ops.pad(x, widths, **settings))


def _cast(node, layers):
    import keras

    return lambda x: _named(node, keras.ops.cast(x, _compute_dtype(node)))


def _maximum(node, layers):
    import keras

    bound = node.weights["bound"].astype(_compute_dtype(node))
    return lambda x: _named(node, keras.ops.maximum(x, bound))


def _leaky_relu(node, layers):
    slope = node.weights["slope"]
    if (slope == slope[0]).all() and slope[0] >= 0:  # a LeakyReLU takes no slope below zero, a PReLU may learn one
        return layers.LeakyReLU(negative_slope=float(slope[0]), **_common(node))
    alpha = slope.astype(np.float64).reshape((1,) * (len(node.shape) - 1) + (-1,))
    rows = tuple(range(1, len(node.shape)))
    initial = layers.PReLU(shared_axes=rows or None, **_common(node))

    def call(x):
        output = initial(x)
        initial.alpha.assign(alpha.reshape(initial.alpha.shape))
        return output

    return call


def _compute_dtype(node):
    import keras

    return keras.DTypePolicy(node.dtype).compute_dtype


def _strided(node, layers):
    down, across = node.attributes["strides"]
    return lambda x: _named(node, x[:, ::down, ::across, :])


def _named(node, output):
    """`output` of an operation, renamed to the node's name: keras.ops choose names that a layer may have."""
    compat.maker(output)[0].name = node.name
    return output


def _reshape(node, layers):
    return layers.Reshape(node.shape, **_common(node))


def _larger(node, layers):
    return layers.Maximum(**_common(node))


def _linear(node, layers):
    return layers.Activation("linear", **_common(node))


KINDS = {
    **{kind: Kind(_weighted(kind), ("kernel", "bias"), aware=True) for kind in ("Conv2D", "DepthwiseConv2D", "Dense")},
    **{kind: Kind(_settings(kind), aware=True, joins=True) for kind in ("Add", "Concatenate")},
    "Larger": Kind(_larger, joins=True),
    "LeakyReLU": Kind(_leaky_relu),
    "GlobalMaxPooling2D": Kind(_settings("GlobalMaxPooling2D")),
    **{
        kind: Kind(_settings(kind), aware=True)
        for kind in ("Activation", "ZeroPadding2D", "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D")
    },
    "Affine": Kind(_as_rescaling, aware=True),
    "Cropping2D": Kind(_settings("Cropping2D")),
    "LowestPadding2D": Kind(_lowest_padding),
    "MirrorPadding2D": Kind(_mirror_padding),
    "ChannelPadding": Kind(_channel_padding),
    "RowPadding": Kind(_row_padding),
    "Reshape": Kind(_reshape),
    "Cast": Kind(_cast),
    "Maximum": Kind(_maximum),
    "Slice": Kind(_strided),
    "Identity": Kind(_linear),
}
WEIGHTED = tuple(name for name, kind in KINDS.items() if kind.weights)
# What a graph is made of besides layers.
STRUCTURE = ("Input", "Output", "Carried", "Pick")
