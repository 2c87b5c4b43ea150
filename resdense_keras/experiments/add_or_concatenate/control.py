"""Turns addition into appending and changes nothing else: a control that comparing ResNet with DenseNet is not. Behind
lesson 1.

A ResNet and a DenseNet differ in more than the connection: in convolutions per block, width and order of the batch
norms. Here three nets share all of that. Each has a stem, `LAYERS` layers and a head on `WIDTH` channels; each layer is
batch norm, ReLU and one 3x3 convolution that makes `MAPS` maps, pads them with zeros to `WIDTH` channels and *adds* the
result:

    append      the maps land on channels that are still empty: x + pad(F(x)) is [x, F(x)]
    add         the same places, but the stem has filled all channels: x + pad(F(x)) is a sum
    add, narrow the stem fills 16 channels as in `append`, and all layers add onto these 16

`append` and `add, narrow` have equally many weights; `add` has those of a wider stem besides.
"""

import functools
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from ...blocks import conv, norm_relu
from ...builder import check_choice, normalization
from .. import small_nets
from ..lesson import COLORS

JOINS = ("append", "add", "add, narrow")
LAYERS = 8
MAPS = 4
STEM = 16
WIDTH = STEM + LAYERS * MAPS
_LOOKS = {
    "append": {"color": COLORS["dense"], "marker": "s"},
    "add": {"color": COLORS["residual"], "marker": "o"},
    "add, narrow": {"color": COLORS["other"], "marker": "^"},
}


class Result(NamedTuple):
    """One training: loss in nats on the training images in the last epoch, accuracy on the test images (0 to 1)."""

    loss: float
    accuracy: float


def net(join):
    """A net of `JOINS` for the digits: (N, 8, 8, 1) -> (N, 10) logits."""
    check_choice("join", join, JOINS)
    norm = normalization(bn_momentum=0.9, bn_epsilon=1e-5)
    inputs = keras.Input((8, 8, 1), name="image")
    filled = WIDTH if join == "add" else STEM
    x = conv(inputs, filled, 3, stride=2, name="stem_conv")  # (N, 4, 4, filled)
    x = _Placed(0, name="stem_placed")(x)  # (N, 4, 4, WIDTH)
    for index in range(LAYERS):
        name = f"stage1_block{index + 1}"
        maps = conv(norm_relu(x, norm=norm, name=name), MAPS, 3, name=f"{name}_conv1")  # (N, 4, 4, MAPS)
        start = (index * MAPS) % STEM if join == "add, narrow" else STEM + index * MAPS
        x = layers.Add(name=f"{name}_add")([x, _Placed(start, name=f"{name}_placed")(maps)])
    x = norm_relu(x, norm=norm, name="head")
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(inputs, layers.Dense(10, name="predictions")(x), name=join.replace(", ", "_"))


class _Placed(layers.Layer):
    """pad(F): maps on the channels from `start`, zeros on all others of `WIDTH`."""

    def __init__(self, start, **options):
        super().__init__(**options)
        self.start = start

    def call(self, maps):
        behind = WIDTH - self.start - maps.shape[-1]
        return ops.pad(maps, ((0, 0), (0, 0), (0, 0), (self.start, behind)))


def parameters(join):
    """Trainable parameters of a net."""
    return int(sum(np.prod(weight.shape) for weight in net(join).trainable_weights))


def distance_to_the_library(join="append", seed=0):
    """Difference between the net's logits and those of the library's dense block with the same weights, divided by the
    largest."""
    ours = net(join)
    small_nets.draw(ours, seed)
    theirs = small_nets.net("dense", LAYERS + 2, width=STEM, growth_rate=MAPS)
    for layer in theirs.layers:
        if layer.weights:
            found = ours.get_layer(layer.name.replace("_bn1", "_bn")).get_weights()
            layer.set_weights([_read(array, weight.shape) for array, weight in zip(found, layer.weights, strict=True)])
    images = small_nets.digits()[1].images[:32]
    first, second = (np.asarray(model(images, training=True)) for model in (ours, theirs))
    return float(np.abs(first - second).max() / np.abs(second).max())


def _read(array, shape):
    """The part of a weight that belongs to the channels which a dense layer has before it."""
    return array[tuple(slice(size) for size in shape)]


@functools.cache
def trainer(join):
    """The `small_nets.RepeatedTraining` of a net, one for the whole process."""
    return small_nets.RepeatedTraining(net(join))


@functools.cache
def trained(join, seed=0):
    """`Result` of a training as in lesson 2: 6 epochs, the same images in the same order for each net."""
    shared = trainer(join)
    history = shared.run(seed=seed)
    _, accuracy = small_nets.measured(shared.model, small_nets.digits()[1])
    return Result(history[-1].loss, accuracy)


def differences(first, second, seeds, what="accuracy"):
    """`first` minus `second`, one number per seed."""
    return np.array([getattr(trained(first, s), what) - getattr(trained(second, s), what) for s in seeds])


def draw_results(figure, found):
    """Training loss and test accuracy of the nets: one mark per seed, lines between the nets of one seed.

    Args:
        figure: Empty matplotlib Figure.
        found: {join: [Result of each seed]}.
    """
    top, bottom = figure.subplots(2, 1, sharex=True)
    for axes, pick in ((top, lambda result: result.loss), (bottom, lambda result: 100 * result.accuracy)):
        values = np.array([[pick(result) for result in results] for results in found.values()])  # (nets, seeds)
        axes.plot(range(len(found)), values, color="#c3c8d0", linewidth=1, zorder=1)
        for place, (join, row) in enumerate(zip(found, values, strict=True)):
            axes.plot([place] * len(row), row, linestyle="none", **_LOOKS[join])
    top.set(ylabel="training loss (nats)", title="A mark is a seed, a line connects one seed's nets", ylim=0)
    bottom.set(
        ylabel="test accuracy (%)\n(does not start at 0)", xticks=range(len(found)), xlim=(-0.4, len(found) - 0.6)
    )
    bottom.set_xticklabels(list(found))
