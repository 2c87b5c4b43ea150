"""Measures how large the gradient is in each layer, and how it correlates with the gradient at a nearby input. Behind
lesson 3."""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from ...builder import check_choice
from .. import small_nets
from ..lesson import NotYet, exercise

SPAN = (-2.0, 2.0)  # of the line that `along_a_line` walks


# Sizes


@functools.cache
def by_layer(connection, depth, *, batch_norm=True, steps=0, seed=0, learning_rate=0.01, size=8):
    """Root mean square of the loss's gradient in the maps that each convolution makes, from the stem to the last.

    It is taken in the maps and not in the weights: without biases and norms the product of a layer's weights and their
    gradient is the same for every layer (ReLUs are homogeneous), so gradients in the weights cannot show what vanishes.

    Args:
        connection, depth, batch_norm: As in `small_nets.net`.
        steps: Number of steps of plain gradient descent on batches of 64 digits before the gradient is taken.
        seed: Seed of weights and batches.
        size: Pixels of a side, a multiple of 8: each pixel of a digit is repeated. The maps are half as wide.
    Returns:
        (gradients, loss): array of `depth - 1` numbers in nats per unit, and the loss in nats on the batch they belong
        to. Both may be infinite or NaN, which is then the result.
    """
    model = small_nets.net(connection, depth, batch_norm=batch_norm, size=size)
    small_nets.draw(model, seed)
    data, _ = small_nets.digits()
    random = np.random.default_rng(seed)
    weights = [weight.value for weight in model.trainable_weights]
    convolutions = [layer.output for layer in model.layers if isinstance(layer, layers.Conv2D)]
    inside = keras.Model(model.input, [*convolutions, model.output])
    for step in range(steps + 1):
        chosen = random.choice(len(data.labels), small_nets.BATCH, replace=False)
        images = data.images[chosen].repeat(size // 8, axis=1).repeat(size // 8, axis=2)
        with tf.GradientTape() as tape:
            *maps, logits = inside(images, training=True)
            loss = small_nets.cross_entropy(data.labels[chosen], logits)
        if step < steps:
            for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
                weight.assign_sub(learning_rate * gradient)
    sizes = [float(tf.sqrt(tf.reduce_mean(gradient**2))) for gradient in tape.gradient(loss, maps)]
    return np.array(sizes), float(loss)


def kept_at_the_border(size, kernel=3):
    """Share of a convolution's taps that meet a pixel rather than padding, on maps of `size` x `size`, 0 to 1."""
    inside = np.convolve(np.ones(size), np.ones(kernel), mode="same").sum() / (kernel * size)
    return float(inside**2)


def ratios(connection, depth, *, seeds=(0,), **options):
    """Gradient in the first convolution's maps over that in the last's, for each seed; arguments as in `by_layer`."""
    sizes = [by_layer(connection, depth, seed=seed, **options)[0] for seed in seeds]
    return np.array([found[0] / found[-1] for found in sizes])


# Shattered gradients


def along_a_line(connection, depth, **options):
    """The slopes dy/dx of `line`, (points,) float64."""
    return line(connection, depth, **options)[1]


@functools.cache
def line(connection, depth, *, centred=True, seed=0, width=100, points=256):
    """(y, dy/dx) of a fresh net of one number x at `points` values from -2 to 2, (points,) float64 each.

    Layers are fully connected; the norm divides by the root mean square over the points, and subtracts the mean first
    where `centred`. Its statistics count as constants, as a trained batch norm's do. Slopes are carried forward beside
    the values, so nothing is differentiated by steps.

        plain      h <- relu(norm(W h))
        residual   h <- h + W relu(norm(h))
        dense      h <- [h, W relu(norm(h))], an eighth of `width` more

    Source: Balduzzi et al. 2017, arXiv:1702.08591, figure 1 and section 2, without its scaled residual nets.
    """
    check_choice("connection", connection, ("plain", "residual", "dense"))
    random = np.random.default_rng(seed)

    def matrix(values, outputs):
        return random.normal(scale=(2 / values.shape[1]) ** 0.5, size=(values.shape[1], outputs))

    def norm_relu(h, slope):
        middle = h.mean(axis=0) if centred else 0.0
        scale = np.sqrt(((h - middle) ** 2).mean(axis=0) + 1e-5)  # as in a batch norm
        h = (h - middle) / scale
        return np.maximum(h, 0), np.where(h > 0, slope / scale, 0)

    x = np.linspace(*SPAN, points)[:, None]
    first = random.normal(size=(1, width))
    h, slope = x @ first, np.ones_like(x) @ first  # (points, width) each
    for _ in range(depth):
        if connection == "plain":
            w = matrix(h, width)
            h, slope = norm_relu(h @ w, slope @ w)
        else:
            active, active_slope = norm_relu(h, slope)
            w = matrix(h, width if connection == "residual" else width // 8)
            new, new_slope = active @ w, active_slope @ w
            if connection == "residual":
                h, slope = h + new, slope + new_slope
            else:
                h, slope = np.hstack([h, new]), np.hstack([slope, new_slope])
    if connection != "plain":
        h, slope = norm_relu(h, slope)
    last = matrix(h, 1)
    found = (h @ last)[:, 0], (slope @ last)[:, 0]
    for values in found:
        values.setflags(write=False)  # they are kept for the next call
    return found


NORMS = ("none", "deviation", "scaled", "centred", "both")


@functools.cache
def textbook_line(norm="none", *, depth=24, seed=0, width=200, points=256, variance=1.0):
    """(y, dy/dx) of the nets of notebook 11.1 of Prince's textbook at `points` values from -2 to 2, with a choice.

    Fully connected, with ReLUs; weights *and biases* are normal with variance `variance` / `width`. The book's have no
    norm and Glorot's variance, 1 / `width`.

    Args:
        norm: "none"; "scaled": each unit before its ReLU is divided by its root mean square over the points;
            "deviation": by its standard deviation, while its mean stays; "centred": its mean is subtracted; "both":
            first the mean, then the division, as in a batch norm.
        depth: Hidden layers.
        variance: 1 for Glorot's initialisation, 2 for He's.
    """
    check_choice("norm", norm, NORMS)
    random = np.random.default_rng(seed)
    h = np.arange(points)[:, None] * (SPAN[1] - SPAN[0]) / points + SPAN[0]
    slope = np.ones_like(h)  # (points, units) each
    for layer in range(depth + 1):
        units = width if layer < depth else 1
        deviation = (variance / width) ** 0.5
        weights = random.normal(scale=deviation, size=(h.shape[1], units))
        h, slope = h @ weights + random.normal(scale=deviation, size=units), slope @ weights
        if layer < depth:
            mean = h.mean(axis=0)
            middle = mean if norm in ("centred", "both") else 0.0
            around = mean if norm == "deviation" else middle
            scaled = norm in ("scaled", "deviation", "both")
            scale = np.sqrt(((h - around) ** 2).mean(axis=0) + 1e-5) if scaled else 1.0
            h, slope = (h - middle) / scale, slope / scale
            h, slope = np.maximum(h, 0), np.where(h > 0, slope, 0)
    for values in (h, slope):
        values.setflags(write=False)  # they are kept for the next call
    return h[:, 0], slope[:, 0]


def textbook_correlations(norm, lags, *, seeds=(0,), **options):
    """`autocorrelation` of the slopes of `textbook_line` for each seed: (seeds, lags) array."""
    return np.array([autocorrelation(textbook_line(norm, seed=seed, **options)[1], lags) for seed in seeds])


def pieces(slopes):
    """Number of straight pieces of a line, counted by changes of slope above a thousandth of the largest."""
    return 1 + int(np.sum(np.abs(np.diff(slopes)) > 1e-3 * np.abs(slopes).max()))


def correlations(connection, depth, lags, *, seeds=(0,), centred=True):
    """`autocorrelation` of `along_a_line` for each seed: (seeds, lags) array."""
    return np.array(
        [autocorrelation(along_a_line(connection, depth, seed=seed, centred=centred), lags) for seed in seeds]
    )


def autocorrelation(series, lags):
    """Correlation of a series with itself `lag` places later, for each of `lags`; 1 for a constant series.

    One mean and one variance for all lags (the standard estimator), over the pairs that there are.
    """
    centred = series - series.mean()
    variance = (centred**2).mean()
    if variance <= 1e-24 * (series**2).mean():
        return np.ones(len(lags))
    return np.array([(centred[: len(centred) - lag] * centred[lag:]).mean() / variance for lag in lags])


# Pictures


def draw_sizes(figure, panels):
    """Gradient by layer, one panel per title: the line is the geometric mean over the seeds, the band their range.

    Args:
        figure: Empty matplotlib Figure.
        panels: {title: {connection: [gradients of one seed, ...]}}.
    """
    axes = figure.subplots(len(panels), 1, sharex=True, sharey=True)
    for place, (title, found) in zip(axes, panels.items(), strict=True):
        for name, runs in found.items():
            runs = np.array(runs)
            layers = np.arange(1, runs.shape[1] + 1)
            look = small_nets.LOOKS[name] | {"markersize": 4, "markevery": max(1, len(layers) // 8)}
            place.plot(layers, np.exp(np.log(runs).mean(axis=0)), label=name, **look)
            place.fill_between(layers, runs.min(axis=0), runs.max(axis=0), color=look["color"], alpha=0.2, linewidth=0)
        place.set(title=title, yscale="log", ylabel="gradient (nats per unit)")
    axes[-1].set_xlabel("convolution, counted from the input")
    axes[0].legend()


def draw_slopes(figure, nets):
    """The slope along the line for each of `nets`, {title: (connection, depth)}: one panel with its own axis per net.

    The title has the largest slope, because the axes differ by orders of magnitude.
    """
    axes = figure.subplots(len(nets), 1, sharex=True)
    for place, (title, (connection, depth)) in zip(axes, nets.items(), strict=True):
        slopes = along_a_line(connection, depth)
        place.plot(np.linspace(*SPAN, len(slopes)), slopes, color=small_nets.LOOKS[connection]["color"], linewidth=1)
        place.set(title=f"{title}: slopes up to {np.abs(slopes).max():.2g}", ylabel="dy/dx")
    axes[-1].set_xlabel("input x (each panel has a scale of its own)")


def draw_correlations(figure, panels, lags, points=256):
    """Autocorrelation over distance, a panel each: mean over the seeds, the band one standard deviation.

    Args:
        figure: Empty matplotlib Figure.
        panels: {title: {label: ((seeds, lags) array, how it is drawn)}}.
        lags: Distances in places of `points` on the line.
    """
    axes = figure.subplots(len(panels), 1, sharex=True, sharey=True)
    distance = np.array(lags) * (SPAN[1] - SPAN[0]) / (points - 1)
    for place, (title, found) in zip(axes, panels.items(), strict=True):
        for label, (runs, look) in found.items():
            mean, spread = runs.mean(axis=0), runs.std(axis=0, ddof=1)
            place.plot(distance, mean, label=label, **look)
            place.fill_between(distance, mean - spread, mean + spread, color=look["color"], alpha=0.2, linewidth=0)
        place.set(title=title, ylabel="correlation", ylim=(-0.25, 1.05))
        place.legend(fontsize=10, loc="upper right", bbox_to_anchor=(1, 0.95))
    axes[-1].set_xlabel("distance between two inputs")


# Exercises of lesson 3


@exercise
def check_autocorrelation(own):
    """`own(series, lag)`: the correlation of a series with itself `lag` places on."""
    for series, lag in ((along_a_line("plain", 10), 2), (np.array([1.0, -1, 1, -1, 1, -1]), 1), (np.arange(9.0), 3)):
        right, answer = autocorrelation(series, [lag])[0], own(series, lag)
        if answer is None or not abs(answer - right) < 1e-6:
            raise NotYet(f"for {len(series)} values and lag {lag} it gave {answer}, not {right:.4f}")


@exercise
def check_kinks(kinks):
    """`kinks(slopes)`: how often the slope changes along the line."""
    for connection, depth, centred in (("plain", 2, False), ("dense", 3, False), ("plain", 1, True)):
        slopes = along_a_line(connection, depth, centred=centred)
        right = int(np.sum(np.abs(np.diff(slopes)) > 1e-6))
        answer = kinks(slopes)
        if answer != right:
            raise NotYet(f"{connection}, {depth} layers, centred={centred}: it gave {answer}, not {right}")


# (gradient of the first layer, of the last) -> the word for it
_WORDS = {(1e-6, 1e-2): "vanishing", (14.7, 8e-3): "exploding", (8e-2, 6e-3): "level", (3e-3, 4e-3): "level"}


@exercise
def check_word(word):
    """`word(first, last)`: "vanishing", "exploding" or "level" for the gradients of the first and the last layer."""
    for (first, last), right in _WORDS.items():
        answer = word(first, last)
        if answer != right:
            raise NotYet(
                f"word({first:g}, {last:g}) gave {answer!r}; backwards through the net it went {last:g} -> {first:g}"
            )
