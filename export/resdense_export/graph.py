"""A Functional Keras model as a list of small immutable nodes, which rewriting/ changes and emit.py builds again.

Nested models are flattened on the way. What the passes know becomes a node of a plain kind with its numbers in
`attributes` and `weights`; everything else is carried through as it is, as kind "Carried".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resdense_keras.errors import RequestError


@dataclass(frozen=True, eq=False)
class Node:
    """One operation with one output.

    Attributes:
        name: Unique in its graph.
        kind: "Input", "Output", "Conv2D", "DepthwiseConv2D", "Dense", "Affine" (x * scale + shift per channel: batch
            norms, whose mean and deviation are kept beside, and rescalings), "Activation", "Add", "Concatenate",
            "ZeroPadding2D", "LowestPadding2D" (pads with -inf), "MirrorPadding2D", "MaxPooling2D", "AveragePooling2D",
            "GlobalAveragePooling2D", "Maximum" (with a constant a channel), "Slice", "ChannelPadding", "Reshape",
            "RowPadding" (zeros above, below and at both ends of rows of numbers), "Identity", "Cast" (integers made
            float), "Carried" (an operation that no pass knows), "Pick" (one of several outputs of a Carried).
        inputs: Names of the nodes that it reads.
        shape: Of its output, without the batch; None where a size is open.
        dtype: Name of the dtype policy it computes with.
        attributes: Settings, by Keras' names.
        weights: Arrays by Keras' names; float64 while passes compute with them.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    attributes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    weights: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def channels(self):
        """Size of the last axis."""
        return self.shape[-1]


@dataclass(frozen=True)
class Reference:
    """Stands in a Carried node's arguments where the output of its input number `position` goes."""

    position: int


def read(model):
    """The nodes of a Functional or Sequential model, inputs before what reads them: tuple of Node.

    Raises:
        RequestError: a model that is not a graph of layers (subclassed, not built).
    """
    import keras

    reader = _Reader()
    functional = _functional(model)
    if functional is None:
        raise RequestError(
            f"model {getattr(model, 'name', model)!r} is not a built Functional or Sequential model",
            "build it from keras.Input and layers: a subclassed model hides its graph in code",
        )
    for tensor in functional.inputs:
        name = reader.unique(tensor._keras_history.operation.name)
        reader.add(tensor, Node(name, "Input", (), _shape(tensor), tensor.dtype))
        if not keras.backend.is_float_dtype(tensor.dtype):
            reader.integers.add(name)
    reader.walk(functional)
    for tensor in functional.outputs:
        source = reader.names[id(tensor)]
        reader.nodes.append(Node(reader.unique(f"{source}_output"), "Output", (source,), _shape(tensor), tensor.dtype))
    return tuple(reader.nodes)


def free_name(name, taken):
    """`name`, or with a number behind it where it is in `taken`."""
    candidate, number = name, 1
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def _functional(model):
    """The graph inside a Functional or Sequential model; None for anything else."""
    import keras

    if isinstance(model, keras.Sequential):
        return model._functional if model.built else None
    # A subclass of Functional with a call of its own does something else than its graph.
    plain = isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth")
    return model if plain and type(model).call is type(_plain_functional()).call else None


def _plain_functional():
    import keras

    inputs = keras.Input((1,))
    return keras.Model(inputs, inputs)


def _shape(tensor):
    return tuple(tensor.shape[1:])


class _Reader:
    """Collects nodes.

    `names` has the node that makes each Keras tensor, by the tensor's id. `integers` are the nodes that may give
    integers; Keras is no help there: it calls the output of every layer float.
    """

    def __init__(self):
        self.nodes, self.names, self.taken, self.integers = [], {}, set(), set()

    def unique(self, name):
        """A name for a node, as `free_name` where a nested model has it too."""
        self.taken.add(chosen := free_name(name, self.taken))
        return chosen

    def add(self, tensor, node):
        self.nodes.append(node)
        self.names[id(tensor)] = node.name

    def walk(self, functional):
        """Adds all operations of a graph whose inputs are in `names`."""
        depths = functional._nodes_by_depth
        for depth in sorted(depths, reverse=True):
            for node in depths[depth]:
                if not node.is_input:
                    self.call(node)

    def call(self, call):
        """Adds one call of an operation: a layer, a keras.ops function, or a nested model."""
        inner = _functional(call.operation)
        if inner is not None:
            self.nested(inner, call)
            return
        tensors = call.arguments.keras_tensors
        inputs = tuple(self.names[id(tensor)] for tensor in tensors)
        name = self.unique(call.operation.name)
        known = _known(call) if len(call.outputs) == 1 else None
        if known is not None:
            policy = _policy(call)
            pairs = zip(inputs, tensors, strict=True)
            inputs = tuple(self.floating(source, tensor, policy) for source, tensor in pairs)
            self.chain(call.outputs[0], name, inputs, policy, known)
            return
        if self.integers.intersection(inputs):
            self.integers.add(name)
        carried = Node(name, "Carried", inputs, _shape(call.outputs[0]), attributes=_carried(call))
        if len(call.outputs) == 1:
            self.add(call.outputs[0], carried)
            return
        self.nodes.append(carried)
        for index, tensor in enumerate(call.outputs):
            pick = self.unique(f"{name}_output{index}")
            self.add(tensor, Node(pick, "Pick", (name,), _shape(tensor), attributes={"index": index}))
            if name in self.integers:
                self.integers.add(pick)

    def floating(self, source, tensor, dtype):
        """The name of a node that gives the numbers of `source` as floats: itself, or a Cast.

        A layer that takes integers may be folded into one that does not, and a nested model makes them float.
        """
        if source not in self.integers:
            return source
        name = self.unique(f"{source}_float")
        self.nodes.append(Node(name, "Cast", (source,), _shape(tensor), dtype))
        return name

    def chain(self, tensor, name, inputs, dtype, parts):
        """Adds the nodes that one known layer is made of, such as a convolution and its activation."""
        for number, (kind, attributes, weights) in enumerate(parts):
            part = name if number == 0 else self.unique(f"{name}_{kind.lower()}")
            self.nodes.append(Node(part, kind, inputs, _shape(tensor), dtype, attributes, weights))
            inputs = (part,)
        self.names[id(tensor)] = inputs[0]

    def nested(self, inner, call):
        """Adds the operations of a model that is called like a layer."""
        import keras

        outer = [self.names[id(tensor)] for tensor in call.arguments.keras_tensors]
        before = dict(self.names)
        for tensor, name in zip(inner.inputs, outer, strict=True):
            takes_float = keras.backend.is_float_dtype(tensor.dtype)
            self.names[id(tensor)] = self.floating(name, tensor, tensor.dtype) if takes_float else name
        self.walk(inner)
        results = [self.names[id(tensor)] for tensor in inner.outputs]
        # The same model may be called again: its tensors then mean other nodes.
        self.names = before | {id(tensor): name for tensor, name in zip(call.outputs, results, strict=True)}


