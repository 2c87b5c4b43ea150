"""Decides which differences are more than noise: the rules by which two nets or two files tie."""

import math
from dataclasses import dataclass
from statistics import fmean, variance

from resdense_keras.intervals import wilson

from ..judging.intervals import drop_interval
from ..right_answers import unpacked

SEEDS = 3  # from so many seeds on, their spread says more than the images of one training


@dataclass(frozen=True)
class Estimate:
    """A fraction with its 95 % interval. `seeds` is the number of trainings, where the interval comes from their
    spread."""

    value: float
    low: float
    high: float
    seeds: int | None = None


@dataclass(frozen=True)
class Difference:
    """Two fractions and the 95 % interval of `first` - `second`.

    `seeds` is the number of trainings of each, where the interval comes from their spread. `apart`: all of the first
    are above all of the second, or all below. Even fully separated, three runs against three are a tie: chance
    separates them in one case of ten.
    """

    first: float
    second: float
    low: float
    high: float
    seeds: tuple[int, int] | None = None
    apart: bool = False

    @property
    def value(self):
        """First minus second."""
        return self.first - self.second

    @property
    def tie(self):
        """Whether the interval contains 0, no difference."""
        return self.low <= 0 <= self.high

    def reversed(self):
        """The same with first and second exchanged."""
        return Difference(self.second, self.first, -self.high, -self.low, self.seeds and self.seeds[::-1], self.apart)


def accuracy(model, images):
    """Estimate of a model's accuracy: the mean over its seeds if they are SEEDS or more, else its accuracy; None where
    it was not measured.

    Args:
        model: An entry of the report's `models`.
        images: Number of test images; where it is not known (None), there is no interval and the result is None.
    """
    if not images:
        return None
    seeds = model["accuracy_by_seed"]
    if len(seeds) >= SEEDS:
        half = _quantile(len(seeds) - 1) * math.sqrt(_variance(seeds, images) / len(seeds))
        return Estimate(fmean(seeds), max(0.0, fmean(seeds) - half), min(1.0, fmean(seeds) + half), len(seeds))
    if model["accuracy"] is None:
        return None
    return Estimate(model["accuracy"], *wilson(round(model["accuracy"] * images), images))


def accuracy_difference(first, second, images):
    """Difference of two models' accuracies on the same `images` test images; None where it cannot be judged.

    With SEEDS seeds or more each it is Welch's interval of the means, which says what another training would change.
    With fewer it is Newcombe's hybrid score interval (1998, method 10) for two binomial fractions, which is valid near
    1 and says what other images would change. It assumes different images for the two, so it is a little wide.
    """
    one, two = accuracy(first, images), accuracy(second, images)
    if one is None or two is None:
        return None
    if one.seeds and two.seeds:
        return _welch(first["accuracy_by_seed"], second["accuracy_by_seed"], images)
    if one.seeds or two.seeds:  # the two are compared in the same way, by one training each
        one, two = (accuracy({**model, "accuracy_by_seed": []}, images) for model in (first, second))
        if one is None or two is None:
            return None
    return difference(one, two)


def difference(one, two):
    """Newcombe's interval of the difference of two fractions, from their Wilson intervals."""
    value = one.value - two.value
    down = math.hypot(one.value - one.low, two.high - two.value)
    up = math.hypot(one.high - one.value, two.value - two.low)
    return Difference(one.value, two.value, value - down, value + up)


def accuracy_drop(before, after):
    """Difference of accuracy `before` - `after` of two files of one model on the same images; None where one was not
    measured.

    It can come only from images on which the files disagree, and `agreement` limits their number.
    """
    images = after["images"]
    if before["accuracy"] is None or after["accuracy"] is None or not images:
        return None
    lost = round((before["accuracy"] - after["accuracy"]) * images)
    split = abs(lost) if after["agreement"] is None else max(abs(lost), round((1 - after["agreement"]) * images))
    interval = drop_interval((split + lost) / 2, (split - lost) / 2, images)
    return Difference(before["accuracy"], after["accuracy"], *interval)


def file_difference(first, second, same_images):
    """Difference of two files' accuracies, usually of two nets; None where one was not measured.

    `same_images`: Whether the same images judged both. If so, and if the files say which images they answer rightly,
    the interval uses only the images on which they differ; otherwise it is Newcombe's for two fractions.
    """
    images, accuracies = ([row[key] for row in (first, second)] for key in ("images", "accuracy"))
    if None in accuracies or not all(images):
        return None
    if is_paired(first, second, same_images):
        one, two = (unpacked(row["right"], images[0]) for row in (first, second))
        interval = drop_interval(int((one & ~two).sum()), int((two & ~one).sum()), images[0])
        return Difference(*accuracies, *interval)
    pairs = zip(accuracies, images, strict=True)
    return difference(*(Estimate(share, *wilson(round(share * count), count)) for share, count in pairs))


def is_paired(first, second, same_images):
    """Whether it is known for each judging image which of two files answer it rightly."""
    return bool(same_images and first["images"] == second["images"] and first.get("right") and second.get("right"))


def faster(first, second):
    """-1 if the first measurement is faster, 1 if the second is, 0 if their ranges from p10 to p90 overlap; None
    without ranges."""
    ranges = [(measurement["p10_ms"], measurement["p90_ms"]) for measurement in (first, second)]
    if any(edge is None for edges in ranges for edge in edges):
        return None
    (low, high), (other_low, other_high) = ranges
    return -1 if high < other_low else 1 if other_high < low else 0


def _welch(first, second, images):
    """Welch's interval for the difference of two means, with Satterthwaite's degrees of freedom."""
    parts = [(_variance(seeds, images) / len(seeds), len(seeds) - 1) for seeds in (first, second)]
    total = sum(part for part, _ in parts)
    freedom = total**2 / sum(part**2 / degrees for part, degrees in parts)
    one, two = fmean(first), fmean(second)
    half = _quantile(freedom) * math.sqrt(total)
    apart = min(first) > max(second) or max(first) < min(second)
    return Difference(one, two, one - two - half, one - two + half, (len(first), len(second)), apart)


def _variance(seeds, images):
    """Variance over the seeds, at least that of one test image: no smaller spread can be seen, and equal seeds would
    give 0."""
    return max(variance(seeds), 1 / images**2)


def _quantile(freedom):
    """97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))
