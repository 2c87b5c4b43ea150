"""Differences between two nets trained with the same seeds, and the sentence that they allow. Needs no TensorFlow."""

import numpy as np
from scipy import stats


def differences(first, second, what="accuracy", unit=100):
    """`what` of the first net minus that of the second, one number a seed; accuracies in points.

    Args:
        first: A list of {"accuracy": 0 to 1, "loss": nats}, a seed each.
        second: The same of the other net, for the same seeds.
        what: The key to compare.
        unit: Factor of the result: 100 makes points of shares.
    """
    return unit * np.array([one[what] - other[what] for one, other in zip(first, second, strict=True)])


def interval(values):
    """(low, high): the 95 % interval of the mean of a few differences, by Student's t."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def verdict(values):
    """1 where the interval of the mean lies above zero, -1 where it lies below, 0 where it holds zero."""
    low, high = interval(values)
    return int(low > 0) - int(high < 0)


def sentence(first, second, points):
    """What the differences of test accuracy, first minus second in points, one a seed, allow to say."""
    word = {1: f"{first} is ahead of {second}", 0: f"{first} and {second} tie", -1: f"{first} is behind {second}"}
    low, high = interval(points)
    return (
        f"On test images {word[verdict(points)]}: {np.mean(points):+.1f} points (95 % interval {low:+.1f} to "
        f"{high:+.1f}, {len(points)} seeds)"
    )
