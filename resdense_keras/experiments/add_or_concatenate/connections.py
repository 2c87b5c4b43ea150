"""Compares addition and concatenation on the library's own blocks: widths, parameters, memory, and what a sum loses.

Behind lesson 1. Everywhere the setting is that of DenseNet-BC (k = 12): 24 input channels, growth rate 12.
"""

from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from ...blocks import dense_block, residual_block
from ...builder import check_choice, check_integer, normalization
from ...densenets import densenet
from ...profiles import profile
from ...recompute import recomputed_dense_block
from ..lesson import COLORS, SOURCE_COLORS, NotYet, exercise

WIDTH = 24
GROWTH_RATE = 12
CONNECTIONS = ("plain", "residual", "dense")


class Block(NamedTuple):
    """One block of a chain: the channels it reads and hands on, and its trainable parameters."""

    reads: int
    writes: int
    parameters: int


# Chains of blocks


def chain(connection, depth, *, width=WIDTH, growth_rate=GROWTH_RATE, bottleneck=False, recompute=False, size=32):
    """Only `depth` blocks of the library in a row: (N, size, size, width) -> (N, size, size, width or more).

    Args:
        connection: "residual", "plain" (the same without the addition) or "dense".
        depth: Residual blocks, or dense layers.
        growth_rate, bottleneck, recompute: Of the dense layers, as in `resdense_keras.densenet`.
    Returns:
        Functional model; the layers of block i are named `stage1_block{i}_...`.
    """
    check_choice("connection", connection, CONNECTIONS)
    check_integer("depth", depth, 1)
    norm = normalization(bn_momentum=0.9, bn_epsilon=1e-5)
    x = inputs = keras.Input((size, size, width))
    if connection == "dense":
        make_block = recomputed_dense_block if recompute else dense_block
        x = make_block(x, depth, growth_rate, norm=norm, name="stage1", bottleneck=bottleneck)
    else:
        shortcut = "B" if connection == "residual" else None
        for index in range(1, depth + 1):
            x = residual_block(x, width, norm=norm, name=f"stage1_block{index}", shortcut=shortcut)
    return keras.Model(inputs, x, name=f"{connection}_{depth}")


def by_block(model):
    """The blocks of a chain in their order, as `Block`s (not for `recompute`, whose blocks do not concatenate)."""
    blocks = []
    reads = model.input_shape[-1]
    for own in _layers_by_block(model):
        writes = own[-1].output.shape[-1]
        parameters = sum(int(np.prod(weight.shape)) for layer in own for weight in layer.trainable_weights)
        blocks.append(Block(reads, writes, parameters))
        reads = writes
    return blocks


def holdings(model):
    """What the channels hold: for the input and after each block a dict {source: range of channels}.

    Source 0 is the input, source i the result of block i. It is read from the graph: a Concatenate puts the new
    channels after the old ones, an Add puts them onto the same channels, and without either they replace the old ones.
    """
    held = {0: range(model.input_shape[-1])}
    history = [held]
    for source, own in enumerate(_layers_by_block(model), start=1):
        join = next((layer for layer in own if isinstance(layer, (layers.Add, layers.Concatenate))), None)
        if join is None:
            held = {source: range(own[-1].output.shape[-1])}
        else:
            old, new = (tensor.shape[-1] for tensor in join.input)
            start = old if isinstance(join, layers.Concatenate) else 0
            held = {**held, source: range(start, start + new)}
        history.append(held)
    return history


def bands(held):
    """How to draw an entry of `holdings`: (source, channels, band, count of bands), a band for each sharing source."""
    for source, channels in held.items():
        sharing = [other for other in held if held[other] == channels]
        yield source, channels, sharing.index(source), len(sharing)


def activation_mib(connection, depth, **options):
    """MiB of float32 activations that one image's backward pass keeps in a chain; arguments as in `chain`."""
    return profile(chain(connection, depth, **options)).activation_bytes / 2**20


def _layers_by_block(model):
    """The layers of each block, in graph order; a block's last layer makes its output."""
    groups = {}
    for layer in model.layers:
        if layer.name.startswith("stage1_block"):
            groups.setdefault(layer.name.split("_")[1], []).append(layer)
    return list(groups.values())


# The same weights in two nets


def difference(ours, theirs):
    """Largest difference of two models' outputs with the same random weights, as a share of the largest output.

    All weights are drawn, also moving statistics, because a fresh batch norm is nearly the identity and would hide a
    mistake. NaN where one of the outputs is NaN.

    Args:
        ours, theirs: Models with the same input shape, and weights of the same shapes in the same order. Both are
            left with the weights that were drawn.
    Raises:
        ValueError: the shapes of the weights or of the outputs differ.
    """
    random = np.random.default_rng(0)
    weights = [_drawn(weight, random) for weight in theirs.weights]
    for model in (ours, theirs):
        model.set_weights(weights)
    images = random.normal(size=(2, *theirs.input_shape[1:])).astype("float32")
    first, second = (ops.convert_to_numpy(model(images)) for model in (ours, theirs))
    if first.shape != second.shape:
        raise ValueError(f"outputs of shape {first.shape} and {second.shape} cannot be compared")
    return float(np.max(np.abs(first - second)) / np.max(np.abs(second)))


