"""Compares a plan's candidates as they are after the repair, which makes up for more of some losses than of others.

Example: ResNet-20 at half of its MACs. After the repair the candidate that loses least by the scores loses 12.2 points
on held-out images, and the one that is chosen here 10.4: another block is gone.
"""

import math

import numpy as np

from . import repair
from .costs import macs
from .scores import mean_square
from .shrinking import shape_of

MOST = 5  # candidates of a plan, those that lose least by the scores
WORK = 3e12  # multiply-adds of one plan's repairs: a minute or two; a large net has fewer candidates, or one


class AfterRepair:
    """How far the repaired nets of a plan's candidates are from the whole net.

    Args:
        net: The channels.Net.
        scores: Its Scores.
        images: (N, H, W, C) training images in random order. As many as fit, at most half, repair; as many more judge.
        tell: Function of a line of text.
    Attributes:
        candidates: Number of candidates to compare; 1 where two repairs would take too long.
    """

    def __init__(self, net, scores, images, tell):
        half = min(repair.images_that_fit(net), len(images) // 2)
        self.net, self.scores, self.tell = net, scores, tell
        self.repairing, self.judging = images[:half], images[half : 2 * half]
        self.candidates = int(np.clip(WORK // repair.work(net, half), 1, MOST)) if half else 1
        self._found, self._whole = {}, None
        self._macs = macs(net, shape_of(net, net.everything))

    def change(self, keep):
        """The mean over images of the squared distance of the logits from the whole net's, if only the groups `keep`
        stay and the net is repaired."""
        key = keep.tobytes()
        if key not in self._found:
            built = self.scores.built
            if self._whole is None:
                self._whole = self.scores.answers(built.model, self.judging)
            model = repair.repaired(self.net, keep, self.repairing, whole=built)
            moved = self.scores.answers(model, self.judging) - self._whole
            change = mean_square(moved)
            self._found[key] = change if math.isfinite(change) else math.inf
            left = macs(self.net, shape_of(self.net, keep)) / self._macs
            self.tell(
                f"plan: candidate with {left:.1%} of the MACs: repaired, its logits are {self._found[key]:.3g} "
                "from the original's (mean squared distance; the nearest is taken)"
            )
        return self._found[key]
