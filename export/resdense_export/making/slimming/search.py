"""Finds the smallest net that is expected to lose no more points than allowed, by bisection over the share of MACs.

Each trial is planned and repaired, but not trained; held-out training images measure its loss. The training regains a
part of the loss. How much is a table, KEPT: the share that was left in the rows of benchmarks/results/slim.json, both
losses measured on test images, because a net may know the held-out ones. The seeds of one request are added up, because
the losses of one row can be a few images. It applies to nets and data like those.
"""

import math

import numpy as np

from resdense_keras.errors import RequestError

from ...models import answers
from . import repair
from .plan import plan

# {epochs: of the points lost before the training, the largest share that a request of so many epochs or more kept; of a
# family without one, a request of its most epochs}
KEPT = {1: 0.703, 3: 0.415, 7: 0.269, 16: 0.255}
ROUNDS = 5  # halvings: the share is found to 1/32
MOST = 5_000  # held-out images
BATCH = 50


def check_points(points):
    """Refuses a number of points that cannot be a loss."""
    if isinstance(points, bool) or not isinstance(points, int | float) or not 0 < points < 100:
        raise RequestError(
            f"--max-drop {points} was given; it must be points of accuracy, above 0 and below 100",
            "such as --max-drop 0.5",
        )


def held_out(dataset):
    """(images, labels) that measure a loss: held-out training images.

    Where the data's validation split is their test split too, images of the training split, which the net was probably
    trained on.
    """
    from resdense_keras.data.dataset import representative

    split = dataset.train if dataset.val_judges else dataset.validation
    chosen = representative(split, MOST)
    return split.array(chosen), split.labels[chosen]


def right(model, images, labels, training=False):
    """(N,) bool: which images a model answers rightly; with `training` as it computes in training, batch by batch."""
    if training:
        parts = (images[first : first + BATCH].astype("float32") for first in range(0, len(images), BATCH))
        return answers.top(np.concatenate([model(part, training=True) for part in parts])) == labels
    return answers.top(model.predict(images, batch_size=BATCH, verbose=0)) == labels


def kept(epochs):
    """The share of the points lost before the training that so many epochs leave: that of the longest row no longer."""
    return KEPT[max(known for known in KEPT if known <= epochs)]


def _longer(least, points, epochs):
    """The end of a hint that names the fewest epochs after which a loss is expected to be small enough, if any are."""
    enough = (more for more in sorted(KEPT) if more > epochs and least * KEPT[more] / kept(epochs) <= points)
    more = next(enough, None)
    return f", or train for --epochs {more}" if more else ""


def smallest(net, scores, images, held_out, points, target, epochs, tell, judge=None):
    """The Plan with the fewest MACs that is expected to lose at most so many points.

    Args:
        images: Training images to repair on.
        held_out: (images, labels) that tell what is lost.
        epochs: Number of epochs of the training that follows.
        judge: As `plan` takes it.
    Raises:
        RequestError: even the largest net that was tried loses more.
    """
    judging, labels = held_out
    whole = float(right(scores.built.model, judging, labels).mean())
    if 100 / len(labels) > points:
        tell(
            f"note: there are {len(labels)} held-out images, so one of them is {100 / len(labels):.2g} points: a loss "
            f"of {points:g} points cannot be seen on them"
        )
    images, low, high = images[: repair.images_that_fit(net)], 0.0, 1.0
    found, refused, known = None, None, {}
    for _ in range(ROUNDS):
        share = (low + high) / 2
        try:
            tried = plan(net, scores, share, target, judge=judge)
        except RequestError as error:  # everything that is left is needed
            low, refused = share, error
            continue
        key = tried.keep.tobytes()
        if key not in known:
            made = repair.repaired(net, tried.keep, images, whole=scores.built)
            before = 100 * (whole - float(right(made, judging, labels).mean()))
            known[key] = after = kept(epochs) * max(before, 0.0)
            tell(
                f"trial: {tried.macs[1] / tried.macs[0]:.1%} of the MACs loses {before:.2f} points of {len(labels)} "
                f"images after the repair; about {after:.2f} are expected after {epochs} epochs"
            )
        if known[key] <= points:
            high, found = min(share, tried.macs[1] / tried.macs[0]), tried
        else:
            low = share
    if not known:
        raise RequestError(
            f"--max-drop {points:g} was asked for; even {low:.1%} of the multiply-adds cannot be reached", refused.hint
        )
    if found is None:
        least = min(known.values())
        raise RequestError(
            f"--max-drop {points:g} was asked for; the best net that was tried is expected to lose {least:.2f} points",
            f"ask for --max-drop {math.ceil(10 * least) / 10:g} or more" + _longer(least, points, epochs),
        )
    return found
