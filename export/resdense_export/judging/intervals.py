"""The 95 % interval of a difference of shares: what a test set of a given size can prove."""

import math

from resdense_keras.intervals import Z


def drop_interval(lost, won, trials):
    """95 % interval of the share of images lost minus the share won, on the same images.

    Only images on which the two differ count, so the interval is far narrower than that of two separate accuracies.
    Source: the adjusted Wald interval for paired proportions, Bonett and Price 2012, doi:10.3102/1076998611411915.
    """
    down, up = (lost + 1) / (trials + 2), (won + 1) / (trials + 2)
    half = Z * math.sqrt((down + up - (down - up) ** 2) / (trials + 2))
    return max(-1.0, down - up - half), min(1.0, down - up + half)
