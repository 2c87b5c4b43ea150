"""Costs of a net, read from its graph: parameters, multiply-adds, memory in training and in inference.

No numbers are computed: shapes are passed through the graph once, and three tables say what each kind of layer
multiplies, keeps and shares. The tables name classes, so `layers.Add` and `keras.ops.add` share a row, and a subclass
has the row of its base.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import keras

from . import compat
from .errors import RequestError
from .recompute import RecomputedDenseLayer

FLOAT_BYTES = 4


@dataclass(frozen=True)
class LayerProfile:
    """One call of a layer or operation, in graph order.

    `kept_bytes` counts the tensors that this call is the first to keep for the backward pass, `alive_bytes` all tensors
    alive while it runs. Both, like `output_shape`, are for one image.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    kept_bytes: int
    alive_bytes: int


@dataclass(frozen=True)
class Profile:
    """Figures for one image; `print` shows them layer by layer.

    `uncounted` names layers that `macs` leaves out because it has no rule for their matrices (attention, recurrent
    layers).
    Example:
        >>> one = resdense_keras.Profile("empty", 0, 0, 0, 0, 0, layers=())
        >>> found = resdense_keras.profile(resdense_keras.resnet20_digits())
        >>> type(found) is type(one), found.parameters, found.layers[1].output_shape
        (True, 27215, (8, 8, 5))
    """

    name: str
    parameters: int
    trainable: int
    macs: int
    activation_bytes: int
    inference_peak_bytes: int
    layers: tuple[LayerProfile, ...]
    uncounted: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON form, the layers as a list of dicts."""
        rows = [asdict(row) | {"output_shape": list(row.output_shape)} for row in self.layers]
        return asdict(self) | {"layers": rows, "uncounted": list(self.uncounted)}

    def __str__(self) -> str:
        table = [("layer", "type", "output", "parameters", "MACs", "kept bytes", "alive bytes")]
        for row in self.layers:
            numbers = (row.parameters, row.macs, row.kept_bytes, row.alive_bytes)
            table.append((row.name, row.type, "x".join(map(str, row.output_shape)), *(f"{n:,}" for n in numbers)))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        align = ["<", "<", "<", ">", ">", ">", ">"]
        lines = [
            "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True))
            for row in table
        ]
        return "\n".join(line.rstrip() for line in [*lines, "", *self._totals()])

    def _totals(self):
        parameters = f"{self.parameters:,} parameters ({self.trainable:,} trainable)"
        yield f"{self.name}: {parameters}, {self.macs:,} MACs per image"
        yield f"{self.activation_bytes / 2**20:,.1f} MiB of activations kept for the gradient of one image"
        yield f"{self.inference_peak_bytes / 2**20:,.1f} MiB alive at once in inference"
        if self.uncounted:
            yield f"MACs leave out: {', '.join(self.uncounted)}"


def profile(model: keras.Model, input_shape: tuple[int, ...] | None = None) -> Profile:
    """Counts the costs of one image in any Functional model, also with nested models or several inputs.

    macs: those of convolutions (also depthwise, separable, transposed and grouped ones) and dense layers. Bias, batch
    norm, pooling and bare operations such as keras.ops.matmul are not counted. A layer that is called twice counts
    twice, its parameters once.

    activation_bytes: float32 bytes of all tensors that the backward pass must keep, each once, if every layer trains.
    Convolutions, dense layers and batch norms keep their input, a ReLU its output, max pooling both, dropout a mask of
    one byte; adding, padding, averaging and reshaping keep nothing. Every Concatenate output counts (DenseNet's price);
    an operation without a rule keeps its inputs.

    inference_peak_bytes: the largest sum of float32 tensors alive at once when the graph runs in its order. Reshapes
    and dropout make no copy of their input.

    Args:
        model: Functional (or built Sequential) Keras model.
        input_shape: Shape of one image, e.g. (224, 224, 3), where the model leaves dimensions open; for several inputs
            a list with one shape per input.
    Returns:
        Profile.
    Raises:
        RequestError (a ValueError): the model is not Functional, dimensions are open and `input_shape` is missing, or
            the shape does not fit.
    Example:
        >>> resdense_keras.profile(resdense_keras.resnet20()).macs
        40551040
    """
    graph = _graph(model)
    inputs = _symbolic_inputs(graph, input_shape)
    calls = []
    try:
        outputs = keras.tree.flatten(_walk(graph, inputs, calls))
    except ValueError as error:
        shapes = [tensor.shape[1:] for tensor in inputs]
        raise RequestError(f"input_shape={shapes} does not run through {model.name}: {error}") from error
    kept = _kept_bytes(calls)
    alive = _alive_bytes(calls, inputs, outputs)
    parameters = _own_parameters(calls)
    macs = [macs_of(call.operation, call.inputs, call.outputs[0]) for call in calls]
    uncounted = [call.operation.name for call, count in zip(calls, macs, strict=True) if count is None]
    rows = [
        LayerProfile(
            name=call.operation.name,
            type=type(call.operation).__name__,
            output_shape=tuple(call.outputs[0].shape[1:]),
            parameters=parameters[i],
            macs=macs[i] or 0,
            kept_bytes=kept[i],
            alive_bytes=alive[i],
        )
        for i, call in enumerate(calls)
    ]
    return Profile(
        name=model.name,
        parameters=model.count_params(),
        trainable=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        macs=sum(row.macs for row in rows),
        activation_bytes=sum(kept),
        inference_peak_bytes=max(alive, default=0),
        layers=tuple(rows),
        uncounted=tuple(dict.fromkeys(uncounted)),
    )


# The walk


@dataclass(frozen=True)
class _Call:
    """One call of an operation, with its symbolic input and output tensors of batch 1."""

    operation: keras.Operation
    inputs: list
    outputs: list


def _graph(model):
    """The keras.Function that computes `model`."""
    graph = compat.graph(model)
    if not isinstance(graph, keras.Function):
        raise RequestError(
            f"profile() was given {type(model).__name__}; it needs a Functional model (or a Sequential that is built)",
            "build it with keras.Model(inputs, outputs)",
        )
    return graph


def _symbolic_inputs(graph, input_shape):
    """One symbolic tensor per input, with batch 1 and every dimension known."""
    declared = [tuple(tensor.shape[1:]) for tensor in graph.inputs]
    shapes = declared if input_shape is None else _given_shapes(input_shape, declared)
    if any(size is None for shape in shapes for size in shape):
        raise RequestError(
            f"the model's input is {', '.join(map(str, declared))}: its memory depends on the size of the image",
            "pass one, e.g. profile(model, input_shape=(224, 224, 3))",
        )
    return [keras.KerasTensor((1, *shape), dtype=x.dtype) for shape, x in zip(shapes, graph.inputs, strict=True)]


def _given_shapes(input_shape, declared):
    """`input_shape` as one tuple of ints per input, checked against what the model declares."""
    single = not any(isinstance(entry, (list, tuple)) for entry in input_shape)
    shapes = [tuple(shape) for shape in ([input_shape] if single else input_shape)]
    fits = len(shapes) == len(declared) and all(
        len(shape) == len(known) and all(size in (None, given) for size, given in zip(known, shape, strict=True))
        for shape, known in zip(shapes, declared, strict=True)
    )
    if not fits or not all(isinstance(size, int) and size > 0 for shape in shapes for size in shape):
        raise RequestError(
            f"input_shape={input_shape} was given; the model takes {', '.join(map(str, declared))} without the batch",
            "every number must be an integer of 1 or more",
        )
    return shapes


def _walk(graph, inputs, calls):
    """Sends symbolic tensors through `graph`, models inside it included, and appends every call to `calls`.

    Keras walks the graph; only the work at each node is ours. Its public `compute_output_spec` does not tell which
    tensor goes into which layer.
    """

    def traced(operation):
        inner = compat.graph(operation)
        if isinstance(inner, keras.Function):
            return lambda x, **_: _walk(inner, x, calls)

        def call(*args, **kwargs):
            outputs = operation.compute_output_spec(*args, **kwargs)
            calls.append(_Call(operation, _tensors((args, kwargs)), _tensors(outputs)))
            return outputs

        return call

    return compat.run_through(graph, inputs, traced)


def _tensors(structure):
    return [leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, keras.KerasTensor)]


def _size(tensor):
    return math.prod(tensor.shape)


def _rule(operation, table, default):
    """The row in `table` of the class of `operation`, or of its nearest base class."""
    return next((table[cls.__name__] for cls in type(operation).__mro__ if cls.__name__ in table), default)


def _own_parameters(calls):
    """Parameters of each call's layer; 0 where an earlier call has counted them."""
    seen = set()
    counts = []
    for call in calls:
        layer = call.operation
        first = isinstance(layer, keras.layers.Layer) and id(layer) not in seen
        counts.append(layer.count_params() if first else 0)
        seen.add(id(layer))
    return counts


# Multiply-adds: (layer, symbolic inputs, symbolic output) -> multiplications


def _positions_times_kernel(layer, inputs, output):
    """MACs of a convolution: every output position is multiplied with the whole kernel, whose last axis is the output
    channels (also with groups)."""
    return _size(output) // layer.kernel.shape[-1] * math.prod(layer.kernel.shape)


def _transposed(layer, inputs, output):
    """MACs of a transposed convolution: every *input* position is multiplied with the whole kernel, whose last axis is
    the input channels."""
    return _size(inputs[0]) // layer.kernel.shape[-1] * math.prod(layer.kernel.shape)


def _depthwise(layer, inputs, output):
    return _size(output) * math.prod(layer.kernel_size)


def _separable(layer, inputs, output):
    positions = _size(output) // layer.filters
    return positions * (math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape))


