"""What a count of right answers proves: the 95 % interval of a share, and whether it is better than chance."""

import math
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)  # 95 %, both sides


def wilson(hits, trials):
    """95 % interval of a share by Wilson 1927: it stays within 0..1 and is valid for shares near 1, such as
    accuracies."""
    share, weight = hits / trials, Z * Z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def may_be_chance(right, images, classes):
    """Whether guessing among so many classes may have given so many right answers: the interval does not lie above
    1 / classes."""
    return wilson(right, images)[0] <= 1 / classes
