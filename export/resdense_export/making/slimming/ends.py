"""Compares the ends of a plan as they are after the repair, which makes up for more of some losses than of others.

By the scores alone, ResNet-20 at half of its MACs loses another layer than the one whose loss the repair makes up for
best: 12.2 and 10.4 points of held-out images before any training.
"""

import math

import numpy as np

from . import repair
from .costs import macs
from .shrinking import shape_of

ENDS = 5  # at most, those that lose least by the scores
WORK = 4e12  # multiply-adds of one plan's repairs: a minute or two; a large net has fewer ends, or none, compared


class AfterRepair:
    """How far the repaired nets of a plan's ends are from the whole net.

    Args:
        net: The channels.Net.
        scores: Its Scores.
        images: (N, H, W, C) training images in random order; as many as fit, at most half, repair, as many more judge.
        tell: Function of a line of text.
    Attributes:
        ends: Number of ends to compare; 1 where two repairs would take too long.
    """

    def __init__(self, net, scores, images, tell):
        half = min(repair.images_that_fit(net), len(images) // 2)
        self.net, self.scores, self.tell = net, scores, tell
        self.repairing, self.judging = images[:half], images[half : 2 * half]
        self.ends = int(np.clip(WORK // repair.work(net, half), 1, ENDS)) if half else 1
        self._found, self._whole = {}, None

    def change(self, keep):
        """The mean square of the change of the answers, if only the groups `keep` stay and the net is repaired."""
        key = keep.tobytes()
        if key not in self._found:
            built = self.scores.built
            if self._whole is None:
                self._whole = self.scores.answers(built.model, self.judging)
            model = repair.repaired(self.net, keep, self.repairing, whole=built)
            moved = self.scores.answers(model, self.judging) - self._whole
            change = float(np.mean(np.sum(moved.astype(np.float64) ** 2, axis=-1)))
            self._found[key] = change if math.isfinite(change) else math.inf
            whole, left = (macs(self.net, shape_of(self.net, own)) for own in (self.net.everything, keep))
            self.tell(
                f"plan: one that ends at {left / whole:.1%} of the MACs is repaired; the logits then change by "
                f"{self._found[key]:.3g} (mean square)"
            )
        return self._found[key]
