"""Lesions of the small nets, over seeds and several blocks at once, and their pictures. Behind lesson 4.

Source: Veit et al. 2016, arXiv:1605.06431, section 4 and figures 3 and 5.
"""

import functools
import math

import keras
import numpy as np
import tensorflow as tf

from .. import lesions, small_nets
from ..lesson import NotYet, exercise

DEPTH = 20


@functools.cache
def one_by_one(connection, *, depth=DEPTH, seed=0):
    """Test accuracy of a trained net without each block in turn, and with all: (array, number)."""
    model, _ = small_nets.trained(connection, depth, seed=seed)
    names = lesions.block_names(model)
    found = _without(model, [[name] for name in names] + [[]])
    return found[:-1], found[-1]


def together(connection, counts, *, depth=DEPTH, seed=0, draws=5):
    """Test accuracy without several blocks at once, drawn by chance: (len(counts), draws) array."""
    model, _ = small_nets.trained(connection, depth, seed=seed)
    names, random = lesions.block_names(model), np.random.default_rng(seed)
    chosen = [random.choice(names, count, replace=False) for count in counts for _ in range(draws)]
    return _without(model, chosen).reshape(len(counts), draws)


def _without(model, choices):
    """Test accuracy without all blocks of each choice; the model keeps its weights."""
    measure = small_nets.evaluation(model, small_nets.digits()[1])
    whole, found = model.get_weights(), []
    for names in choices:
        for name in names:
            lesions.remove(model, name)
        found.append(measure()[1])
        model.set_weights(whole)
    return np.array(found)


def medians(connection, *, seeds=(0,), depth=DEPTH):
    """The median accuracy after one lesion over that of the whole net, for each seed."""
    studies = [one_by_one(connection, depth=depth, seed=seed) for seed in seeds]
    return np.array([np.median(blocks) / whole for blocks, whole in studies])


def branch_after_removal(connection, *, removed=True):
    """Difference between the first block's output and what removal promises, divided by the largest value of the
    latter.

    The promise: without its branch the block hands on its input, or, in a dense net, appends zeros to it.
    """
    net, _ = small_nets.trained(connection, DEPTH)
    whole = net.get_weights()
    if removed:
        lesions.remove(net, lesions.block_names(net)[0])
    before, after = small_nets.running_features(net, small_nets.digits()[1].images[:16])[:2]
    net.set_weights(whole)
    promised = np.pad(before, [(0, 0)] * 3 + [(0, after.shape[-1] - before.shape[-1])])
    return float(np.abs(after - promised).max() / np.abs(promised).max())


@functools.cache
def path_lengths(*, depth=DEPTH, seed=0, trained=True, draws=5):
    """How much gradient comes through the paths of each length in a pre-activation net: {"one": ..., "all": ...}.

    A path of length k passes k branches and goes around the others. "one" is the mean size of the gradient at the stem
    that comes through one such path, of `draws` drawn by chance; "all" is that times the number of such paths, as a
    share of the sum over all lengths. On 64 digits; nats per unit.

    Source: Veit et al. 2016, arXiv:1605.06431, section 5.2 and figure 6.
    """
    if trained:
        model, _ = small_nets.trained("preactivation", depth, seed=seed)
    else:
        model = small_nets.net("preactivation", depth)
        small_nets.draw(model, seed)
    (stem, *branches), head = in_pieces(model)
    data, random = small_nets.digits()[0], np.random.default_rng(seed)
    start = stem(data.images[: small_nets.BATCH], training=False)
    labels, one = data.labels[: small_nets.BATCH], []
    for length in range(len(branches) + 1):
        sizes = []
        for _ in range(draws if 0 < length < len(branches) else 1):  # there is one shortest path, and one longest
            chosen = random.choice(len(branches), length, replace=False)
            sizes.append(float(tf.norm(path_gradient(start, branches, head, labels, set(chosen)))))
        one.append(np.mean(sizes))
    total = np.array([math.comb(len(branches), length) for length in range(len(branches) + 1)]) * one
    return {"one": np.array(one), "all": total / total.sum()}


def path_gradient(start, branches, head, labels, chosen):
    """The loss's gradient at `start` along the path through the branches `chosen` (numbers) and around the others."""
    with tf.GradientTape() as tape:
        tape.watch(start)
        x = start
        for number, branch in enumerate(branches):  # forward nothing changes
            if number in chosen:
                x = tf.stop_gradient(x) + branch(x)
            else:
                x = x + tf.stop_gradient(branch(x))
        loss = small_nets.cross_entropy(labels, head(x))
    return tape.gradient(loss, start)


def in_pieces(model):
    """([stem, branch 1, branch 2 ...], head) of a pre-activation net, batch norms at their averages."""
    names = lesions.block_names(model)
    adds = [model.get_layer(f"{name}_add") for name in names]
    pieces = [keras.Model(model.input, adds[0].input[0])]
    pieces += [keras.Model(*add.input) for add in adds]
    return pieces, keras.Model(adds[-1].output, model.output)


