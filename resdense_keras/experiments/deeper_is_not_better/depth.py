"""Whether a deeper net fits its own training images, by connection. Behind lesson 2.

Source: He et al. 2015, arXiv:1512.03385, figures 1 and 6.
"""

import functools
from typing import NamedTuple

import numpy as np
from keras import ops

from ...errors import WorkError
from .. import lesions, small_nets
from ..lesson import NotYet, exercise


class Run(NamedTuple):
    """One training: accuracies 0 to 1 in its last epoch and on the test images, the mean loss (nats) of each epoch."""

    training: float
    test: float
    losses: tuple


@functools.cache
def run(connection, depth, *, seed=0, learning_rate=0.1):
    """Trains a `small_nets.net`, once for each set of arguments.

    Returns:
        A Run.
    """
    model, history = small_nets.trained(connection, depth, seed=seed, learning_rate=learning_rate)
    _, test = small_nets.measured(model, small_nets.digits()[1])
    return Run(history[-1].accuracy, test, tuple(epoch.loss for epoch in history))


def accuracies(connection, depth, seeds=(0,), learning_rates=(0.1,)):
    """Training accuracies of all runs: (learning rates, seeds) array."""
    return np.array(
        [[run(connection, depth, seed=s, learning_rate=rate).training for s in seeds] for rate in learning_rates]
    )


def parameters(connection, depth):
    """Trainable parameters of a `small_nets.net`."""
    return int(sum(np.prod(weight.shape) for weight in small_nets.net(connection, depth).trainable_weights))


def extended(shallow, deep, *, identity=True):
    """Training accuracies (of a trained plain net, of a deeper one made from it without training), both 0 to 1.

    The deeper net gets the stem, the blocks and the head of the shallow one. Its further blocks are set to the identity
    by hand, or keep their random start where `identity` is False. Batch norms at their moving averages.
    """
    trained, _ = small_nets.trained("plain", shallow)
    deeper = small_nets.net("plain", deep)
    small_nets.draw(deeper, 1)
    for layer in trained.layers:
        deeper.get_layer(layer.name).set_weights(layer.get_weights())
    if identity:
        for name in lesions.block_names(deeper)[len(lesions.block_names(trained)) :]:
            lesions.remove(deeper, name)
    data, _ = small_nets.digits()
    return small_nets.measured(trained, data)[1], small_nets.measured(deeper, data)[1]


# Batch norm or shortcut? Behind lesson 3


def zero_branches(model):
    """Sets the last convolution of every residual branch to zero: each block of a net without norms hands on its input.

    The start of De and Smith 2020, arXiv:2002.10444, who put one factor of zero there instead.
    """
    for name in lesions.block_names(model):
        kernel = model.get_layer(f"{name}_conv2").kernel
        kernel.assign(np.zeros(kernel.shape))


@functools.cache
def without_norm(depth, *, zero, connection="residual", seed=0, learning_rate=0.03):
    """Training accuracy (last epoch, 0 to 1) of a net without any batch norm; `zero` starts its branches at zero.

    Returns:
        0.0 where the loss stopped being a number.
    """
    try:
        history = _trainer_without_norm(connection, depth).run(
            seed=seed, learning_rate=learning_rate, prepare=zero_branches if zero else None
        )
    except WorkError:
        return 0.0
    return history[-1].accuracy


@functools.lru_cache(maxsize=2)
def _trainer_without_norm(connection, depth):
    return small_nets.RepeatedTraining(small_nets.net(connection, depth, batch_norm=False))


# Pictures


def draw_depths(figure, found, depths):
    """Training accuracy over depth, one line per connection.

    Args:
        figure: Empty matplotlib Figure.
        found: {connection: [array of accuracies, one row a learning rate and one column a seed, for each depth]};
            the line is the first row's mean, bars are one standard deviation of it over the seeds, hollow marks the
            other rows' runs.
        depths: Layers with weights.
    """
    axes = figure.subplots()
    beside = np.linspace(-1.2, 1.2, len(found))  # marks that would lie on each other stand side by side
    for shift, (name, rows) in zip(beside, found.items(), strict=True):
        x = np.array(depths) + shift
        mean = np.array([row[0].mean() for row in rows])
        spread = [row[0].std(ddof=1) if row.shape[1] > 1 else 0 for row in rows]
        bar = {"capsize": 5, "elinewidth": 1.5, "markersize": 7}
        axes.errorbar(x, 100 * mean, 100 * np.array(spread), label=name, **bar, **small_nets.LOOKS[name])
        look = {
            "color": "none",
            "edgecolor": small_nets.LOOKS[name]["color"],
            "marker": small_nets.LOOKS[name]["marker"],
        }
        for place, row in zip(x, rows, strict=True):
            others = 100 * row[1:].ravel()
            axes.scatter([place + 2.5] * len(others), others, s=28, **look)
    axes.set(xlabel="layers with weights", ylabel="accuracy on the training images (%)", ylim=(0, 104), xticks=depths)
    axes.legend(loc="lower left")


