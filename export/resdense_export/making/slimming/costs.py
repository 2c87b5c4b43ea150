"""Costs of a net with given widths: MACs, parameters, and Arm instructions from a measured table of stairs."""

import bisect
import json
import math
from copy import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from resdense_keras.errors import unknown

from ...schemes import SCHEMES
from .channels import PRODUCERS, TIED
from .exported import places_of
from .shrinking import Shape, shape_of

TABLE = Path(__file__).with_name("stairs.json")


@dataclass(frozen=True)
class Target:
    """What a slim net should be cheap for.

    Attributes:
        scheme: Scheme whose instructions count, a key of the table of stairs.
        stair: Number of channels by which widths fall; fewer save nothing.
        ranks: What a step should save, a name of MEASURES.
    """

    scheme: str
    stair: int
    ranks: str


DEPTHWISE = (("depthwise1", 1), ("depthwise3", 9), ("depthwise5", 25))  # (kind of the table, its taps)
OTHERS = {  # {kind of a Part: (kind of the table, its taps)}
    "Affine": ("add", 1),  # those that stay only add, or only multiply
    "Maximum": ("maximum", 1),
    "MaxPooling2D": ("max pool", 9),
    "AveragePooling2D": ("average pool", 4),
    "GlobalAveragePooling2D": ("mean", 1),
    **{name: (name, 1) for name in ("sigmoid", "silu", "hard_silu")},
    "Sigmoid": ("sigmoid", 1),  # these three are functions of keras.ops
    "Silu": ("silu", 1),
    "HardSilu": ("hard_silu", 1),
}
READ = {"fp32": 1, "int8": 4}  # channels that a convolution's kernel reads at a time
LAST = 32  # channels of the table that repeat beyond it

MEASURES = ("macs", "instructions")
TARGETS = {
    "phone-int8": Target("int8", 16, "instructions"),
    "phone-float": Target("fp32", 8, "instructions"),
    "macs": Target("int8", 1, "macs"),
}


def target(name):
    """The Target of that name.

    Raises:
        RequestError: there is none.
    """
    if name not in TARGETS:
        raise unknown("target", name, TARGETS)
    return TARGETS[name]


def macs(net, shape):
    """Multiply-adds of one image; bias, batch norms and pooling are not counted."""
    return sum(_macs(net, shape.widths, node) for node in _running(net, shape))


def instructions(net, shape, scheme):
    """Arm instructions of one inference of the file of a scheme, estimated from the table of stairs.

    Counted is what the rewrites of `export` leave of each node, see exported.py. What changes the place of numbers only
    (padding, reshaping), and what the table lacks, does not count.
    """
    return sum(_instructions(net, shape.widths, node, scheme) for node in _running(net, shape))


class Counted:
    """A choice of groups with its costs. A smaller choice is counted from it, and only where it differs.

    Attributes:
        shape: The shrinking.Shape.
        macs, instructions: For the Target's scheme, as counted by the functions of these names.
    """

    def __init__(self, net, target, shape):
        self.net, self.target, self.shape = net, target, shape
        self._users = net.users(shape.widths)
        self._parts = {node.name: self._part(node, shape.widths) for node in _running(net, shape)}
        self._sum()

    def without(self, groups):
        """The Counted without `groups`, or None where that net could not run."""
        return self._other(groups, False)

    def having(self, groups):
        """The Counted with `groups`, which are not there yet; or None where they could not stay, or the net not run."""
        found = self._other(groups, True)
        return found if found is not None and found.shape.keep[groups].all() else None

    def _other(self, groups, there):
        keep, net = self.shape.keep.copy(), self.net
        keep[groups] = there
        widths = dict(self.shape.widths)
        for number, channels in zip(*net.channels_of(groups), strict=True):
            name = net.nodes[number].name
            if name not in widths and not there:
                continue
            widths[name] = widths.get(name, 0) + (channels if there else -channels)
            if name not in self.shape.widths or not widths[name]:  # a layer comes or goes, and others may with it
                shape = shape_of(net, keep)
                return None if shape.broken else Counted(net, self.target, shape)
        changed = {name for name, width in widths.items() if width != self.shape.widths[name]}
        other = copy(self)
        other.shape, other._parts = Shape(keep, widths), dict(self._parts)
        readers = {node.name for name in changed for node in self._users[name]}
        for name in changed | readers:
            other._parts[name] = self._part(net.by_name[name], widths)
        other._sum()
        return other

    def _part(self, node, widths):
        return _macs(self.net, widths, node), _instructions(self.net, widths, node, self.target.scheme)

    def _sum(self):
        self.macs, self.instructions = map(sum, zip(*self._parts.values(), strict=True))


