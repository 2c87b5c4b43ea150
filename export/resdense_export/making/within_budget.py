"""`--budget`: chooses the layers that an int8 file keeps in float, so that it loses no more than so many points.

Layers are ranked by the gain of a file in which only that layer stays float. Then as few as needed stay float, the most
sensitive first. Both steps use training images that do not calibrate. A net may know these by heart, so a part of the
test images decides whether the budget is kept; each time it is not, twice as many layers stay float. The rest of the
test images judges the file, because the images that chose it would judge it too well.
"""

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models import answers
from ..tflite import flatbuffer
from .quantization import calibrate, quantize

IMAGES = 2000  # largest number of images that decide how many layers stay float
RANKED = 64  # of them that rank the layers; a mean of probabilities is less noisy than a count

LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True)
class Choice:
    """An int8 file and the layers that it keeps in float, by the names of their outputs, the most sensitive first.

    `changed` is the share of the held-out images whose top-1 differs from the float file's, an upper bound of the loss
    on them.
    """

    content: bytes
    float_layers: tuple[str, ...]
    changed: float


def choices(floating, calibration, held_out, points, child, tell=lambda text: None):
    """Yields int8 files with more and more float layers, the most sensitive first.

    The first has the fewest float layers with which the top-1 changes on at most `points` of 100 held-out images; each
    next one has twice as many.

    Args:
        floating: Bytes of the float file.
        calibration: (N, H, W, C) images for the ranges.
        held_out: Other images, from 1 to IMAGES.
        points: Points of top-1, which are hundredths of the images.
        child: A child.Child to run files in.
        tell: Function that is called with a line about the progress.
    Yields:
        Choices; the last one keeps all layers in float.
    """
    search = _Search(floating, calibration, held_out, child, tell)
    first = search.fewest(points)
    yield first
    kept = len(first.float_layers)
    while kept < len(search.names):
        kept = min(max(1, 2 * kept), len(search.names))
        yield search.choose(kept)


def lost(content, expected, split, child):
    """Points of top-1 that a file loses on a data.Split against `expected`, (N, outputs) of the float model.

    Raises Fault.
    """
    found, wanted = (answers.top(outputs) == split.labels for outputs in (_run(content, split.held(), child), expected))
    return 100 * float(wanted.mean() - found.mean())


def layers(floating):
    """Names of the output tensors of all layers with weights, in the order of the float file."""
    model = flatbuffer.unpack(floating)  # whole names, where `read` cuts those of files from elsewhere
    graph = model.subgraphs[0]
    kinds = [flatbuffer.OPERATORS[code.builtinCode] for code in model.operatorCodes]
    return [
        graph.tensors[layer.outputs[0]].name.decode() for layer in graph.operators if kinds[layer.opcodeIndex] in LAYERS
    ]


class _Search:
    """One float file, calibrated once, with the outputs that its int8 files are compared with."""

    def __init__(self, floating, calibration, held_out, child, tell):
        self.floating, self.held_out, self.child, self.tell = floating, held_out, child, tell
        self.names = layers(floating)
        self.ranges = calibrate(floating, calibration)
        self.expected = self._run(floating, held_out)

    def fewest(self, points):
        """The Choice with the fewest float layers that changes at most `points` of 100 answers; all layers in float
        where none does."""
        best, few, many = self.choose(0), 0, 1  # `few` float layers are known to be too few
        if 100 * best.changed <= points:
            return best
        while 100 * (best := self.choose(many)).changed > points and many < len(self.names):
            few, many = many, min(2 * many, len(self.names))
        while many - few > 1:
            middle = (few + many) // 2
            tried = self.choose(middle)
            if 100 * tried.changed <= points:
                best, many = tried, middle
            else:
                few = middle
        return best

    def choose(self, count):
        """The Choice with `count` float layers."""
        kept = self.ranked[:count] if count else []
        self.tell(f"{count} of {len(self.names)} layers in float")
        content = quantize(self.floating, "int8", ranges=self.ranges, float_layers=kept)
        changed = answers.top(self._run(content, self.held_out)) != answers.top(self.expected)
        return Choice(content, tuple(kept), float(changed.mean()))

    @functools.cached_property
    def ranked(self):
        """Layers by the gain of a file in which only that layer stays float, the largest first."""
        errors = []
        for number, name in enumerate(self.names, start=1):
            self.tell(f"sensitivity of layer {number} of {len(self.names)}")
            content = quantize(self.floating, "int8", ranges=self.ranges, float_layers=[name])
            errors.append(np.abs(self._run(content, self.held_out[:RANKED]) - self.expected[:RANKED]).mean())
        return [self.names[number] for number in np.argsort(errors, kind="stable")]

    def _run(self, content, images):
        return _run(content, images, self.child)


def _run(content, images, child):
    """(N, outputs) of a file given as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.tflite"
        path.write_bytes(content)
        return child.run(path, images)
