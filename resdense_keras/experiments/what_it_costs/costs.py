"""Costs of both families at equal accuracy, and a DenseNet's memory with another implementation.

Behind lesson 6. The nets are the library's CIFAR nets on scikit-learn's digits (8 x 8), in several widths and growth
rates, so that each family draws a curve of accuracy over every kind of cost.
"""

import functools
import time
from typing import NamedTuple

import numpy as np
from keras import ops

from ...builder import check_choice, check_integer
from ...densenets import cifar_densenet
from ...profiles import profile
from ...resnets import cifar_resnet
from ...training.peak_memory import is_measured, peak_training_bytes
from ..add_or_concatenate.connections import by_block, chain
from ..lesson import COLORS, NotYet, exercise

FAMILIES = ("residual", "dense")
RESIDUAL_DEPTH, DENSE_DEPTH = 14, 16  # 6 blocks of two layers, and 6 dense layers of two with two transitions
EPOCHS = 6
BATCH = 64


class Point(NamedTuple):
    """One net of a family: its size (width or growth rate), its costs for one image, its test accuracies (one per
    seed).

    `step_ms` are the (10th percentile, median, 90th percentile) of a training step of 64 images, or None.
    """

    family: str
    size: int
    parameters: int
    macs: int
    activation_bytes: int
    accuracies: tuple
    step_ms: tuple | None = None

    @property
    def accuracy(self):
        """The mean over the seeds, 0 to 1."""
        return float(np.mean(self.accuracies))

    @property
    def name(self):
        return f"{self.family} {self.size}"


# Nets


def net(family, size, *, recompute=False, depth=None):
    """A net for the digits: (N, 8, 8, 1) -> (N, 10) logits.

    Args:
        family: "residual" (14 layers) or "dense" (DenseNet-BC of 16 layers).
        size: Width of the first stage, or growth rate.
        recompute: Of the dense net, as in `resdense_keras.densenet`.
        depth: Layers of the residual net, 6n + 2, where it is not the usual one.
    """
    check_choice("family", family, FAMILIES)
    check_integer("size", size, 1)
    options = {"input_shape": (8, 8, 1), "classes": 10, "classifier_activation": None, "name": f"{family}_{size}"}
    if family == "residual":
        return cifar_resnet(depth=depth or RESIDUAL_DEPTH, width=size, **options)
    return cifar_densenet(depth=DENSE_DEPTH, growth_rate=size, recompute=recompute, **options)


@functools.cache
def trainer(family, size, depth=None):
    """The `small_nets.RepeatedTraining` of a net, one for the whole process: tracing takes longer than training."""
    from .. import small_nets

    return small_nets.RepeatedTraining(net(family, size, depth=depth))


@functools.cache
def point(family, size, *, seeds=3, epochs=EPOCHS, depth=None):
    """Trains a net once per seed and measures it on the test digits; a `Point` without times."""
    from .. import small_nets

    shared = trainer(family, size, depth)
    counted = profile(shared.model)
    test = small_nets.digits()[1]
    accuracies = []
    for seed in range(seeds):
        shared.run(seed=seed, epochs=epochs)
        accuracies.append(float(small_nets.hits(test.labels, shared.model(test.images, training=False))))
    costs = counted.trainable, counted.macs, counted.activation_bytes
    return Point(family, size, *costs, tuple(accuracies))


def with_times(points, rounds=4, epochs=2):
    """The points with the time of a training step; the nets take turns, so that a slow phase of the machine affects
    all."""
    times = np.empty((rounds, len(points)))
    for done in range(rounds):
        for number, point in enumerate(points):
            shared = trainer(point.family, point.size)
            start = time.perf_counter()
            shared.run(epochs=epochs)
            times[done, number] = 1000 * (time.perf_counter() - start) / (epochs * shared.steps)
    spread = np.percentile(times, (10, 50, 90), axis=0).T
    return [point._replace(step_ms=tuple(map(float, own))) for point, own in zip(points, spread, strict=True)]


# Memory


def read_and_new(depth, *, growth_rate=12, width=24):
    """(channels that all layers of a dense block read, together; channels that exist, the input's among them)."""
    blocks = by_block(chain("dense", depth, growth_rate=growth_rate, width=width))
    return sum(block.reads for block in blocks), blocks[-1].writes


@functools.cache
def memory_mib(kind, depth):
    """MiB of float32 for one 32x32 image in a chain of `depth` residual blocks or dense layers.

    Args:
        kind: "residual", "dense" or "recomputed": all that the backward pass keeps; "new": what the dense layers made
            and nothing else, each feature map once; "inference" and "residual inference": the most that is alive at
            once in the dense and in the residual chain.
        depth: Blocks or layers.
    """
    check_choice("kind", kind, ("residual", "dense", "recomputed", "new", "inference", "residual inference"))
    if kind == "new":
        return 32 * 32 * 4 * read_and_new(depth)[1] / 2**20
    connection = "residual" if kind.startswith("residual") else "dense"
    counted = profile(chain(connection, depth, recompute=kind == "recomputed"))
    return (counted.inference_peak_bytes if kind.endswith("inference") else counted.activation_bytes) / 2**20


