"""Which layer of a net uses what an earlier one computed: read off the weights, caused, and readable. Behind lesson 5.

A source is the stem (0) or a dense layer (its number); a reader is a dense layer, or the head (the last number plus 1).
Maps are (readers, sources) arrays, NaN where a reader comes before its source.
"""

import functools
import itertools
import re

import keras
import numpy as np
from scipy.stats import spearmanr

from ...builder import check_choice
from ...catalog import create
from .. import small_nets
from ..lesson import NotYet, exercise

DEPTH = 20

RIDGE = 1e-3  # of the features' mean variance: enough to invert, too little to matter where features are many


def weight_map(model):
    """Mean |w| with which each reader reads each source, scaled so that the largest between layers is 1: (readers,
    sources).

    The head is initialised in another way and may exceed 1.

    Source: Huang et al. 2017, arXiv:1608.06993, figure 5.
    """
    found = _over_edges(model, lambda layer, channels: np.abs(layer.kernel.numpy()[..., channels, :]).mean())
    return found / np.nanmax(found[:-1])


SHIPPED = {"digits": "densenet_bc28_6_digits", "cifar10": "densenet_bc22_16"}  # DenseNet-BCs with trained weights


@functools.cache
def shipped_map(weights, *, trained=True, gamma=True):
    """Mean gamma x |w| with which each dense layer of a shipped net reads each source: (readers, sources).

    The sources of a stage are its input (0) and its layers. Every reader has its own batch norm before its convolution,
    whose factor gamma matters as much as the weight. Each row is divided by its mean, so a flat row is 1.

    Args:
        weights: One of `SHIPPED`.
        trained: False gives the untrained twin: the same net with fresh weights.
        gamma: False leaves the factor out, as the paper's figure 5 does.
    """
    keras.utils.set_random_seed(0)  # of the twin
    model = create(SHIPPED[check_choice("weights", weights, tuple(SHIPPED))], weights=weights if trained else None)
    convs = [layer for layer in model.layers if re.fullmatch(r"stage\d+_block\d+_conv1", layer.name)]
    rows = []
    for conv in convs:
        if "_block1_" in conv.name:  # a new stage: all that enters it is one source
            edges = [0, conv.kernel.shape[2]]
        scale = np.abs(model.get_layer(conv.name.replace("conv1", "bn1")).gamma.numpy()) if gamma else 1
        read = np.abs(conv.kernel.numpy()).mean(axis=(0, 1, 3)) * scale  # (channels read,)
        rows.append([read[low:high].mean() for low, high in itertools.pairwise(edges)])
        edges.append(edges[-1] + model.get_layer(conv.name.replace("conv1", "conv2")).filters)
    found = np.full((len(rows), max(map(len, rows))), np.nan)
    for row, values in zip(found, rows, strict=True):
        row[: len(values)] = np.array(values) / np.mean(values)
    return found


def shipped_spread(weights, **options):
    """Standard deviation over mean of what one layer reads from its sources, over the layers with several; 0 is flat.

    Arguments as in `shipped_map`.
    """
    rows = [row[~np.isnan(row)] for row in shipped_map(weights, **options)]
    return float(np.mean([row.std() for row in rows if len(row) > 1]))  # their means are 1


def newest_and_oldest(weights, **options):
    """(what a layer reads from its newest source, from its oldest), 1 being the row's mean; over layers with three or
    more sources. Arguments as in `shipped_map`."""
    rows = [row[~np.isnan(row)] for row in shipped_map(weights, **options)]
    rows = np.array([[row[-1], row[0]] for row in rows if len(row) > 2])
    return tuple(map(float, rows.mean(axis=0)))


def causal_map(model, data):
    """Rise of the loss in nats where one reader gets zeros instead of one source: (readers, sources).

    All other readers still read that source. It is negative where the net is better without it.
    """
    measure = small_nets.evaluation(model, data)
    before, _ = measure()

    def rise(layer, channels):
        kernel = layer.kernel.numpy()
        cut = kernel.copy()
        cut[..., channels, :] = 0
        layer.kernel.assign(cut)
        loss, _ = measure()
        layer.kernel.assign(kernel)
        return loss - before

    return _over_edges(model, rise)


def sources(model):
    """{source: range of channels} in the last concatenation of a dense net."""
    width = model.get_layer("stem_conv").filters
    channels = {0: range(width)}
    for number, layer in enumerate(_readers(model)[:-1], start=1):
        channels[number] = range(channels[number - 1].stop, channels[number - 1].stop + layer.filters)
    return channels


def _readers(model):
    """The readers in order: the convolution of each dense layer, and the dense head."""
    convs = [layer for layer in model.layers if layer.name.endswith("_conv1")]
    return [*convs, model.get_layer("predictions")]


