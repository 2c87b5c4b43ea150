"""Judges all files of one model with the same images, expected outputs, limits and child process."""

from dataclasses import asdict, replace
from functools import cached_property

from resdense_keras.intervals import may_be_chance

from ..models import answers
from .check import check
from .reference import predictions


class Judge:
    """Runs the gates on the files of one model.

    Args:
        model: The Keras model; its outputs for the images are computed once.
        images: (N, H, W, C) as the files take them; none of them may have calibrated the files.
        labels: N integers; None for images without labels, on which only parity is judged.
        limits: A Limits.
        child: A child.Child.
        range_images: Images on which files that ask for float16 arithmetic must stay within its range; default:
            `images`.
        real: Whether the images are real data; default: whether they have labels.
    """

    def __init__(self, model, images, labels, limits, child, range_images=None, real=None):
        self.images, self.labels, self.limits, self.child = images, labels, limits, child
        self.range_images = images if range_images is None else range_images
        self.expected = predictions(model, images)
        self.answers = answers.kind(model, self.expected)
        self.real = labels is not None if real is None else real

    def __call__(self, path, scheme, *, float_layers=(), max_drop=None, partitions=None):
        """The Check of one file; `max_drop` replaces the limit where less may be lost, `partitions` is as in
        `check`."""
        limits = self.limits if max_drop is None else replace(self.limits, max_drop=min(max_drop, self.limits.max_drop))
        return check(
            path,
            self.expected,
            self.images,
            self.labels,
            scheme=scheme,
            **asdict(limits),
            real=self.real,
            classes=answers.has_classes(self.answers),
            float_layers=float_layers,
            range_images=self.range_images,
            partitions=partitions,
            child=self.child,
        )

    @cached_property
    def accuracy(self):
        """Top-1 accuracy of the model itself on the images, as a fraction; None without labels."""
        return None if self.labels is None else float((answers.top(self.expected) == self.labels).mean())

    def guesses(self, classes):
        """A warning about a model that is no better than guessing among so many classes; None for a better one."""
        if self.labels is None:
            return None
        right = int((answers.top(self.expected) == self.labels).sum())
        if not may_be_chance(right, len(self.labels), classes):
            return None
        return f"{right} of {len(self.labels)} test images right, no better than chance: its gates prove nothing"
