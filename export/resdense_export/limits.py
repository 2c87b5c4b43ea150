"""What a file may lose, and when a figure is weak: each limit is here once, for gates, report, card and page."""

from dataclasses import dataclass

from resdense_keras.errors import RequestError

WEAK_BELOW = 500  # images; with fewer a point of accuracy is noise
LEAST_CALIBRATION = 20  # training images; with fewer int8 is not made
WEAK_CALIBRATION = 100  # training images; with fewer int8 is marked weak: with one it loses four points, with 100 none
DRIFT = 1.2  # ratio of the speeds in the first and the last rounds from which the report warns


@dataclass(frozen=True)
class Limits:
    """What a file may lose compared with its Keras model.

    Attributes:
        max_drop: Points (hundredths) of top-1 accuracy that a file may lose.
        min_agreement: Smallest share of images on which both must have the same top-1.
        strict: Judge the measured figures themselves. Otherwise a file fails only where the whole 95 % interval is
            beyond the limit, so that a good file does not fail by chance on a small test set.
    """

    max_drop: float = 1.0
    min_agreement: float = 0.98
    strict: bool = False

    def __post_init__(self):
        for name, most in (("max_drop", 100), ("min_agreement", 1)):
            if not 0 <= getattr(self, name) <= most:  # a NaN neither
                raise RequestError(f"{name}={getattr(self, name)} was given; it must be a number in [0, {most}]")
