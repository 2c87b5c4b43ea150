"""Builds a Keras model with the layers of a Net and only the groups of channels that stay."""

import contextlib
import functools
import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resdense_keras.errors import RequestError, first_line

from ...nets.node import Reference
from .norms import as_maxima
from .shrinking import shape_of
from .solved import biased, changed

SETTINGS = {"Conv2D": "filters", "Dense": "units"}


@dataclass(frozen=True, eq=False)
class Built:
    """A model that was built, and how to run it node by node.

    Attributes:
        layers: {node: Keras layer} for the nodes that are layers.
        tensors: {node: symbolic output} for the nodes that run.
        steps: {node: (names of the nodes that it reads, function of their outputs)}; None for the inputs. The functions
            compute as in inference: augmentation, which is on by default, is off.
    """

    model: Any
    layers: dict = field(repr=False)
    tensors: dict = field(repr=False)
    steps: dict = field(repr=False)


def build(net, keep=None, name="model"):
    """The Built model of the groups that stay, with the weights of their channels.

    An addition or a concatenation with only one input left is removed too. Frozen layers that are not what they were,
    see solved.changed, can be trained. The scales of norms that `export` turns into a maximum stay at or above
    zero then. Layers that the repair will shift get a bias where they have none, at first zero, see solved.py.

    Args:
        net: A channels.Net.
        keep: (groups,) bool; all where None.
    Raises:
        RequestError: the choice leaves a layer without input.
    """
    return _Building(net, net.everything if keep is None else keep).build(name)