def _einsum(layer, inputs, output):
    """The product of all dimensions that the equation names, each once."""
    left, kernel_axes = layer.equation.split("->")[0].split(",")
    shared = [size for axis, size in zip(kernel_axes, layer.kernel.shape, strict=True) if axis in left]
    return _size(inputs[0]) * math.prod(layer.kernel.shape) // math.prod(shared)


def _recomputed(layer, inputs, output):
    positions = _size(output) // layer.growth_rate
    return positions * sum(math.prod(conv.kernel.shape) for _, conv, _ in layer.steps)


MACS = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Dense"), _positions_times_kernel),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _transposed),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _separable),
    "EinsumDense": _einsum,
    RecomputedDenseLayer.__name__: _recomputed,
}
NO_MACS = {"Embedding": True, "PReLU": True}  # their weights are read or applied one by one


def macs_of(layer, inputs, output):
    """Multiply-adds of one call of a Keras layer or operation; None where it has matrices and no rule knows it.

    Args:
        inputs, output: Tensors of a batch of one image.
    """
    count = _rule(layer, MACS, None)
    if count is not None:
        return count(layer, inputs, output)
    weights = layer.weights if isinstance(layer, keras.layers.Layer) and not _rule(layer, NO_MACS, False) else []
    return None if any(len(weight.shape) > 1 for weight in weights) else 0