def width_of_the_head(connection, depth=DEPTH):
    """Channels that the head of a net reads."""
    return small_nets.net(connection, depth).get_layer("head_pool").output.shape[-1]


# Pictures


def draw_lesions(figure, studies):
    """Accuracy after one lesion over the block's place, one panel per connection.

    Args:
        figure: Empty matplotlib Figure.
        studies: {connection: [(accuracies by block, accuracy of the whole net) of each seed]}; marks are means, bars
            one standard deviation over the seeds, the thin line is the whole net.
    """
    axes = figure.subplots(len(studies), 1, sharey=True)
    for place, (name, runs) in zip(axes, studies.items(), strict=True):
        blocks = 100 * np.array([accuracies for accuracies, _ in runs])
        spread = blocks.std(axis=0, ddof=1) if len(runs) > 1 else None
        look = small_nets.LOOKS[name] | {"linestyle": "none", "markersize": 5, "capsize": 3}
        place.errorbar(range(1, blocks.shape[1] + 1), blocks.mean(axis=0), spread, **look)
        place.axhline(100 * np.mean([whole for _, whole in runs]), color=look["color"], linewidth=1)
        place.axhline(10, color="#595f69", linewidth=1, linestyle=":")
        place.set(title=name, ylabel="accuracy (%)", ylim=(0, 104))
    axes[0].annotate("guessing", (0.99, 12), xycoords=("axes fraction", "data"), ha="right", fontsize=10)
    axes[-1].set_xlabel("block taken out, counted from the input")


def draw_together(figure, found, shares):
    """Accuracy over the share of blocks taken out.

    Args:
        figure: Empty matplotlib Figure.
        found: {connection: (shares, draws) array}; marks are medians and bars hold the middle two thirds of draws
            and seeds: a mean and a standard deviation would reach beyond 100 %.
        shares: Share of the blocks, one of each row.
    """
    axes = figure.subplots()
    for shift, (name, accuracies) in zip((-1.2, -0.4, 0.4, 1.2), found.items(), strict=False):
        low, middle, high = np.percentile(100 * accuracies, (100 / 6, 50, 500 / 6), axis=1)
        spread = (middle - low, high - middle)
        axes.errorbar(100 * np.array(shares) + shift, middle, spread, label=name, capsize=4, **small_nets.LOOKS[name])
    axes.axhline(10, color="#595f69", linewidth=1)
    axes.annotate("guessing", (0.55, 9), xycoords=("axes fraction", "data"), va="top", fontsize=9)
    axes.set(xlabel="blocks taken out (%)", ylabel="test accuracy (%)", ylim=(0, 104))
    axes.legend()


def draw_paths(figure, lengths):
    """Share of the gradient that comes through all paths of a length, in the fresh and in the trained net.

    Args:
        figure: Empty matplotlib Figure.
        lengths: {trained: what `path_lengths` gives}.
    """
    axes = figure.subplots()
    count = len(lengths[True]["all"]) - 1
    paths = [math.comb(count, length) / 2**count for length in range(count + 1)]
    looks = {False: {"color": "#6a7079", "linestyle": "--", "marker": "o"}, True: small_nets.LOOKS["preactivation"]}
    axes.bar(range(count + 1), [100 * share for share in paths], color="#dadde3", label="the paths themselves")
    for trained, found in lengths.items():
        axes.plot(100 * found["all"], label=f"gradient, {'trained' if trained else 'fresh'} net", **looks[trained])
    axes.set(xlabel="length: branches on the path", ylabel="share (%)", xticks=range(count + 1))
    axes.legend()


# Exercises of lesson 4


@exercise
def check_paths(paths):
    """`paths(blocks, taken_out)`: paths through a residual net that are left, {number of branches on it: count}."""
    for blocks, taken_out in ((3, 0), (9, 1), (9, 4)):
        left = blocks - taken_out
        right = np.array([1])
        for _ in range(left):
            right = np.convolve(right, [1, 1])  # around the block, or through it
        answer = paths(blocks, taken_out)
        if answer is None or list(answer) != right.tolist():
            raise NotYet(f"paths({blocks}, {taken_out}) gave {answer}, not {right.tolist()}")


@exercise
def check_silence(silence):
    """`silence(kernel)`: the kernel of a dense layer that appends zeros."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, 5, 4))
    answer = silence(kernel)
    if answer is None or np.shape(answer) != kernel.shape or np.any(answer):
        raise NotYet(f"the layer still appends something: the kernel is {'None' if answer is None else 'not zero'}")


@exercise
def check_shut(shut):
    """`shut(gamma, beta)`: the gamma and beta with which a residual branch's last batch norm gives zeros."""
    random = np.random.default_rng(0)
    gamma, beta = random.normal(size=(2, 6))
    found = shut(gamma, beta)
    if found is None or len(found) != 2:
        raise NotYet(f"it gave {found}, not (gamma, beta)")
    out = random.normal(size=(5, 6)) * found[0] + found[1]
    if np.any(out):
        raise NotYet(f"the batch norm still gives up to {np.abs(out).max():.2g}")
