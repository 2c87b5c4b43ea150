"""The 95 % interval of a difference of shares: what a test set of a given size can prove, and which size proves it."""

import bisect
import math

from resdense_keras.intervals import Z

MOST_IMAGES = 10**9  # what more than these would prove is not told


def drop_interval(lost, won, trials):
    """95 % interval of the share of images lost minus the share won, on the same images.

    Only images on which the two differ count, so the interval is far narrower than that of two separate accuracies.
    Source: the adjusted Wald interval for paired proportions, Bonett and Price 2012, doi:10.3102/1076998611411915.
    """
    down, up = (lost + 1) / (trials + 2), (won + 1) / (trials + 2)
    half = Z * math.sqrt((down + up - (down - up) ** 2) / (trials + 2))
    return max(-1.0, down - up - half), min(1.0, down - up + half)


def images_to_prove(proves):
    """Smallest number of images for which `proves(images)` is true; None where it is above MOST_IMAGES.

    `proves` must stay true once it is: an interval around an unchanged share only gets narrower.
    """
    most = 1
    while not proves(most):
        most *= 2
        if most > MOST_IMAGES:
            return None
    return bisect.bisect_left(range(most), True, lo=most // 2, key=proves)