def _drawn(weight, random):
    """Values for one weight: kernels that keep the scale of what they read, variances above zero."""
    if len(weight.shape) > 1:
        return random.normal(scale=np.prod(weight.shape[:-1]) ** -0.5, size=weight.shape)
    return random.uniform(0.5, 1.5, size=weight.shape)


# What a sum forgets


def lost_by_adding(target, x, y):
    """Share of the variance of `target` that no linear reader of x + y can explain, 0 to 1.

    Least squares finds the best one: A in target = A (x + y).

    Args:
        target: (samples, outputs) array.
        x, y: (samples, channels) arrays.
    """
    total = x + y
    best, *_ = np.linalg.lstsq(total, target, rcond=None)
    return float(np.sum((target - total @ best) ** 2) / np.sum(target**2))


# Growth rate, transition, compression, bottleneck


class DenseNetSize(NamedTuple):
    """Channels after the stem, each dense block and each transition, in order; and the trainable parameters."""

    channels: tuple
    parameters: int


def densenet_size(*, bottleneck, compression, blocks=(12, 12), growth_rate=GROWTH_RATE):
    """Width along a CIFAR-style DenseNet, and its parameters; every option has the same number of 3x3 convolutions."""
    net = densenet(
        blocks=blocks,
        growth_rate=growth_rate,
        bottleneck=bottleneck,
        compression=compression,
        stem="cifar",
        stem_width=WIDTH,
        classes=10,
    )
    names = ["stem_conv"]
    for stage, depth in enumerate(blocks, start=1):
        names.append(f"stage{stage}_block{depth}_concat")
        if stage < len(blocks):
            names.append(f"stage{stage}_transition_pool")
    channels = tuple(net.get_layer(name).output.shape[-1] for name in names)
    return DenseNetSize(channels, profile(net).trainable)


def layer_parameters(reads, *, bottleneck, growth_rate=GROWTH_RATE):
    """Trainable parameters of one dense layer that reads `reads` channels."""
    (layer,) = by_block(chain("dense", 1, width=reads, growth_rate=growth_rate, bottleneck=bottleneck, size=8))
    return layer.parameters


def joins(layer, first, second):
    """Whether `layer` (an Add or a Concatenate) joins maps of these two shapes, each (height, width, channels)."""
    try:
        layer([keras.Input(first), keras.Input(second)])
    except ValueError:
        return False
    return True


# Pictures


def draw_strips(figure, chains):
    """Strips of channels to scale, a row for each block or dense layer, coloured by which of them computed them.

    Args:
        figure: Empty matplotlib Figure.
        chains: {name: model of `chain`}, one panel each.
    """
    panels = figure.subplots(len(chains), 1, sharex=True, sharey=True)
    for axes, (name, model) in zip(panels, chains.items(), strict=True):
        history = holdings(model)
        for row, held in enumerate(history):
            for source, channels, band, count in bands(held):
                height = 0.7 / count
                across, up = (channels.start, len(channels)), (row - 0.35 + height * band, height)
                axes.broken_barh([across], up, color=SOURCE_COLORS[source], edgecolor="white")
        axes.set(title=name, yticks=range(len(history)))
        axes.set_yticklabels(["input", *(f"after {number}" for number in range(1, len(history)))])
        axes.grid(False)
    panels[-1].set_xlabel("channels")
    panels[0].invert_yaxis()  # the panels share it
    labels = ["input", *(f"made by {number}" for number in range(1, len(history)))]
    swatches = [panels[0].barh(0, 0, color=color) for color in SOURCE_COLORS[: len(labels)]]
    figure.legend(swatches, labels, loc="outside lower center", ncols=3, fontsize=10)


_LOOKS = {
    "residual": {"color": COLORS["residual"], "marker": "o"},
    "dense": {"color": COLORS["dense"], "marker": "s"},
    "dense with bottleneck": {"color": COLORS["dense"], "marker": "^", "linestyle": "--"},
    "dense, recomputed": {"color": COLORS["other"], "marker": "v", "linestyle": ":"},
}