def _policy(call):
    """A layer's dtype policy; keras.ops compute in the type they are given, integers here in the default float."""
    import keras

    policy, dtype = getattr(call.operation, "dtype_policy", None), call.outputs[0].dtype
    if policy is not None:
        return policy.name
    return dtype if keras.backend.is_float_dtype(dtype) else keras.config.floatx()


def _carried(call):
    """The operation and its arguments, Reference in the place of each graph tensor."""
    import keras

    positions = {id(tensor): index for index, tensor in enumerate(call.arguments.keras_tensors)}
    arguments = keras.tree.map_structure(
        lambda value: Reference(positions[id(value)]) if id(value) in positions else value,
        (call.arguments.args, call.arguments.kwargs),
    )
    return {"operation": call.operation, "arguments": arguments}


# What the passes know


def _known(call):
    """[(kind, attributes, weights)] of a call that the passes know, else None."""
    import keras

    operation = call.operation
    family = keras.layers if isinstance(operation, keras.layers.Layer) else keras.src.ops
    kind = type(operation)
    own = getattr(keras.layers, kind.__name__, None) is kind or kind.__module__.startswith(f"{family.__name__}.")
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
    if not isinstance(name, str):
        return None
    return [] if name == "linear" else [("Activation", {"activation": name}, {})]


def _with_activation(layer, kind, attributes, weights):
    activation = _activation(layer)
    return None if activation is None else [(kind, attributes, weights), *activation]


def _convolution(layer, call):
    if layer.groups != 1 or layer.padding not in ("same", "valid"):
        return None
    attributes = {
        "filters": layer.filters,
        "kernel_size": tuple(layer.kernel_size),
        "strides": tuple(layer.strides),
        "padding": layer.padding,
        "dilation_rate": tuple(layer.dilation_rate),
    }
    return _with_activation(layer, "Conv2D", attributes, _arrays(kernel=layer.kernel, bias=layer.bias))


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


def _affine(scale, shift, call, statistics=None):
    """An Affine node of one scale and shift a channel, or None for other shapes."""
    channels = call.outputs[0].shape[-1]
    if channels is None or np.size(scale) not in (1, channels) or np.size(shift) not in (1, channels):
        return None
    weights = {"scale": scale, "shift": shift, **(statistics or {})}
    return [("Affine", {}, {name: np.broadcast_to(np.ravel(value), (channels,)) for name, value in weights.items()})]


def _relu(layer, call):
    if layer.negative_slope or layer.threshold or layer.max_value not in (None, 6):
        return None
    return [("Activation", {"activation": "relu6" if layer.max_value else "relu"}, {})]


def _activation_layer(layer, call):
    activation = _activation(layer)
    return activation if activation != [] else [("Identity", {}, {})]


def _softmax(operation, call):
    alone = len(call.arguments.args) == 1 and not any(value is not None for value in call.arguments.kwargs.values())
    last = operation.axis in (-1, len(call.outputs[0].shape) - 1)
    return [("Activation", {"activation": "softmax"}, {})] if alone and last else None  # beside it stands a mask


def _add(operation, call):
    tensors = call.arguments.keras_tensors
    same = len(tensors) >= 2 and all(tensor.shape == call.outputs[0].shape for tensor in tensors)
    return [("Add", {}, {})] if same else None


def _concatenate(operation, call):
    rank = len(call.outputs[0].shape)
    return [("Concatenate", {}, {})] if operation.axis in (-1, rank - 1) else None


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
    """x[:, ::s, ::s, :] with the same stride both ways, from the first pixel to the last."""
    key = (*call.arguments.args, *call.arguments.kwargs.values())[-1]
    rank = len(call.outputs[0].shape)
    if rank != 4 or not isinstance(key, tuple) or not all(isinstance(part, slice) for part in key):
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
    if widths[3] == (0, 0) and value < np.finfo(np.float16).min:
        return [("LowestPadding2D", {"padding": widths[1:3], "value": float(value)}, {})]
    return None


READERS = {
    "Conv2D": _convolution,
    "DepthwiseConv2D": _depthwise,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "Rescaling": _rescaling,
    "ReLU": _relu,
    "Relu": lambda operation, call: [("Activation", {"activation": "relu"}, {})],
    "Activation": _activation_layer,
    "Softmax": _softmax,
    "Add": _add,
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