def _running(net, shape):
    return [node for node in net.nodes if node.name in shape.widths]


def _macs(net, widths, node):
    kind = net.kinds[node.name]
    if kind not in (*PRODUCERS, "DepthwiseConv2D"):
        return net.carried_macs.get(node.name, 0)
    into = 1 if kind == "DepthwiseConv2D" else widths[node.inputs[0]]
    return places_of(node.shape) * math.prod(node.attributes.get("kernel_size", (1,))) * into * widths[node.name]


def _instructions(net, widths, node, scheme):
    part = net.exported[SCHEMES[scheme].graph].get(node.name)
    if part is None:  # it folds into another
        return 0
    out, inputs = widths[node.name], [name for name in node.inputs if name in widths]
    if part.kind in PRODUCERS:
        into, groups = part.wide * widths[node.inputs[0]], part.groups
        return part.places * groups * _convolution(scheme, part.taps, into / groups, out / groups)
    if part.kind == "DepthwiseConv2D":
        kind, taps = next(row for row in DEPTHWISE if part.taps <= row[1] or row is DEPTHWISE[-1])
    elif part.kind in TIED and len(node.inputs) > 1:
        return part.places * stairs(scheme, "add", out) * (len(inputs) - 1)
    elif part.kind == "Concatenate" and len(inputs) > 1:
        copied = (stairs(scheme, "concatenate", widths[name]) for name in inputs)
        return part.places * sum(copied) / 2  # the table's has its input twice
    elif part.kind in OTHERS:
        kind, taps = OTHERS[part.kind]
    elif part.kind == "relu" and _lacks_its_addition(net, widths, node):
        kind, taps = "maximum", 1
    else:
        return 0
    return part.places * stairs(scheme, kind, out) * part.taps / taps


def _lacks_its_addition(net, widths, rectifier):
    """Whether the addition before a rectifier, which would take it in, is left out because it has only one input."""
    source = net.by_name[rectifier.inputs[0]]
    return net.kinds[source.name] == "Add" and sum(name in widths for name in source.inputs) == 1


def _convolution(scheme, taps, into, out):
    """Instructions per position of a convolution, or a dense layer.

    The table has convolutions of one tap and of nine. Each further tap costs as much as those between; a position costs
    a start besides, which is the same for any number of outputs.
    """
    one, nine = (_with(scheme, base, into, out) for base in ("conv1", "conv3"))
    return one + (nine - one) * (taps - 1) / 8


def _with(scheme, base, into, out):
    outputs = f"{base} out"
    start = 2 * stairs(scheme, outputs, 16) - stairs(scheme, outputs, 32)
    share = (stairs(scheme, outputs, out) - start) / (stairs(scheme, outputs, _table()["fixed"]) - start)
    into = math.ceil(into / READ[scheme]) * READ[scheme]
    return start + share * (stairs(scheme, f"{base} in", into, lines=True) - start)


@cache
def _table():
    return json.loads(TABLE.read_text())


@cache
def stairs(scheme, kind, width, lines=False):
    """Instructions per position of a layer with `width` channels; beyond the table its last LAST channels repeat.

    `lines`: Between two widths of the table a straight line holds; else the next width of the table does.
    """
    widths, values = _table()["widths"], _table()["instructions"][scheme][kind]
    if width <= 0:
        return 0.0
    rounds = max(0, math.ceil((width - widths[-1]) / LAST))
    step, width = values[-1] - values[widths.index(widths[-1] - LAST)], width - LAST * rounds
    within = np.interp(width, widths, values) if lines else values[bisect.bisect_left(widths, width)]
    return float(within) + rounds * step