def draw_costs(figure, chains, memory, depths):
    """Above the parameters of each block, below the activations of all blocks together.

    Args:
        figure: Empty matplotlib Figure.
        chains: {name: model of `chain`}.
        memory: {name: MiB of activations, one number for each of `depths`}.
        depths: Numbers of blocks.
    """
    left, right = figure.subplots(2, 1)
    for name, model in chains.items():
        thousands = [block.parameters / 1000 for block in by_block(model)]
        left.plot(range(1, len(thousands) + 1), thousands, label=name, markersize=4, **_LOOKS[name])
    left.set(title="Weights of each block", xlabel="block number", ylabel="parameters (thousands)")
    for name, mib in memory.items():
        right.plot(depths, mib, label=name, **_LOOKS[name])
    right.set(title="Memory of all blocks in training", xlabel="blocks", ylabel="MiB for a 32x32 image")
    for axes in (left, right):
        axes.set(xticks=depths, ylim=0)
        axes.legend()


# Exercises of lesson 1. A check takes the learner's function and compares it with the library's own nets.

# (blocks, growth rate, compression, stem width): no transition, one, and two whose widths must be rounded down
_HEADS = (((3,), 4, 0.5, 8), ((2, 3), 4, 0.5, 8), ((1, 2, 2), 5, 0.3, 7))


@exercise
def check_tied_kernel(tied_kernel):
    """`tied_kernel(kernel, sources)`: the kernel that reads a concatenation as `kernel` reads the sum."""
    random = np.random.default_rng(1)
    for sources in (2, 3):
        maps = random.normal(size=(sources, 2, 6, 6, 5)).astype("float32")
        kernel = random.normal(size=(3, 3, 5, 4)).astype("float32")
        answer = tied_kernel(kernel, sources)
        shape = None if answer is None else np.shape(answer)
        if shape != (3, 3, 5 * sources, 4):
            raise NotYet(
                f"for {sources} sources of 5 channels and 4 outputs the kernel has shape {shape}; "
                f"the convolution needs {(3, 3, 5 * sources, 4)}"
            )
        on_the_sum = ops.conv(maps.sum(axis=0), kernel, padding="same")
        on_all = ops.conv(np.concatenate(maps, axis=-1), np.asarray(answer, "float32"), padding="same")
        apart = np.max(np.abs(ops.convert_to_numpy(on_the_sum) - ops.convert_to_numpy(on_all)))
        if not apart < 1e-3:  # float32 rounding of sums of 135 products is a hundred times smaller
            raise NotYet(f"for {sources} sources the two outputs differ by up to {apart:.2g}")


@exercise
def check_head_width(head_width):
    """`head_width(blocks, growth_rate, compression, stem_width)`: the channels that a DenseNet's head reads."""
    for blocks, growth_rate, compression, stem_width in _HEADS:
        options = {"growth_rate": growth_rate, "compression": compression, "stem_width": stem_width}
        right = densenet(blocks=blocks, stem="cifar", include_top=False, **options).output_shape[-1]
        answer = head_width(blocks, growth_rate, compression, stem_width)
        if answer != right:
            raise NotYet(f"head_width({blocks}, {growth_rate}, {compression}, {stem_width}) gave {answer}, not {right}")


@exercise
def check_break_even(break_even):
    """`break_even(growth_rate)`: the fewest channels read where a bottleneck makes a dense layer smaller."""
    for growth_rate in (4, 12, 32):
        reads = break_even(growth_rate)
        if not isinstance(reads, int) or reads < 2:
            raise NotYet(f"break_even({growth_rate}) gave {reads!r}; it should be a whole number of channels")
        with_it, without = _both_sizes(reads, growth_rate)
        if not with_it < without:
            raise NotYet(
                f"a layer that reads {reads} channels (k = {growth_rate}) has {with_it:,} parameters with the "
                f"bottleneck and {without:,} without: not smaller"
            )
        with_it, without = _both_sizes(reads - 1, growth_rate)
        if with_it < without:
            raise NotYet(f"with {reads - 1} channels (k = {growth_rate}) the bottleneck already makes it smaller")


def _both_sizes(reads, growth_rate):
    return (layer_parameters(reads, bottleneck=choice, growth_rate=growth_rate) for choice in (True, False))


@exercise
def check_dense_block(dense_block):
    """`dense_block(x, depth, growth_rate)`: equal to the library's, weight for weight."""
    theirs = chain("dense", 3, width=6, growth_rate=4, size=8)
    inputs = keras.Input((8, 8, 6))
    ours = keras.Model(inputs, dense_block(inputs, 3, 4))
    task = "3 layers with growth rate 4 on 6 channels"
    if ours.output_shape != theirs.output_shape:
        raise NotYet(f"{task} end with {ours.output_shape[-1]} channels; it should be {theirs.output_shape[-1]}")
    reads, right = (_channels_read(net) for net in (ours, theirs))
    if reads != right:
        raise NotYet(f"{task}: the convolutions read {reads} channels; it should be {right}")
    apart = difference(ours, theirs)
    if not apart < 1e-5:
        raise NotYet(f"{task}: with the library's weights the output differs by {apart:.2g} of its largest value")


def _channels_read(model):
    """Channels that each convolution reads, in graph order."""
    return [layer.input.shape[-1] for layer in model.layers if isinstance(layer, layers.Conv2D)]
