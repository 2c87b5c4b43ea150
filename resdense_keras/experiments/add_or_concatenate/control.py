"""Turns addition into appending and changes nothing else: a control that comparing ResNet with DenseNet is not. Behind
lesson 1.

A ResNet and a DenseNet differ in more than the connection: in convolutions per block, width and order of the batch
norms. Here three nets share all of that. Each has a stem, layers and a head on `width` channels; a layer is batch
norm, ReLU and one 3x3 convolution to a few maps, pads these with zeros to `width` channels and *adds* the result:

    append      the maps land on channels that are still empty: x + pad(F(x)) is [x, F(x)]
    add         the same places, but the stem has filled all channels: x + pad(F(x)) is a sum
    add, narrow the stem fills 16 channels as in `append`, and all layers add onto these 16

`append` and `add, narrow` have equally many weights; `add` has those of a wider stem besides. There are two sizes: for
the digits, which lesson 1 trains, and for CIFAR-10, whose trainings are stored (benchmarks/lessons.py).
"""

import functools
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from ...blocks import conv, norm_relu
from ...builder import check_choice, normalization
from ...data.arrays import read_npz
from ...errors import RequestError
from .. import small_nets
from ..lesson import COLORS

JOINS = ("append", "add", "add, narrow")
CIFAR10_IMAGES = 10_000  # of the 50,000 for training: the first ones
CIFAR10_EPOCHS = 10
_LOOKS = {
    "append": {"color": COLORS["dense"], "marker": "s"},
    "add": {"color": COLORS["residual"], "marker": "o"},
    "add, narrow": {"color": COLORS["other"], "marker": "^"},
}


class Size(NamedTuple):
    """How large the nets are.

    Attributes:
        shape: Height, width and channels of an image; the stem halves height and width.
        layers: Number of layers.
        maps: Maps that a layer makes.
        stem: Channels that the stem fills, except in `add`, where it fills all.
        halved_after: Number of layers behind which 2x2 averages halve the maps once more; None: nowhere.
    """

    shape: tuple
    layers: int
    maps: int
    stem: int
    halved_after: int | None = None

    @property
    def width(self):
        """Channels of the net."""
        return self.stem + self.layers * self.maps


DIGITS = Size((8, 8, 1), layers=8, maps=4, stem=16)
CIFAR10 = Size((32, 32, 3), layers=8, maps=8, stem=16, halved_after=4)


class Result(NamedTuple):
    """One training: loss in nats on the training images in the last epoch, accuracy on the test images (0 to 1)."""

    loss: float
    accuracy: float


def net(join, size=DIGITS):
    """A net of `JOINS`: (N, *size.shape) -> (N, 10) logits."""
    check_choice("join", join, JOINS)
    norm = normalization(bn_momentum=0.9, bn_epsilon=1e-5)
    inputs = keras.Input(size.shape, name="image")
    filled = size.width if join == "add" else size.stem
    x = conv(inputs, filled, 3, stride=2, name="stem_conv")  # (N, H / 2, W / 2, filled)
    x = _Placed(0, size.width, name="stem_placed")(x)  # (N, H / 2, W / 2, width)
    for index in range(size.layers):
        if index == size.halved_after:
            x = layers.AveragePooling2D(2, name="halved")(x)  # (N, H / 4, W / 4, width)
        name = f"stage1_block{index + 1}"
        maps = conv(norm_relu(x, norm=norm, name=name), size.maps, 3, name=f"{name}_conv1")  # (N, h, w, maps)
        start = (index * size.maps) % size.stem if join == "add, narrow" else size.stem + index * size.maps
        x = layers.Add(name=f"{name}_add")([x, _Placed(start, size.width, name=f"{name}_placed")(maps)])
    x = norm_relu(x, norm=norm, name="head")
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(inputs, layers.Dense(10, name="predictions")(x), name=join.replace(", ", "_"))


class _Placed(layers.Layer):
    """pad(F): maps on the channels from `start`, zeros on all others of `width`."""

    def __init__(self, start, width, **options):
        super().__init__(**options)
        self.start = start
        self.width = width

    def call(self, maps):
        behind = self.width - self.start - maps.shape[-1]
        return ops.pad(maps, ((0, 0), (0, 0), (0, 0), (self.start, behind)))


def parameters(join, size=DIGITS):
    """Trainable parameters of a net."""
    return int(sum(np.prod(weight.shape) for weight in net(join, size).trainable_weights))


def distance_to_the_library(join="append", seed=0):
    """Difference between the net's logits and those of the library's dense block with the same weights, divided by the
    largest."""
    ours = net(join)
    small_nets.draw(ours, seed)
    theirs = small_nets.net("dense", DIGITS.layers + 2, width=DIGITS.stem, growth_rate=DIGITS.maps)
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


@functools.cache
def cifar10(path):
    """(training, test) `small_nets.Images` of CIFAR-10: the first 10,000 training images, and all 10,000 for testing.

    Args:
        path: The .npz with all images, as `resdense_keras.data.load` reads it.
    Raises:
        RequestError: the file cannot be read, or its images are not those of CIFAR-10.
    """
    source = read_npz(path)
    if (source.image_shape, source.given) != (CIFAR10.shape, (50_000, 0, 10_000)):
        found = f"{source.given[0]:,} and {source.given[2]:,} images of {source.image_shape}"
        raise RequestError(f"{path} has {found}", "CIFAR-10 has 50,000 and 10,000 images of (32, 32, 3)")
    training = slice(CIFAR10_IMAGES)
    seen = source.images[training].astype("float32")
    mean, deviation = seen.mean(axis=(0, 1, 2)), seen.std(axis=(0, 1, 2))
    return tuple(
        small_nets.Images(
            ops.convert_to_tensor((source.images[part] - mean) / deviation, "float32"),
            ops.convert_to_tensor(source.labels[part], "int32"),
        )
        for part in (training, slice(source.given[0], None))
    )


@functools.cache
def cifar10_trainer(join, path):
    """The `small_nets.RepeatedTraining` of a net on CIFAR-10, one for the whole process."""
    return small_nets.RepeatedTraining(net(join, CIFAR10), cifar10(path)[0])


def trained_on_cifar10(join, path, seed=0, epochs=CIFAR10_EPOCHS):
    """`Result` of a training on CIFAR-10: a minute and more. No augmentation, all else as on the digits."""
    shared = cifar10_trainer(join, path)
    history = shared.run(seed=seed, epochs=epochs)
    test = cifar10(path)[1]
    step = 1000  # images at once: all together would take gigabytes
    hits = [
        small_nets.measured(shared.model, small_nets.Images(*(values[start : start + step] for values in test)))[1]
        for start in range(0, len(test.labels), step)
    ]
    return Result(history[-1].loss, float(np.mean(hits)))


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
