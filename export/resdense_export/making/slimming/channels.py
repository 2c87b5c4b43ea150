"""Finds which channels of a net go together, from its nodes.

Every node has a group number for each of its channels. A convolution or dense layer begins new groups. A node that
works channel by channel keeps the groups of its input, an addition joins the groups of its inputs, and a concatenation
puts them side by side. Padding of channels (shortcut option A) begins groups of zeros, which the addition after it
joins with others. A group is removed everywhere or nowhere.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from resdense_keras import compat

from ...nets.node import Node, Reference
from ...nets.reading import read_with_calls
from .exported import exported
from .norms import constants, held, is_norm

PRODUCERS = ("Conv2D", "Dense")
CHANNELWISE = (
    "Affine", "Activation", "LeakyReLU", "DepthwiseConv2D", "Identity", "Cast", "ZeroPadding2D", "LowestPadding2D",
    "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "Slice",
    "UpSampling2D", "Cropping2D", "ELU",
)  # fmt: skip
# Functions of keras.ops that do so too
FUNCTIONS = (
    "Sigmoid", "Silu", "Tanh", "Gelu", "Elu", "Selu", "Celu", "Softplus", "Softsign", "LogSigmoid", "HardSigmoid",
    "HardSilu", "HardTanh", "Clip", "Exp", "Square", "Sqrt", "Absolute", "Negative", "Mean", "Max",
)  # fmt: skip
TIED = ("Add", "Multiply", "Maximum", "Minimum", "Average", "Subtract")  # the same channel of each input
# Without weights one such layer may have several places in a net, and another width in each.
ANY_WIDTH = (*CHANNELWISE, *FUNCTIONS, *TIED, "Concatenate", "Flatten")
MIXING = ("softmax", "log_softmax", "glu", "sparsemax")  # activations that look at all channels at once


@dataclass(frozen=True, eq=False)
class Net:
    """A model as nodes, with the group of each channel.

    Attributes:
        nodes: Nodes of nets.reading, each after its inputs.
        calls: {node: {"operation", "arguments"}} of Keras.
        kinds: {node: kind}; for a carried operation that slimming knows, its Keras class.
        groups: {node: (channels,) group numbers}.
        count: Number of groups; they are numbered from 0.
        fixed: (count,) bool: groups that must stay.
        born: {group: tuple of the producers that make it}.
        uncut: {layer: why its channels stay}.
        constants: {norm: channels in which its scale is zero in a slim net}, see norms.py.
    """

    nodes: tuple[Node, ...] = field(repr=False)
    calls: dict = field(repr=False)
    kinds: dict = field(repr=False)
    groups: dict = field(repr=False)
    count: int
    fixed: np.ndarray = field(repr=False)
    born: dict = field(repr=False)
    uncut: dict
    constants: dict = field(repr=False)

    @cached_property
    def by_name(self):
        return {node.name: node for node in self.nodes}

    @cached_property
    def carried_macs(self):
        """{node: multiply-adds} of layers that are carried into the slim net as they are, with all their channels."""
        import keras

        from resdense_keras.profiles import macs_of

        found = {}
        for node in self.nodes:
            if self.kinds[node.name] == "Carried" and node.name in self.calls:
                layer = self.calls[node.name]["operation"]
                *place, channels = node.shape or (1,)
                shapes = [self.by_name[source].shape for source in node.inputs]
                shapes.append((*place, getattr(layer, "filters", channels)))  # a node may be one half of its layer
                *inputs, output = (keras.KerasTensor((1, *(size or 1 for size in shape))) for shape in shapes)
                found[node.name] = macs_of(layer, inputs, output) or 0
        return found

    @cached_property
    def exported(self):
        """{graph: {node: exported.Part}}: what is left of each node in a slim net's file."""
        return exported(held(self.nodes, self.constants), self.kinds)

    @cached_property
    def original(self):
        """The Net of the model as it is, without `constants`."""
        return replace(self, constants={}) if self.constants else self

    @property
    def everything(self):
        """The choice that keeps all groups: (count,) bool."""
        return np.ones(self.count, bool)

    def users(self, running=None):
        """{node: the nodes that read it}; where `running` is given, only for its nodes."""
        nodes = [node for node in self.nodes if running is None or node.name in running]
        found = {node.name: [] for node in nodes}
        for node in nodes:
            for source in node.inputs:
                if source in found:
                    found[source].append(node)
        return found

    def channels_of(self, groups):
        """(numbers of the nodes with channels of these groups, number of such channels in each)."""
        counts = np.bincount(np.concatenate([self._places[group] for group in groups]))
        numbers = np.flatnonzero(counts)
        return numbers.tolist(), counts[numbers].tolist()

    @cached_property
    def _places(self):
        """For each group the numbers of the nodes that have it, once per channel."""
        lengths = [len(self.groups[node.name]) for node in self.nodes]
        groups = np.concatenate([self.groups[node.name] for node in self.nodes])
        order = np.argsort(groups, kind="stable")
        numbers = np.repeat(np.arange(len(self.nodes)), lengths)[order]
        return np.split(numbers, np.searchsorted(groups[order], np.arange(1, self.count)))