# Memory

# What the gradient of an operation needs of its own call (TensorFlow's kernels; JAX keeps the same).
NOTHING, INPUT, OUTPUT, BOTH, MASK = "nothing", "input", "output", "both", "mask"
KEEPS = {
    name: keeps
    for keeps, names in {
        OUTPUT: "ReLU Relu Relu6 ELU Elu Softmax Sigmoid Tanh Concatenate Exp Sqrt",
        BOTH: "MaxPooling1D MaxPooling2D MaxPooling3D MaxPool GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D "
        "Maximum Minimum Max Min",
        MASK: "Dropout",
        NOTHING: "Add Subtract Average Negative Identity InputLayer Rescaling Mean Sum "
        "ZeroPadding1D ZeroPadding2D ZeroPadding3D Pad Cropping1D Cropping2D Cropping3D GetItem Split "
        "AveragePooling1D AveragePooling2D AveragePooling3D AveragePool "
        "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D SpatialDropout1D SpatialDropout2D "
        "Flatten Reshape Permute Transpose Squeeze ExpandDims RepeatVector UpSampling1D UpSampling2D UpSampling3D "
        "Flip Cast StopGradient",
    }.items()
    for name in names.split()
}
ACTIVATIONS = {"linear": NOTHING} | dict.fromkeys(("relu", "relu6", "elu", "sigmoid", "tanh", "softmax"), OUTPUT)
VIEWS = dict.fromkeys(("Flatten", "Reshape", "Squeeze", "ExpandDims", "Identity", "StopGradient"), True)
INFERENCE_VIEWS = VIEWS | dict.fromkeys(("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise"), True)