def draw_losses(figure, curves):
    """Training loss over the epochs, one line a run.

    Args:
        figure: Empty matplotlib Figure.
        curves: {(connection, depth): losses of the epochs}; the deepest nets are drawn thick.
    """
    axes = figure.subplots()
    deepest = max(depth for _, depth in curves)
    for (name, depth), losses in curves.items():
        look = small_nets.LOOKS[name] | {"linewidth": 2.5 if depth == deepest else 1, "markersize": 5}
        axes.plot(range(1, len(losses) + 1), losses, label=f"{name}, {depth} layers", **look)
    axes.set(xlabel="epoch", ylabel="loss on the training images (nats)", ylim=0)
    axes.legend(fontsize=10, ncols=1)


# Exercises of lesson 2


@exercise
def check_identity_kernel(identity_kernel):
    """`identity_kernel(channels)`: the 3x3 kernel of a convolution that hands on its input."""
    for channels in (1, 5):
        kernel = identity_kernel(channels)
        shape = None if kernel is None else np.shape(kernel)
        if shape != (3, 3, channels, channels):
            raise NotYet(f"for {channels} channels the kernel has shape {shape}, not {(3, 3, channels, channels)}")
        maps = np.random.default_rng(0).normal(size=(2, 6, 6, channels)).astype("float32")
        out = ops.convert_to_numpy(ops.conv(maps, np.asarray(kernel, "float32"), padding="same"))
        apart = np.max(np.abs(out - maps))
        if not apart < 1e-6:
            raise NotYet(f"for {channels} channels what comes out differs from what went in by up to {apart:.2g}")


@exercise
def check_plain_parameters(plain_parameters):
    """`plain_parameters(depth, width)`: trainable parameters of the lesson's plain net."""
    for depth, width in ((8, 16), (20, 16), (8, 5)):
        net = small_nets.net("plain", depth, width=width)
        right = sum(int(np.prod(weight.shape)) for weight in net.trainable_weights)
        answer = plain_parameters(depth, width)
        if answer != right:
            raise NotYet(f"plain_parameters({depth}, {width}) gave {answer}, not {right}")


# (shallow training, deep training, shallow test, deep test) accuracies -> what has happened
_CASES = {
    (0.99, 0.40, 0.93, 0.39): "degradation",
    (0.95, 1.00, 0.93, 0.85): "overfitting",
    (0.95, 0.99, 0.90, 0.93): "neither",
    (0.99, 0.80, 0.80, 0.79): "degradation",
}


@exercise
def check_verdict(verdict):
    """`verdict(...)` of four accuracies: "degradation", "overfitting" or "neither"."""
    for case, right in _CASES.items():
        answer = verdict(*case)
        if answer != right:
            raise NotYet(f"verdict{case} gave {answer!r}; training fell or rose, and then the test?")


@exercise
def check_learning_rates(learning_rates):
    """`learning_rates(peak, warm_up, total)`: the schedule that the lesson's nets are trained with."""
    for peak, warm_up, total in ((1.0, 4, 12), (0.1, 22, 132)):
        right = small_nets.learning_rates(peak, warm_up, total)
        answer = np.asarray(learning_rates(peak, warm_up, total), "float64")
        if answer.shape != right.shape:
            raise NotYet(f"learning_rates({peak}, {warm_up}, {total}) has shape {answer.shape}, not {right.shape}")
        step = int(np.argmax(~(np.abs(answer - right) < 1e-6 * peak)))
        if not np.abs(answer[step] - right[step]) < 1e-6 * peak:
            raise NotYet(
                f"learning_rates({peak}, {warm_up}, {total}): step {step + 1} has {answer[step]:.4g}, "
                f"not {right[step]:.4g}"
            )
