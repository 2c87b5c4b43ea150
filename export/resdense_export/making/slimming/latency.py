"""Finds the plan whose file takes a share of the whole net's latency, counted or timed.

The stairs of single layers only predict a share. So the file of each plan that is tried is made, and measured beside
the whole net's; the next plan is asked for a share that is corrected by what was found.
"""

import tempfile
from pathlib import Path

import numpy as np

from resdense_keras.errors import RequestError

from ...schemes import SCHEMES
from ...tflite.timing import measure
from ..float_files import float_files
from ..quantization import quantize
from .building import build
from .costs import target
from .plan import plan

TRIALS = 5
NEAR = 0.02  # of the whole net's latency: a plan that stays below its share by no more is good enough
CALIBRATION = 100  # images of an int8 file
SECONDS, FEWEST, MOST = 5, 30, 1_000  # of timed rounds


def plan_within(net, scores, images, share, name, count, tell, judge=None):
    """(the Plan, {"by", "share", "plans"}) with the largest measured share of latency that is at most `share`.

    Args:
        images: (N, H, W, C) training images, which calibrate int8 files.
        name: Of costs.TARGETS: whose file is measured.
        count: Function of a file that returns its cost; None times the files here, in turns.
        judge: As `plan` takes it.
    Raises:
        RequestError: none of the plans that were tried takes so little.
    """
    scheme, shares = target(name).scheme, {}
    with tempfile.TemporaryDirectory() as folder:
        compare = _Compared(net, scheme, images, count, Path(folder))
        goal, low, high, best = share, 0.0, 1.0, None
        for _ in range(TRIALS):
            try:
                tried = plan(net, scores, goal, name, "instructions", judge=judge)
            except RequestError:
                if not shares:
                    raise
                low, goal = goal, (goal + high) / 2  # no net is so small
                continue
            before, after = tried.instructions[scheme]
            predicted, known = after / before, tried.keep.tobytes()
            if known not in shares:
                shares[known] = compare.share(tried)
                tell(
                    f"trial: {predicted:.3f} of the {scheme} file's latency predicted, {shares[known]:.3f} {compare.by}"
                )
            found = shares[known]
            if found > share:
                high = min(high, predicted)
            else:
                low, best = goal, max((found, tried), best or (0, None), key=lambda pair: pair[0])
                if found > share - NEAR:
                    break
            goal = predicted * share / found
            if not low < goal < high:
                goal = (low + high) / 2
    if best is None:
        least = min(shares.values())
        enough = np.ceil(100 * least) / 100
        other = f"limit the multiply-adds: --macs {share:g}{' without --count' if count else ''}"
        raise RequestError(
            f"--latency {share:g} was asked for; the fastest net that was tried takes {least:.3f} of the original's "
            f"latency ({compare.by})",
            f"ask for --latency {enough:g} or more, or {other}" if enough < 1 else other,
        )
    return best[1], {"by": compare.by, "scheme": scheme, "share": round(best[0], 4), "plans": len(shares)}


class _Compared:
    """Measures files of plans beside the whole net's."""

    def __init__(self, net, scheme, images, count, folder):
        self.net, self.scheme, self.count, self.folder = net, scheme, count, folder
        self.images = images[:CALIBRATION]
        self.by = "counted" if count else "measured here"
        self.whole = self._file(net.original, None, "whole")
        self.cost = count(self.whole) if count else None
        self.rounds = None if count else self._rounds()

    def share(self, tried):
        """The latency of a Plan's file over the whole net's."""
        path = self._file(self.net, tried.keep, "slim")
        if self.count:
            return self.count(path) / self.cost
        whole, slim = measure([self.whole, path], rounds=self.rounds)
        return slim["median_ms"] / whole["median_ms"]

    def _rounds(self):
        (probe,) = measure([self.whole], rounds=3)
        return int(np.clip(SECONDS * 1_000 / probe["median_ms"] / 2, FEWEST, MOST))

    def _file(self, net, keep, name):
        path = self.folder / f"{name}-{self.scheme}.tflite"
        model = build(net, keep, name=name).model
        path.write_bytes(quantize(float_files(model)(SCHEMES[self.scheme].graph), self.scheme, self.images))
        return path