def net_of(model):
    """The Net of a Functional or Sequential model."""
    nodes, calls = read_with_calls(model)
    return _Grouping(nodes, calls).done()


class _Grouping:
    def __init__(self, nodes, calls):
        self.nodes, self.calls = nodes, calls
        self.parent, self.pinned, self.groups, self.kinds, self.uncut = [], [], {}, {}, {}
        self.shapes = {node.name: node.shape for node in nodes}
        times = Counter(id(call["operation"]) for call in calls.values())
        self.repeated = {name for name, call in calls.items() if times[id(call["operation"])] > 1}
        for node in nodes:
            self.kinds[node.name] = _kind(node, calls)
            self.groups[node.name] = self.of(node)

    def new(self, count):
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def root(self, number):
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def tie(self, first, second):
        for one, other in zip(first, second, strict=True):
            self.parent[self.root(int(one))] = self.root(int(other))

    def pin(self, node, why=None):
        """Fixes all groups that `node` reads, and gives its output new, fixed groups."""
        for source in node.inputs:
            self.pinned.extend(self.groups[source])
        if why:
            self.uncut[node.name] = why
        given = self.new(node.shape[-1] if node.shape and node.shape[-1] else 0)
        self.pinned.extend(given)
        return given

    def of(self, node):
        """The groups of the output of `node`, from those of its inputs."""
        kind, inputs = self.kinds[node.name], [self.groups[source] for source in node.inputs]
        if kind in ("Input", "Output"):
            return self.pin(node)
        if node.name not in self.calls and kind == "Carried":
            return self.pin(node)
        if node.name in self.repeated and (kind not in ANY_WIDTH or _weights(node, self.calls)):
            return self.pin(node, "it is called more than once")
        if kind in PRODUCERS:
            return self.new(node.channels)
        if kind == "Activation" and node.attributes["activation"] in MIXING:
            return self.pin(node, f"{node.attributes['activation']} looks at all channels at once")
        if kind == "Affine" and not is_norm(node) and not _has_one_number(self.calls[node.name]):
            return self.pin(node, f"{_class(node, self.calls)} has a number for each channel")
        if kind in CHANNELWISE or kind in FUNCTIONS:
            return np.repeat(inputs[0], node.channels // len(inputs[0]))  # more than once: a depth multiplier
        if kind == "ChannelPadding":
            before, after = node.attributes["padding"]
            return np.concatenate([self.new(before), inputs[0], self.new(after)])
        if kind == "Concatenate":
            return np.concatenate(inputs)
        if kind in TIED and all(len(own) == node.channels for own in inputs):
            for own in inputs[1:]:
                self.tie(own, inputs[0])
            return inputs[0]
        if kind == "Reshape" and self.shapes[node.inputs[0]][-1] == node.channels:
            return inputs[0]
        if kind == "Flatten" and inputs[0].size and node.channels and node.channels % len(inputs[0]) == 0:
            return np.tile(inputs[0], node.channels // len(inputs[0]))
        return self.pin(node, f"{_class(node, self.calls)} is not a layer that slimming knows")

    def learns(self, node):
        """Whether a node has kernels, scales or the like; a Normalization only has statistics."""
        return bool(_weights(node, self.calls)) and (node.kind != "Affine" or is_norm(node))

    def is_read_by_a_producer(self, node):
        """Whether the output of `node` reaches a convolution or dense layer."""
        reached = {node.name}
        for other in self.nodes:
            if reached.intersection(other.inputs):
                reached.add(other.name)
                if self.kinds[other.name] in PRODUCERS or self.learns(other):
                    return True
        return False

    def done(self):
        roots = np.array([self.root(number) for number in range(len(self.parent))], int)
        _, numbers = np.unique(roots, return_inverse=True)
        groups = {name: numbers[own] if len(own) else own.astype(int) for name, own in self.groups.items()}
        count = int(numbers.max()) + 1 if len(numbers) else 0
        fixed = np.zeros(count, bool)
        fixed[numbers[np.array(self.pinned, int)]] = True
        born = defaultdict(list)
        for node in self.nodes:
            if self.kinds[node.name] in PRODUCERS:
                for group in groups[node.name]:
                    born[int(group)].append(node.name)
        free = np.zeros(count, bool)
        free[list(born)] = True
        fixed |= ~free
        born = {group: tuple(dict.fromkeys(names)) for group, names in born.items()}
        still = constants(self.nodes, self.kinds, self.calls, frozen=self.uncut)
        for node in self.nodes:  # between the image and the first layer nothing could have left, nor behind the last
            read = [group for source in node.inputs for group in groups[source].tolist()]
            if node.name not in self.uncut or self.learns(node):
                continue
            if not any(group in born for group in read) or not self.is_read_by_a_producer(node):
                del self.uncut[node.name]
        return Net(self.nodes, self.calls, self.kinds, groups, count, fixed, born, self.uncut, still)


def _weights(node, calls):
    """Those of a layer; a function of keras.ops has none."""
    return getattr(calls.get(node.name, {}).get("operation"), "weights", ())


def _has_one_number(call):
    """Whether what a call adds or multiplies is the same for all channels: arithmetic with a number, or a Rescaling."""
    import keras

    operation, given = call["operation"], keras.tree.flatten(call["arguments"])
    numbers = [value for value in given if not isinstance(value, Reference)]
    if isinstance(operation, keras.layers.Layer):
        if not isinstance(operation, keras.layers.Rescaling):
            return False
        numbers += [operation.scale, operation.offset]
    return all(np.size(value) == 1 for value in numbers)


def _class(node, calls):
    name = type(calls[node.name]["operation"]).__name__ if node.name in calls else node.kind
    groups = node.attributes.get("groups", 1)
    return f"{name} in {groups} groups" if groups > 1 else name


def _kind(node, calls):
    """The node's kind; for a carried operation the class of Keras' layer."""
    import keras

    if node.attributes.get("groups", 1) > 1:  # each group of its outputs reads channels of its own
        return "Carried"
    if node.name in calls and type(calls[node.name]["operation"]) is keras.layers.SeparableConv2D:
        return "Carried"  # one layer is two nodes here: the depthwise half stands for it, the other follows
    if node.name not in calls and node.kind in PRODUCERS:
        return "Carried"
    if node.kind != "Carried":
        return node.kind
    operation = calls[node.name]["operation"]
    name = type(operation).__name__
    if compat.is_keras_operation(type(operation)):
        known = _FUNCTIONS_HERE if _keeps_channels(node, calls[node.name]) else ()
    elif getattr(keras.layers, name, None) is type(operation):
        known = _LAYERS_HERE if getattr(operation, "data_format", "channels_last") == "channels_last" else ()
    else:
        known = ()
    return name if name in known else "Carried"


# No Add: one that is carried repeats an input over the image, and could not go on without the other.
_FUNCTIONS_HERE = {*FUNCTIONS, "Multiply", "Maximum", "Minimum", "Subtract"}
_LAYERS_HERE = {*TIED, "Reshape", "Flatten", "UpSampling2D", "Cropping2D", "ELU"} - {"Add"}


def _keeps_channels(node, call):
    """Whether a function has a last axis of known size, which is that of its inputs, and no array beside them."""
    operation = call["operation"]
    if not (node.shape and node.shape[-1]) or not _has_one_number(call):
        return False
    if type(operation).__name__ not in ("Mean", "Max"):
        return True
    axes = operation.axis if isinstance(operation.axis, (list, tuple)) else [operation.axis]
    rank = len(node.shape) + 1 + (0 if operation.keepdims else len(axes))
    return all(axis is not None and axis % rank != rank - 1 for axis in axes)
