"""Finds the smallest net that is expected to lose no more points than allowed, by bisection over the share of MACs.

Each trial is planned and repaired, but not trained; held-out training images measure its loss. The training regains a
part of the loss, of a large loss a larger part. The model: FACTORS * (points lost before the training) ** POWER points
are left after it, on test images. POWER is near the least-squares fit to the rows of benchmarks/results/slim.json with
7 epochs and more, which lose 0.3 to 11 points before the training. The factors are the largest of all rows. The seeds
of one request are averaged, because the losses of one row can be a few images. It applies to nets and data like those.
"""

import math

from resdense_keras.errors import RequestError

from ...models import answers
from . import repair
from .plan import plan

# {epochs: the largest factor of a request of so many epochs or more; of a family without one, of its most epochs}. The
# held-out images may have been in a net's training, or not. So the points lost before the training on them and on test
# images both count: the fewer give the larger factor.
FACTORS = {1: 0.775, 7: 0.401}
POWER = 3 / 4
ROUNDS = 5  # halvings: the share is found to 1/32
MOST = 5_000  # held-out images


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


def right(model, images, labels):
    """(N,) bool: which images a model answers rightly."""
    return answers.top(model.predict(images, batch_size=50, verbose=0)) == labels


def expected(points, epochs):
    """The points that are expected to be lost after so many epochs, of the `points` that the repaired net loses.

    The factor is that of the longest row that is no longer.
    """
    return FACTORS[max(known for known in FACTORS if known <= epochs)] * max(points, 0.0) ** POWER


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
    images, low, high, found, known = images[: repair.images_that_fit(net)], 0.0, 1.0, None, {}
    for _ in range(ROUNDS):
        share = (low + high) / 2
        try:
            tried = plan(net, scores, share, target, judge=judge)
        except RequestError:  # everything that is left is needed
            low = share
            continue
        key = tried.keep.tobytes()
        if key not in known:
            before = 100 * (whole - float(right(repair.repaired(net, tried.keep, images), judging, labels).mean()))
            known[key] = after = expected(before, epochs)
            tell(
                f"trial: {tried.macs[1] / tried.macs[0]:.1%} of the MACs loses {before:.2f} points of {len(labels)} "
                f"images after the repair; about {after:.2f} are expected after {epochs} epochs"
            )
        if known[key] <= points:
            high, found = min(share, tried.macs[1] / tried.macs[0]), tried
        else:
            low = share
    if found is None:
        least = min(known.values(), default=math.inf)
        raise RequestError(
            f"--max-drop {points:g} was asked for; the best net that was tried is expected to lose {least:.2f} points",
            f"ask for --max-drop {math.ceil(10 * least) / 10:g} or more, or for --macs" if known else "ask for --macs",
        )
    return found