ORIGINS = ("made once", "concatenation", "its ReLU", "bottleneck")


def kept_by_origin(model):
    """{origin: share of the bytes that the backward pass of a DenseNet-BC keeps, 0 to 1}, in the order of `ORIGINS`.

    "made once": the image and what the stem and the transitions made; "concatenation": every tensor that one layer
    joined; "its ReLU": the copy of it behind each reader's batch norm; "bottleneck": what the 1x1 convolutions made and
    the ReLU behind. The `k` maps of a layer are kept as parts of the concatenation only.
    """
    counted = profile(model)
    kept = dict.fromkeys(ORIGINS, 0)
    for row in counted.layers:
        if row.type == "Concatenate":
            origin = "concatenation"
        elif row.name.endswith(("_bn2", "_relu2")):
            origin = "bottleneck"
        elif row.type == "ReLU":
            origin = "its ReLU"
        else:
            origin = "made once"
        kept[origin] += row.kept_bytes
    return {origin: count / counted.activation_bytes for origin, count in kept.items()}


@functools.cache
def gradient_difference(size=4, *, other_weights=False):
    """Largest difference between the gradients of the recomputed dense net and of the plain one, as a share of the
    largest.

    Args:
        size: Growth rate.
        other_weights: Give the second net other weights, which should tell the two apart.
    """
    from .. import small_nets

    plain, recomputed = net("dense", size), net("dense", size, recompute=True)
    small_nets.draw(plain, 0)
    recomputed.set_weights(plain.get_weights())
    if other_weights:
        small_nets.draw(recomputed, 1)
    first, second = (_gradients(model, small_nets.digits()[0]) for model in (plain, recomputed))
    return float(np.max(np.abs(first - second)) / np.max(np.abs(first)))


def _gradients(model, data):
    """All gradients of one batch, as one vector."""
    import tensorflow as tf

    from .. import small_nets

    @tf.function
    def measure():
        with tf.GradientTape() as tape:
            logits = model(data.images[:BATCH], training=True)
            loss = small_nets.cross_entropy(data.labels[:BATCH], logits)
        return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    gradients = measure.get_concrete_function()()  # a call that traces is counted over all nets, and warned of
    return np.concatenate([ops.convert_to_numpy(gradient).ravel() for gradient in gradients])


@functools.cache
def peak_mib(kind, depth=12, batch=256):
    """MiB that one training step holds at its peak, measured in a process of its own (10 s and more); None where the
    system does not tell it (it is not Linux).

    Args:
        kind: "residual", "dense" or "recomputed".
        depth: Residual blocks, or dense layers, on 8x8 maps.
        batch: Images of the step.
    """
    check_choice("kind", kind, ("residual", "dense", "recomputed"))
    if not is_measured():
        return None
    connection = "residual" if kind == "residual" else "dense"
    return peak_training_bytes(chain(connection, depth, recompute=kind == "recomputed", size=8), batch) / 2**20


# Pictures

_MARKERS = {"residual": "o", "dense": "s"}
_AXES = {  # {field of a Point: (label, unit)}
    "parameters": ("parameters (thousands)", 1000),
    "macs": ("multiply-adds of an image (millions)", 1e6),
    "activation_bytes": ("activations kept for an image (KiB)", 1024),
}


def draw_accuracies(figure, points):
    """Test accuracy over parameters, MACs, activation memory and the time of a step, with the range over the seeds.

    Args:
        figure: Empty matplotlib Figure.
        points: `Point`s of both families, with times.
    """
    panels = figure.subplots(4, 1, sharey=True)
    for axes, (field, (label, unit)) in zip(panels.flat, _AXES.items(), strict=False):
        _accuracy_over(axes, points, label, [getattr(point, field) / unit for point in points])
    time_axes = panels.flat[-1]
    time_label = f"a training step of {BATCH} images (ms)"
    medians = [median for _, median, _ in (point.step_ms for point in points)]
    _accuracy_over(time_axes, points, time_label, medians, ticks=(1, 1.5, 2, 3, 5, 7))
    for point in points:
        low, median, high = point.step_ms
        spread = [[median - low], [high - median]]
        time_axes.errorbar(median, 100 * point.accuracy, xerr=spread, color=COLORS[point.family], capsize=2)
    for axes in panels:
        axes.set_ylabel("test accuracy (%)")
    panels[0].legend(loc="lower right")
    panels[0].set_title("Further left is cheaper (logarithmic scales)")


