"""Costs of a net with given widths: MACs, parameters, and Arm instructions from a measured table of stairs."""

import bisect
import json
import math
from copy import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from resdense_keras.errors import unknown

from .channels import PRODUCERS
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

    Convolutions, dense layers, batch norms that cannot fold, additions and concatenations count; pooling does not.
    """
    users = net.users(shape.widths)
    return sum(_instructions(net, shape.widths, node, scheme, users) for node in _running(net, shape))


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
        keep, net = self.shape.keep.copy(), self.net
        keep[groups] = False
        widths = dict(self.shape.widths)
        for number, lost in zip(*net.channels_of(groups), strict=True):
            name = net.nodes[number].name
            if name in widths:
                widths[name] -= lost
                if not widths[name]:  # a layer goes, and others may go with it
                    shape = shape_of(net, keep)
                    return None if shape.broken else Counted(net, self.target, shape)
        changed = {name for name, width in widths.items() if width != self.shape.widths[name]}
        fewer = copy(self)
        fewer.shape, fewer._parts = Shape(keep, widths), dict(self._parts)
        readers = {node.name for name in changed for node in self._users[name]}
        for name in changed | readers:
            fewer._parts[name] = self._part(net.by_name[name], widths)
        fewer._sum()
        return fewer

    def _part(self, node, widths):
        instructions = _instructions(self.net, widths, node, self.target.scheme, self._users)
        return _macs(self.net, widths, node), instructions

    def _sum(self):
        self.macs, self.instructions = map(sum, zip(*self._parts.values(), strict=True))


def _running(net, shape):
    return [node for node in net.nodes if node.name in shape.widths]


def _positions(node):
    return math.prod(size or 1 for size in node.shape[:-1])


def _macs(net, widths, node):
    kind = net.kinds[node.name]
    if kind not in (*PRODUCERS, "DepthwiseConv2D"):
        return net.carried_macs.get(node.name, 0)
    into = 1 if kind == "DepthwiseConv2D" else widths[node.inputs[0]]
    return _positions(node) * math.prod(node.attributes.get("kernel_size", (1,))) * into * widths[node.name]


def _instructions(net, widths, node, scheme, users):
    kind, out = net.kinds[node.name], widths[node.name]
    kernel, places = math.prod(node.attributes.get("kernel_size", (1,))), _positions(node)
    if kind in PRODUCERS:
        base, measured = ("conv3", 9) if kernel >= 4 else ("conv1", 1)
        one = stairs(scheme, f"{base} out", out) * stairs(scheme, f"{base} in", widths[node.inputs[0]])
        return places * one / stairs(scheme, f"{base} in", _table()["fixed"]) * kernel / measured
    if kind == "DepthwiseConv2D":
        return places * stairs(scheme, "depthwise3", out) * kernel / 9
    if kind == "Affine":
        source = node.inputs[0]
        folds = net.kinds[source] in (*PRODUCERS, "DepthwiseConv2D") and len(users.get(source, ())) == 1
        return 0 if folds else places * stairs(scheme, "depthwise1", out)
    inputs = [name for name in node.inputs if name in widths]
    if kind == "Add" and len(inputs) > 1:
        return places * stairs(scheme, "add", out) * (len(inputs) - 1)
    if kind == "Concatenate" and len(inputs) > 1:
        return places * stairs(scheme, "concatenate", out) / 2  # the table's has its input twice
    return 0


@cache
def _table():
    return json.loads(TABLE.read_text())


@cache
def stairs(scheme, kind, width):
    """Instructions per position of a layer with `width` channels; beyond the table its last 16 channels are
    extrapolated."""
    widths, values = _table()["widths"], _table()["instructions"][scheme][kind]
    if width <= 0:
        return 0.0
    rounds = max(0, math.ceil((width - widths[-1]) / 16))
    step = values[-1] - values[widths.index(widths[-1] - 16)]
    return values[bisect.bisect_left(widths, width - 16 * rounds)] + rounds * step
