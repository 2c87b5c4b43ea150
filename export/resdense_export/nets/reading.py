"""Reads a Functional Keras model as a list of small immutable nodes, which rewriting/ changes and emitting.py builds
again.

Nested models are flattened. A layer that layers.py knows becomes nodes of plain kinds with its settings in `attributes`
and its arrays in `weights`. Everything else is carried through as it is, with the kind "Carried".
"""

from dataclasses import dataclass
from typing import Any

from resdense_keras import compat
from resdense_keras.errors import RequestError

from .layers import known
from .node import Node, Reference, free_name


def read(model):
    """The nodes of a Functional or Sequential model, inputs before what reads them: tuple of Node.

    Raises:
        RequestError: the model is not a graph of layers (it is subclassed or not built).
    """
    return read_with_calls(model)[0]


def read_with_calls(model):
    """(nodes, {name: {"operation", "arguments"}}): the nodes of `read`, and for the first node of each Keras operation
    that operation, with a Reference in its arguments for each input's output.
    """
    import keras

    reader = _Reader()
    graph = functional(model)
    if graph is None:
        raise RequestError(
            f"model {getattr(model, 'name', model)!r} is not a built Functional or Sequential model",
            "build it from keras.Input and layers: a subclassed model hides its graph in code",
        )
    for tensor in graph.inputs:
        name = reader.unique(compat.maker(tensor)[0].name)
        reader.add(tensor, Node(name, "Input", (), _shape(tensor), tensor.dtype))
        if not keras.backend.is_float_dtype(tensor.dtype):
            reader.integers.add(name)
    reader.walk(call for call in compat.calls(graph) if not call.is_input)
    for tensor in graph.outputs:
        source = reader.names[id(tensor)]
        reader.nodes.append(Node(reader.unique(f"{source}_output"), "Output", (source,), _shape(tensor), tensor.dtype))
    return tuple(reader.nodes), reader.calls


def functional(model):
    """The graph inside a Functional or Sequential model; None for anything else."""
    import keras

    if isinstance(model, keras.Sequential):
        return compat.graph(model) if model.built else None
    # A subclass of Functional with a call of its own does something else than its graph.
    plain = isinstance(model, keras.Model) and compat.is_graph(model)
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
    integers, which Keras does not tell: it calls the output of every layer float. `calls`: see read_with_calls.
    """

    def __init__(self):
        self.nodes, self.names, self.taken, self.integers, self.calls = [], {}, set(), set(), {}

    def unique(self, name):
        """A free name for a node, because a nested model may use the same one."""
        self.taken.add(chosen := free_name(name, self.taken))
        return chosen

    def add(self, tensor, node):
        self.nodes.append(node)
        self.names[id(tensor)] = node.name

    def walk(self, calls):
        """Adds all calls of a graph whose inputs are in `names`."""
        for call in calls:
            self.call(call)

    def call(self, call):
        """Adds one call of an operation: a layer, a keras.ops function, or a nested model."""
        inner = functional(call.operation)
        if inner is not None:
            self.nested(inner, call)
            return
        tensors = call.arguments.keras_tensors
        inputs = tuple(self.names[id(tensor)] for tensor in tensors)
        name = self.unique(call.operation.name)
        self.calls[name] = _carried(call)
        parts = known(call) if len(call.outputs) == 1 else None
        if parts is not None and not self.wraps(call, parts, inputs):
            policy = _policy(call)
            pairs = zip(inputs, tensors, strict=True)
            inputs = tuple(self.floating(source, tensor, policy) for source, tensor in pairs)
            self.chain(call.outputs[0], name, inputs, policy, parts)
            return
        if self.integers.intersection(inputs):
            self.integers.add(name)
        carried = Node(name, "Carried", inputs, _shape(call.outputs[0]), attributes=self.calls[name])
        if len(call.outputs) == 1:
            self.add(call.outputs[0], carried)
            return
        self.nodes.append(carried)
        for index, tensor in enumerate(call.outputs):
            pick = self.unique(f"{name}_output{index}")
            self.add(tensor, Node(pick, "Pick", (name,), _shape(tensor), attributes={"index": index}))
            if name in self.integers:
                self.integers.add(pick)

    def wraps(self, call, parts, inputs):
        """Whether it computes with integers, where 200 + 100 is 44; layers do not."""
        import keras

        arithmetic = parts[0][0] == "Affine" and not isinstance(call.operation, keras.layers.Layer)
        return arithmetic and bool(self.integers.intersection(inputs))

    def floating(self, source, tensor, dtype):
        """Name of a node with the output of `source` as floats: `source` itself, or a Cast.

        It is needed because a layer that takes integers may be folded into one that does not, and a nested model makes
        them float.
        """
        if source not in self.integers:
            return source
        name = self.unique(f"{source}_float")
        self.nodes.append(Node(name, "Cast", (source,), _shape(tensor), dtype))
        return name

    def chain(self, tensor, name, inputs, dtype, parts):
        """Adds the nodes that one known layer is made of, such as a convolution and its activation."""
        for number, (kind, attributes, weights, *shape) in enumerate(parts):
            part = name if number == 0 else self.unique(f"{name}_{kind.lower()}")
            shape = shape[0] if shape else _shape(tensor)
            self.nodes.append(Node(part, kind, inputs, shape, dtype, attributes, weights))
            inputs = (part,)
        self.names[id(tensor)] = inputs[0]

    def nested(self, inner, call):
        """Adds the operations of a model that is called like a layer, with the shapes that they have in this call."""
        import keras

        outer = [self.names[id(tensor)] for tensor in call.arguments.keras_tensors]
        before = dict(self.names)
        inputs, calls, outputs = _calls_on(inner, call.arguments.keras_tensors)
        for tensor, name in zip(inputs, outer, strict=True):
            takes_float = keras.backend.is_float_dtype(tensor.dtype)
            self.names[id(tensor)] = self.floating(name, tensor, tensor.dtype) if takes_float else name
        self.walk(calls)
        results = [self.names[id(tensor)] for tensor in outputs]
        # The same model may be called again: its tensors then mean other nodes.
        self.names = before | {id(tensor): name for tensor, name in zip(call.outputs, results, strict=True)}


@dataclass(frozen=True)
class _Arguments:
    args: tuple
    kwargs: dict
    keras_tensors: list


@dataclass(frozen=True)
class _Call:
    """A call of an operation, as Keras' graphs hold it."""

    operation: Any
    arguments: _Arguments
    outputs: list