def _accuracy_over(axes, points, label, costs, ticks=(1, 2, 5)):
    """A line per family: accuracy over `costs`, one for each of the points."""
    from matplotlib.ticker import LogLocator, NullLocator

    for family in FAMILIES:
        own = [point for point in points if point.family == family]
        own_costs = [cost for point, cost in zip(points, costs, strict=True) if point.family == family]
        mean = np.array([100 * point.accuracy for point in own])
        low, high = (100 * np.array([pick(point.accuracies) for point in own]) for pick in (min, max))
        axes.errorbar(
            own_costs,
            mean,
            yerr=[mean - low, high - mean],
            label=family,
            color=COLORS[family],
            marker=_MARKERS[family],
            capsize=3,
        )
        for point, cost in zip(own, own_costs, strict=True):
            where = (cost, 100 * point.accuracy)
            offset = (5, -12) if family == "residual" else (-12, 7)
            axes.annotate(str(point.size), where, offset, textcoords="offset points", color=COLORS[family], fontsize=9)
    axes.set(xscale="log", xlabel=label)
    axes.margins(x=0.1)  # room for the numbers beside the outermost points
    axes.xaxis.set_major_locator(LogLocator(subs=ticks))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


_LOOKS = {
    "dense": ("dense layers, everything kept", {"color": COLORS["dense"], "marker": "s"}),
    "recomputed": ("dense layers, recomputed", {"color": COLORS["other"], "marker": "v", "linestyle": "--"}),
    "residual": ("residual blocks", {"color": COLORS["residual"], "marker": "o"}),
    "inference": ("dense layers, inference", {"color": "#8a6d00", "marker": "D", "linestyle": "-."}),
    "residual inference": ("residual blocks, inference", {"color": "#009e73", "marker": "x", "linestyle": "-."}),
    "new": ("what they made, each map once", {"color": COLORS["plain"], "marker": "^", "linestyle": ":"}),
}


def draw_memory(figure, memory, depths, shares):
    """Memory over depth, in training and in inference; and what the dense net keeps, by origin.

    Args:
        figure: Empty matplotlib Figure.
        memory: {kind of `memory_mib`: MiB, one number for each of `depths`}.
        depths: Numbers of blocks or layers.
        shares: What `kept_by_origin` returns.
    """
    training, inference, bars = figure.subplots(3, 1, height_ratios=(4, 3, 2))
    for kind, mib in memory.items():
        label, look = _LOOKS[kind]
        axes = inference if kind.endswith("inference") else training
        axes.plot(depths, mib, label=label, **look)
    for axes, title in ((training, "In training: kept for the gradient"), (inference, "In inference: alive at once")):
        axes.set(title=title, xticks=depths, ylim=0, ylabel="MiB, 32x32 image")
        axes.legend(fontsize=10)
    inference.set_xlabel("blocks or layers")
    bars.barh(list(shares), [100 * share for share in shares.values()], color=COLORS["dense"])
    bars.invert_yaxis()
    bars.set(title="What a dense net keeps", xlabel="share of the bytes (%)")


# Exercises of lesson 6


@exercise
def check_channels_read(channels_read):
    """`channels_read(layers, width, growth_rate)`: channels that all layers of a dense block read, together."""
    for layers, width, growth_rate in ((1, 8, 4), (3, 6, 5), (7, 24, 12)):
        right, _ = read_and_new(layers, growth_rate=growth_rate, width=width)
        answer = channels_read(layers, width, growth_rate)
        if answer != right:
            raise NotYet(f"channels_read({layers}, {width}, {growth_rate}) gave {answer}, not {right}")


_MATCHES = {2: 3, 4: 6}  # width -> growth rate; a test counts them again


@exercise
def check_equal_growth_rate(equal_growth_rate):
    """`equal_growth_rate(width)`: the dense net's growth rate whose parameters come nearest to the residual net's."""
    for width, right in _MATCHES.items():
        answer = equal_growth_rate(width)
        if answer != right:
            target = net("residual", width).count_params()
            raise NotYet(f"equal_growth_rate({width}) gave {answer}; {right} comes nearer to {target:,} parameters")


@exercise
def check_largest_batch(largest_batch):
    """`largest_batch(model, mebibytes)`: how many images' activations fit."""
    for family, size, mebibytes in (("residual", 8, 1), ("dense", 8, 1), ("dense", 4, 0.01)):
        model = net(family, size)
        right = int(mebibytes * 2**20 // profile(model).activation_bytes)
        answer = largest_batch(model, mebibytes)
        if answer != right:
            raise NotYet(f"largest_batch of {model.name} in {mebibytes} MiB gave {answer}, not {right}")
