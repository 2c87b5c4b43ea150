"""Nodes -> a Keras model: `keras` itself, or any module that speaks its language, such as `tf_keras`."""

import numpy as np

from resdense_keras.errors import RequestError

from .graph import Reference


def emit(nodes, name="model", library=None):
    """The model that a list of nodes describes, with its weights.

    Args:
        nodes: As graph.read and the passes return them.
        name: Of the model.
        library: Module with `Input`, `Model`, `layers`; default: Keras 3. Carried operations are Keras 3's own, so
            another library refuses them.
    Returns:
        Functional model of the same inputs and outputs as the nodes'.
    Raises:
        RequestError: an operation that cannot be built again; it is named.
    """
    import keras

    library = library or keras
    tensors, outputs, copies, settle = {}, [], {}, []
    for node in nodes:
        inputs = [tensors[source] for source in node.inputs]
        if node.kind == "Input":
            tensors[node.name] = library.Input(node.shape, dtype=node.dtype, name=node.name)
        elif node.kind == "Output":
            outputs.append(inputs[0])
        elif node.kind == "Carried":
            if library is not keras:
                raise RequestError(f"{library.__name__} has no {_described(node)}", "leave this scheme out")
            tensors[node.name] = _carry(node, inputs, copies, settle)
        elif node.kind == "Pick":
            tensors[node.name] = inputs[0][node.attributes["index"]]
        else:
            tensors[node.name] = _build(node, inputs, library, settle)
    sources = [tensors[node.name] for node in nodes if node.kind == "Input"]
    model = library.Model(_alone(sources), _alone(outputs), name=name)
    for layer, weights in settle:
        layer.set_weights(weights)
        if hasattr(layer, "finalize_state"):  # keras.layers.Normalization derives what it computes with
            layer.finalize_state()
    return model


def _alone(tensors):
    return tensors[0] if len(tensors) == 1 else tensors


def _build(node, inputs, library, settle):
    """The output of a node of a known kind; its weights wait in `settle`."""
    layer = LAYERS[node.kind](node, library.layers)
    output = layer(inputs if node.kind in ("Add", "Concatenate") else inputs[0])
    if node.kind in WEIGHTED:
        settle.append((layer, [node.weights[key] for key in ("kernel", "bias") if key in node.weights]))
    return output


WEIGHTED = ("Conv2D", "DepthwiseConv2D", "Dense")


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


def _affine(node, layers):
    scale, shift = (np.array(node.weights[key]) for key in ("scale", "shift"))  # arrays keep all digits, lists do not
    return layers.Rescaling(scale if (scale != 1).any() else 1.0, offset=shift, **_common(node))


def _lowest(node, layers):
    return _pad(node, (0, 0), *node.attributes["padding"], (0, 0), constant_values=node.attributes["value"])


def _mirrored(node, layers):
    return _pad(node, (0, 0), *node.attributes["padding"], (0, 0), mode="symmetric")


def _channel_padding(node, layers):
    return _pad(node, (0, 0), (0, 0), (0, 0), node.attributes["padding"])


def _row_padding(node, layers):
    rows, ends = node.attributes["padding"]
    return _pad(node, (0, 0), rows, (0, 0), ends)


def _pad(node, *widths, **settings):
    import keras

    return lambda x: _named(node, keras.ops.pad(x, widths, **settings))


def _cast(node, layers):
    import keras

    return lambda x: _named(node, keras.ops.cast(x, _compute_dtype(node)))


def _maximum(node, layers):
    import keras

    bound = node.weights["bound"].astype(_compute_dtype(node))
    return lambda x: _named(node, keras.ops.maximum(x, bound))


def _compute_dtype(node):
    import keras

    return keras.DTypePolicy(node.dtype).compute_dtype


def _slice(node, layers):
    down, across = node.attributes["strides"]
    return lambda x: _named(node, x[:, ::down, ::across, :])


def _named(node, output):
    """`output` of an operation that now has the node's name: keras.ops choose their own, which a layer may have."""
    output._keras_history.operation.name = node.name
    return output


LAYERS = {
    **{kind: _weighted(kind) for kind in WEIGHTED},
    **{
        kind: _settings(kind)
        for kind in (
            "Activation",
            "Add",
            "Concatenate",
            "ZeroPadding2D",
            "MaxPooling2D",
            "AveragePooling2D",
            "GlobalAveragePooling2D",
        )
    },
    "Affine": _affine,
    "LowestPadding2D": _lowest,
    "MirrorPadding2D": _mirrored,
    "ChannelPadding": _channel_padding,
    "RowPadding": _row_padding,
    "Reshape": lambda node, layers: layers.Reshape(node.shape, **_common(node)),
    "Cast": _cast,
    "Maximum": _maximum,
    "Slice": _slice,
    "Identity": lambda node, layers: layers.Activation("linear", **_common(node)),
}


def _carry(node, inputs, copies, settle):
    """The outputs of an operation that is carried through, as a copy, so that the source model stays as is.

    The copy has the node's name: nested models may have their own by the same name.
    """
    import keras

    operation = node.attributes["operation"]
    args, kwargs = keras.tree.map_structure(
        lambda value: inputs[value.position] if isinstance(value, Reference) else value, node.attributes["arguments"]
    )
    if id(operation) in copies:
        return copies[id(operation)](*args, **kwargs)
    try:
        made = type(operation).from_config(operation.get_config())
    except (NotImplementedError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise RequestError(
            f"{_described(node)} cannot be copied from its configuration: {reason}",
            "give the layer a `get_config` that its constructor takes",
        ) from error
    made.name = node.name  # not in the configuration: a constructor of one's own may not take it
    copies[id(operation)] = made
    outputs = made(*args, **kwargs)
    if getattr(operation, "weights", None):
        settle.append((made, operation.get_weights()))
    return outputs


def _described(node):
    return f"layer {node.attributes['operation'].name!r} ({type(node.attributes['operation']).__name__})"