def _over_edges(model, measure):
    """Array of measure(reader, channels of the source) where there is an edge, NaN elsewhere."""
    readers, channels = _readers(model), sources(model)
    found = np.full((len(readers), len(channels)), np.nan)
    for reader, layer in enumerate(readers):
        for source in range(reader + 1):
            found[reader, source] = measure(layer, channels[source])
    return found


# Readable


TARGETS = ("own", "maps", "rectified")


def readable(model, training, test, *, target="own"):
    """How much of what the stem computed a linear reader finds after each block, 0 to 1 (below 0: worse than the mean).

    Ridge regression from all channels of a pixel to the target at that pixel, fitted on `training` images and scored (R
    squared) on `test` images. Batch norms at their averages.

    Args:
        target: "own", what the stem hands to the blocks: behind a batch norm and a ReLU in the plain and the residual
            net, without them in the others; "maps", in all nets what the stem's convolution made; "rectified", in all
            nets these maps brought to mean 0 and deviation 1, and a ReLU of them.
    Returns:
        Array: after the stem (1 for "own", up to the ridge), after block 1, after block 2 ...
    """
    check_choice("target", target, TARGETS)
    fitted, scored = (
        [_pixels(maps) for maps in small_nets.running_features(model, part.images)] for part in (training, test)
    )
    right = (fitted[0], scored[0]) if target == "own" else _stem_maps(model, training, test, target == "rectified")
    return np.array([explained(x, right[0], y, right[1]) for x, y in zip(fitted, scored, strict=True)])


def _stem_maps(model, training, test, rectified):
    """What the stem's convolution made of the training and of the test images: (pixels, channels) arrays."""
    stem = keras.Model(model.input, model.get_layer("stem_conv").output)
    maps, test_maps = (_pixels(stem(part.images, training=False)) for part in (training, test))
    if not rectified:
        return maps, test_maps
    mean, deviation = maps.mean(axis=0), maps.std(axis=0)
    return tuple(np.maximum((found - mean) / deviation, 0) for found in (maps, test_maps))


def _pixels(maps):
    maps = np.asarray(maps, "float64")
    return maps.reshape(-1, maps.shape[-1])


def explained(x, y, x_test, y_test):
    """R squared on the test rows of the ridge regression from x to y."""
    middle, base = x.mean(axis=0), y.mean(axis=0)
    x = x - middle
    moments = x.T @ x
    moments += RIDGE * np.trace(moments) / len(moments) * np.eye(len(moments))
    found = (x_test - middle) @ np.linalg.solve(moments, x.T @ (y - base)) + base
    return float(1 - np.sum((y_test - found) ** 2) / np.sum((y_test - y_test.mean(axis=0)) ** 2))


# Studies of the small nets


@functools.cache
def decodability(connection, *, seed=0, trained=True, target="own"):
    """`readable` of a small net of 20 layers; untrained, its batch norms stand at their start."""
    if trained:
        model, _ = small_nets.trained(connection, DEPTH, seed=seed)
    else:
        model = small_nets.net(connection, DEPTH)
        small_nets.draw(model, seed)
    return readable(model, *small_nets.digits(), target=target)


def learnt_shares(seed=0):
    """The numbers that each block of a trained weighted net gives to what came before, the stem's first: arrays."""
    model, _ = small_nets.trained(small_nets.WEIGHTED, DEPTH, seed=seed)
    return [layer.shares.numpy() for layer in model.layers if isinstance(layer, small_nets.WeightedSum)]


@functools.cache
def maps(*, seed=0):
    """{"trained": weight map, "untrained": the same of a fresh net, "causal": causal map} of a dense net, 20 layers."""
    model, _ = small_nets.trained("dense", DEPTH, seed=seed)
    found = {"trained": weight_map(model), "causal": causal_map(model, small_nets.digits()[1])}
    fresh = small_nets.net("dense", DEPTH)
    small_nets.draw(fresh, seed + 100)  # not the weights that this training started from
    return found | {"untrained": weight_map(fresh)}


@functools.cache
def causal_map_of_an_untrained_net(seed=0):
    """The control of the causal map."""
    fresh = small_nets.net("dense", DEPTH)
    small_nets.draw(fresh, seed + 100)
    return causal_map(fresh, small_nets.digits()[1])


def agreement(first, second):
    """Spearman's rank correlation of two maps over the edges between layers (the head reads otherwise)."""
    first, second = (found[:-1][~np.isnan(found[:-1])] for found in (first, second))
    return float(spearmanr(first, second)[0])


def row_spread(found):
    """Standard deviation over mean size of what one layer reads from its sources, averaged over layers; 0 is flat."""
    rows = [row[~np.isnan(row)] for row in found[1:-1]]  # the first layer has one source, the head reads otherwise
    return float(np.mean([row.std() / np.abs(row).mean() for row in rows]))


def share_that_matters(causal, nats=0.02):
    """Share of the edges without which the loss rises by more than `nats`."""
    edges = causal[~np.isnan(causal)]
    return float(np.mean(edges > nats))


