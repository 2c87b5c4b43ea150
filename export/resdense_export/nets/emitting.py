"""Builds a Keras model from nodes, with `keras` or a module of the same interface, such as `tf_keras`."""

import contextlib

from resdense_keras.errors import RequestError, first_line

from ..models.fitness import copied
from .layers import KINDS
from .node import Reference


def emit(nodes, name="model", library=None):
    """The model that a list of nodes describes, with its weights.

    Args:
        nodes: As reading.read and the passes return them.
        name: Name of the model.
        library: Module with `Input`, `Model`, `layers`; default: Keras 3. Carried operations belong to Keras 3, so
            another library refuses them.
    Returns:
        Functional model of the same inputs and outputs as the nodes'.
    Raises:
        RequestError: an operation that cannot be built again; it is named.
    """
    import keras

    library = library or keras
    with _channels_last(library):
        return _emit(nodes, name, library)


@contextlib.contextmanager
def _channels_last(library):
    """New layers have the channels last, as nodes have, whatever keras.json says."""
    before = library.backend.image_data_format()
    library.backend.set_image_data_format("channels_last")
    try:
        yield
    finally:
        library.backend.set_image_data_format(before)


def _emit(nodes, name, library):
    import keras

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
    """The output of a node of a known kind; its weights are set later, from `settle`."""
    kind = KINDS[node.kind]
    layer = kind.emit(node, library.layers)
    output = layer(inputs if kind.joins else inputs[0])
    if kind.weights:
        settle.append((layer, [node.weights[key] for key in kind.weights if key in node.weights]))
    return output


def _carry(node, inputs, copies, settle):
    """The outputs of a copy of a carried operation, so that the source model stays as it is.

    The copy has the name of the node, because nested models may use one name twice.
    """
    import keras

    operation = node.attributes["operation"]
    args, kwargs = keras.tree.map_structure(
        lambda value: inputs[value.position] if isinstance(value, Reference) else value, node.attributes["arguments"]
    )
    if id(operation) in copies:
        return copies[id(operation)](*args, **kwargs)
    try:
        made = copied(operation)
    except (NotImplementedError, TypeError, ValueError) as error:
        reason = first_line(error)
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