def _kept_bytes(calls):
    """Bytes that each call is the first to keep for the backward pass of one image."""
    roots = _roots(calls, VIEWS)
    kept = set()
    counts = []
    for call in calls:
        tensors, extra = _kept(call)
        fresh = {_root(x, roots): x for x in tensors if _root(x, roots) not in kept}
        kept.update(fresh)
        counts.append(extra + FLOAT_BYTES * sum(map(_size, fresh.values())))
    return counts


def _kept(call):
    """(tensors of the graph that the gradient of this call needs, bytes of others inside the call)."""
    operation, output = call.operation, call.outputs[0]
    if isinstance(operation, RecomputedDenseLayer):
        # its second step starts from what the first convolution made; all else is computed again
        between = sum(conv.filters for _, conv, _ in operation.steps[:-1])
        return call.inputs, FLOAT_BYTES * _size(output) // operation.growth_rate * between
    keeps, activation = _rule(operation, KEEPS, INPUT), _activation(operation)
    if isinstance(operation, keras.layers.Activation):
        keeps, activation = ACTIVATIONS.get(activation, INPUT), "linear"
    tensors = {INPUT: call.inputs, OUTPUT: call.outputs, BOTH: [*call.inputs, *call.outputs]}.get(keeps, [])
    own = _size(output) if keeps == MASK else 0
    if ACTIVATIONS.get(activation) == OUTPUT:
        tensors = [*tensors, *call.outputs]
    elif activation != "linear":  # it keeps its own input, which lies inside the layer
        own += FLOAT_BYTES * _size(output)
    if hasattr(operation, "pointwise_kernel"):  # a separable convolution is two
        own += FLOAT_BYTES * _size(output) // operation.filters * operation.pointwise_kernel.shape[-2]
    return tensors, own


def _activation(operation):
    """Name of the activation inside a layer, "linear" where there is none."""
    return getattr(getattr(operation, "activation", None), "__name__", "linear")


def _alive_bytes(calls, inputs, outputs):
    """Bytes of all tensors alive while each call runs; a tensor is alive from the call that makes it to the last that
    reads it."""
    roots = _roots(calls, INFERENCE_VIEWS)
    sizes = {id(x): FLOAT_BYTES * _size(x) for x in (*inputs, *(x for call in calls for x in call.outputs))}
    last_use = {_root(x, roots): i for i, call in enumerate(calls) for x in (*call.inputs, *call.outputs)}
    last_use |= {_root(x, roots): len(calls) for x in outputs}
    alive = {_root(x, roots) for x in inputs}
    counts = []
    for i, call in enumerate(calls):
        alive |= {_root(x, roots) for x in call.outputs}
        counts.append(sum(sizes[key] for key in alive))
        alive = {key for key in alive if last_use.get(key, -1) > i}
    return counts


def _root(tensor, roots):
    return roots.get(id(tensor), id(tensor))


def _roots(calls, views):
    """id of a view -> id of the tensor whose memory it shows."""
    roots = {}
    for call in calls:
        linear = isinstance(call.operation, keras.layers.Activation) and _activation(call.operation) == "linear"
        if call.inputs and (linear or _rule(call.operation, views, False)):
            roots |= {id(x): _root(call.inputs[0], roots) for x in call.outputs}
    return roots