class _Building:
    def __init__(self, net, keep):
        self.net, self.shape = net, shape_of(net, keep)
        self.biased = biased(net, self.shape)
        self.maxima = as_maxima(net.exported, net.kinds)
        if self.shape.broken:
            raise RequestError(f"{self.shape.broken!r} would have no input left", "remove fewer channels")
        self.layers, self.tensors, self.steps, self.copies, self.settle = {}, {}, {}, {}, []

    def build(self, name):
        import keras

        from resdense_keras.training.starts import unfreeze

        inputs, outputs = [], []
        for node in self.net.nodes:
            if node.name not in self.shape.widths:
                continue
            if node.kind == "Input":
                self.tensors[node.name] = keras.Input(node.shape, dtype=node.dtype, name=node.name)
                self.steps[node.name] = None
                inputs.append(self.tensors[node.name])
                continue
            sources = tuple(source for source in node.inputs if source in self.shape.widths)
            if node.kind == "Output":
                outputs.append(self.tensors[sources[0]])
                continue
            function = self.function(node, sources)
            self.tensors[node.name] = function([self.tensors[source] for source in sources])
            self.steps[node.name] = (sources, functools.partial(function, training=False))
        model = keras.Model(_alone(inputs), _alone(outputs), name=name)
        for node in changed(self.net, self.shape):
            if node in self.layers:
                unfreeze(self.layers[node])
        for layer, arrays in self.settle:
            layer.set_weights(arrays)
            if hasattr(layer, "finalize_state"):
                layer.finalize_state()
        return Built(model, self.layers, self.tensors, self.steps)

    def function(self, node, sources):
        """Function of ([outputs of the `sources`], `training` or None) -> the node's output."""
        kind = self.net.kinds[node.name]
        if kind in ("Add", "Concatenate") and len(sources) == 1 < len(node.inputs):
            return _first  # what is left of a block without its branch
        if kind == "Pick":
            return lambda inputs, training=None: inputs[0][node.attributes["index"]]
        if node.name not in self.net.calls:
            return _first  # a cast, or the activation of a layer that has it inside
        return self.operation(node, kind)

    def operation(self, node, kind):
        import keras

        call = self.net.calls[node.name]
        made = self.copy(node, kind, call["operation"])
        layer = isinstance(made, keras.layers.Layer)
        if layer:
            self.layers[node.name] = made
        if kind in ("Add", "Concatenate"):
            together = layer or kind == "Concatenate"
            return lambda inputs, training=None: made(list(inputs)) if together else made(*inputs)

        def run(inputs, training=None):
            args, kwargs = keras.tree.map_structure(
                lambda value: inputs[value.position] if isinstance(value, Reference) else value, call["arguments"]
            )
            if layer and training is not None:  # Keras keeps augmentation's default of True in the call
                kwargs = {**kwargs, "training": training}  # and hands it to the layers inside of a layer
            return made(*args, **kwargs)

        return run

    def copy(self, node, kind, operation):
        """A new operation for the channels that are left."""
        if id(operation) in self.copies:
            return self.copies[id(operation)]
        config = _config(operation)
        out = self.shape.keep[self.net.groups[node.name]]
        if kind in SETTINGS:
            config[SETTINGS[kind]] = int(out.sum())
            config["use_bias"] = config["use_bias"] or node.name in self.biased
        elif kind == "Reshape":
            config["target_shape"] = (*config["target_shape"][:-1], int(out.sum()))
        elif kind == "ChannelPadding":
            before, after = node.attributes["padding"]
            ends = (int(out[:before].sum()), int(out[len(out) - after :].sum()))
            config["pad_width"] = (*config["pad_width"][:-1], ends)
        elif node.name in self.maxima and self.stays_positive(node, operation):
            config["gamma_constraint"] = config["gamma_constraint"] or "non_neg"
        made = _from(operation, config, node.name)
        self.copies[id(operation)] = made
        if getattr(operation, "weights", None):
            self.settle.append((made, self.arrays(node, kind, operation, out)))
        return made

    def stays_positive(self, node, operation):
        """Whether no scale of a batch norm is below zero, but for constants. Two norms in a row may be one in the file,
        whose scale is the product of theirs."""
        gamma = getattr(operation, "gamma", None)
        return gamma is not None and bool(((gamma.numpy() >= 0) | self.net.constants.get(node.name, False)).all())

    def arrays(self, node, kind, operation, out):
        """The layer's weights for the channels that are left."""
        arrays = operation.get_weights()
        if node.name in self.net.uncut or not len(out):
            return arrays
        into = self.shape.keep[self.net.groups[node.inputs[0]]]
        if kind == "Conv2D" or kind == "Dense":
            kernel, *bias = arrays
            kernel = kernel[..., into, :][..., out]
            bias = [bias[0][out]] if bias else [out[out] * kernel.dtype.type(0)] if node.name in self.biased else []
            return [kernel, *bias]
        if kind == "DepthwiseConv2D":
            return [arrays[0][:, :, into], *(bias[out] for bias in arrays[1:])]
        if node.name in self.net.constants:
            arrays = [np.where(self.net.constants[node.name], 0, arrays[0]), *arrays[1:]]  # gamma
        if kind in ("Affine", "LeakyReLU"):  # batch norms; a slope a channel is the last axis of PReLU's
            return [array[..., out] if array.shape and array.shape[-1] == len(out) else array for array in arrays]
        return arrays


def _config(operation):
    """The operation's configuration, without first values of another width; the weights are set afterwards."""
    with copying(operation):
        config = dict(operation.get_config())
    for key, start in list(config.items()):
        if key.endswith("_initializer") and isinstance(start, dict):
            value = start.get("config", {}).get("value", 0)
            if isinstance(value, dict) or np.ndim(value):
                del config[key]
    return config


def _from(operation, config, name):
    with copying(operation):
        made = type(operation).from_config(config)
    activation = getattr(operation, "activation", None)
    if inspect.isfunction(activation) and made.activation is not activation:
        raise RequestError(
            f"layer {name!r} has your own activation function {activation.__name__}; from a saved file Keras would "
            f"load its own {activation.__name__} in its place",
            "give it another name and register it: @keras.saving.register_keras_serializable()",
        )
    made.name = name
    return made


@contextlib.contextmanager
def copying(operation):
    """Says which layer it is that cannot be copied from its configuration."""
    try:
        yield
    except (NotImplementedError, TypeError, ValueError) as error:
        raise RequestError(
            f"layer {operation.name!r} ({type(operation).__name__}) cannot be copied from its configuration: "
            f"{first_line(error)}",
            "give the layer a `get_config` that its constructor takes",
        ) from error


def _first(inputs, training=None):
    return inputs[0]


def _alone(tensors):
    return tensors[0] if len(tensors) == 1 else tensors