def _calls_on(graph, given):
    """(inputs, calls, outputs) of a graph that is called on the tensors `given`.

    The graph's own where their shapes say no more than its own; else new tensors. Keras keeps the shapes that a nested
    model was built for, in which the size of the image may be open.
    """
    import keras

    own = [tuple(tensor.shape) for tensor in graph.inputs]
    known = [
        tuple(size if asked is None else asked for size, asked in zip(shape, tensor.shape, strict=True))
        for shape, tensor in zip(own, given, strict=True)
    ]
    if known == own:
        return graph.inputs, [call for call in compat.calls(graph) if not call.is_input], graph.outputs
    calls = []

    def at(operation):
        def call(*args, **kwargs):
            outputs = operation.compute_output_spec(*args, **kwargs)
            leaves = keras.tree.flatten((args, kwargs))
            tensors = [leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor)]
            calls.append(_Call(operation, _Arguments(args, kwargs, tensors), keras.tree.flatten(outputs)))
            return outputs

        return call

    pairs = zip(known, graph.inputs, strict=True)
    inputs = [keras.KerasTensor(shape, tensor.dtype) for shape, tensor in pairs]
    return inputs, calls, keras.tree.flatten(compat.run_through(graph, inputs, at))


def _policy(call):
    """A layer's dtype policy; keras.ops compute in the type of their inputs, integers here in the default float."""
    import keras

    policy, dtype = getattr(call.operation, "dtype_policy", None), call.outputs[0].dtype
    if policy is not None:
        return policy.name
    return dtype if keras.backend.is_float_dtype(dtype) else keras.config.floatx()


def _carried(call):
    """The operation and its arguments, with a Reference in place of each tensor of the graph."""
    import keras

    positions = {id(tensor): index for index, tensor in enumerate(call.arguments.keras_tensors)}
    arguments = keras.tree.map_structure(
        lambda value: Reference(positions[id(value)]) if id(value) in positions else value,
        (call.arguments.args, call.arguments.kwargs),
    )
    return {"operation": call.operation, "arguments": arguments}