# Pictures


def draw_shipped(figure, found):
    """Maps of `shipped_map` in rows of two on one scale, on which 1 is a flat row.

    Args:
        figure: Empty matplotlib Figure.
        found: {title: map}.
    """
    axes = figure.subplots(len(found) // 2, 2, squeeze=False)
    for place, (title, values) in zip(axes.flat, found.items(), strict=True):
        image = place.imshow(values, cmap="cividis", vmin=0.5, vmax=1.5, aspect="auto")
        place.set(title=title, xlabel="source (0: what enters)", xticks=range(values.shape[1]), yticks=[])
        place.grid(False)
    for place in axes[:, 0]:
        place.set_ylabel("readers,\nstage by stage")
    figure.colorbar(
        image, ax=axes, location="bottom", shrink=0.8, extend="both", label="gamma x |w|, mean of a row = 1"
    )


def draw_causes(figure, values, clipped=0.1, matters=0.02):
    """The causal map, clipped so that more than the largest edge is seen; a dot marks each edge that matters.

    Args:
        figure: Empty matplotlib Figure.
        values: (readers, sources) in nats.
        clipped: Where the scale ends, in nats.
        matters: Above it an edge gets its dot, in nats.
    """
    axes = figure.subplots()
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=clipped)
    readers, sources = np.nonzero(np.nan_to_num(values) > matters)
    axes.scatter(sources, readers, s=14, color="white", edgecolor="black", linewidth=0.8)
    last = len(values) - 1
    ticks = range(0, last, 4)
    axes.set(xlabel="source (0: stem)", ylabel="reader (dense layer)", xticks=ticks, yticks=[*ticks, last])
    axes.set_yticklabels([*(str(layer + 1) for layer in ticks), "head"])
    axes.grid(False)
    label = f"rise of the loss (nats), cut off at {clipped:g}; dots: above {matters:g}"
    figure.colorbar(image, ax=axes, shrink=0.9, label=label, location="bottom", extend="max")


def draw_decodability(figure, panels):
    """R squared of the stem's features over the blocks passed, a panel each: means, bars one deviation over the seeds.

    Args:
        figure: Empty matplotlib Figure.
        panels: {title: {connection: (seeds, blocks + 1) array}}.
    """
    axes = figure.subplots(len(panels), 1, sharex=True, sharey=True)
    for place, (title, found) in zip(axes, panels.items(), strict=True):
        for name, runs in found.items():
            share = np.linspace(0, 100, runs.shape[1])
            spread = runs.std(axis=0, ddof=1) if len(runs) > 1 else None
            look = small_nets.LOOKS[name] | {"markersize": 5, "capsize": 3}
            place.errorbar(share, runs.mean(axis=0), spread, label=name, **look)
        place.set(title=title, ylabel="R²", ylim=(0, 1.04))
    axes[-1].set_xlabel("way through the net (%)")
    # Below, for the curves leave no corner free
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


# Exercises of lesson 5


@exercise
def check_edges(edges):
    """`edges(layers)`: how many (source, reader) pairs a dense block of so many layers has, stem and head counted."""
    for count in (1, 3, 18):
        right, answer = (count + 1) * (count + 2) // 2, edges(count)
        if answer != right:
            raise NotYet(f"edges({count}) gave {answer}, not {right}")


@exercise
def check_cut(cut):
    """`cut(kernel, channels)`: the kernel that reads zeros in place of these channels, and all others as before."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, 8, 4))
    before = kernel.copy()
    for channels in (range(2, 5), range(8)):
        answer = cut(kernel, channels)
        if not np.array_equal(kernel, before):
            raise NotYet("it changed the kernel that it was given; the net would stay cut")
        kept = [c for c in range(8) if c not in channels]
        if answer is None or np.shape(answer) != kernel.shape:
            raise NotYet(f"it gave shape {None if answer is None else np.shape(answer)}, not {kernel.shape}")
        if np.any(answer[:, :, list(channels)]) or not np.array_equal(answer[:, :, kept], kernel[:, :, kept]):
            raise NotYet(f"for channels {list(channels)} the wrong ones are zero")


@exercise
def check_r_squared(r_squared):
    """`r_squared(truth, found)`: the share of the variance of `truth` (samples, channels) that `found` explains."""
    random = np.random.default_rng(0)
    truth = random.normal(size=(200, 3)) + 5
    for found in (truth, truth + random.normal(size=truth.shape), np.broadcast_to(truth.mean(axis=0), truth.shape)):
        right = 1 - np.sum((truth - found) ** 2) / np.sum((truth - truth.mean(axis=0)) ** 2)
        answer = r_squared(truth, found)
        if answer is None or not abs(answer - right) < 1e-6:
            raise NotYet(f"it gave {answer}, not {right:.3f}; the mean is taken of each channel for itself")
