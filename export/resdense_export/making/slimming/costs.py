"""What a net of some widths costs: MACs, parameters, and Arm instructions from a measured table of stairs."""

import bisect
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from resdense_keras.errors import unknown

from .channels import PRODUCERS
from .shrinking import shape_of

TABLE = Path(__file__).with_name("stairs.json")


@dataclass(frozen=True)
class Target:
    """What a slim net is to be cheap for.

    Attributes:
        scheme: Whose instructions count, a key of the table of stairs; None where MACs do.
        stair: Channels by which widths fall: fewer of them save nothing.
    """

    scheme: str | None
    stair: int


TARGETS = {
    "phone-int8": Target("int8", 16),
    "phone-float": Target("fp32", 8),
    "macs": Target(None, 1),
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
    return sum(_macs(net, shape, node) for node in _layers(net, shape))


def instructions(net, shape, scheme):
    """Arm instructions of one inference of the file of a scheme, estimated from the table of stairs.

    Convolutions, dense layers, batch norms that cannot fold, additions and concatenations count; pooling does not.
    """
    users = _users(net, shape)
    return sum(_instructions(net, shape, node, scheme, users) for node in _running(net, shape))


def cost(net, keep, target):
    """What a Target counts, of the groups that stay; infinite where that net could not run."""
    shape = shape_of(net, keep)
    if shape.broken:
        return math.inf
    return macs(net, shape) if target.scheme is None else instructions(net, shape, target.scheme)


def _running(net, shape):
    return [node for node in net.nodes if node.name in shape.widths]


def _layers(net, shape):
    return [node for node in _running(net, shape) if net.kinds[node.name] in (*PRODUCERS, "DepthwiseConv2D")]


def _users(net, shape):
    users = {name: [] for name in shape.widths}
    for node in _running(net, shape):
        for source in node.inputs:
            if source in users:
                users[source].append(node)
    return users


def _positions(node):
    return math.prod(size or 1 for size in node.shape[:-1])


def _inputs(net, shape, node):
    return int(shape.keep[net.groups[node.inputs[0]]].sum())


def _macs(net, shape, node):
    out, kernel = shape.widths[node.name], math.prod(node.attributes.get("kernel_size", (1,)))
    into = 1 if net.kinds[node.name] == "DepthwiseConv2D" else _inputs(net, shape, node)
    return _positions(node) * kernel * into * out


def _instructions(net, shape, node, scheme, users):
    kind, out = net.kinds[node.name], shape.widths[node.name]
    kernel, places = math.prod(node.attributes.get("kernel_size", (1,))), _positions(node)
    if kind in PRODUCERS:
        base, measured = ("conv3", 9) if kernel >= 4 else ("conv1", 1)
        into = _inputs(net, shape, node)
        one = stairs(scheme, f"{base} out", out) * stairs(scheme, f"{base} in", into)
        return places * one / stairs(scheme, f"{base} in", _table()["fixed"]) * kernel / measured
    if kind == "DepthwiseConv2D":
        return places * stairs(scheme, "depthwise3", out) * kernel / 9
    if kind == "Affine":
        source = node.inputs[0]
        folds = net.kinds[source] in (*PRODUCERS, "DepthwiseConv2D") and len(users.get(source, ())) == 1
        return 0 if folds else places * stairs(scheme, "depthwise1", out)
    inputs = [name for name in node.inputs if name in shape.widths]
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
    """Instructions a position of a layer with `width` channels; beyond the table, its last 16 channels go on."""
    widths, values = _table()["widths"], _table()["instructions"][scheme][kind]
    if width <= 0:
        return 0.0
    rounds = max(0, math.ceil((width - widths[-1]) / 16))
    step = values[-1] - values[widths.index(widths[-1] - 16)]
    return values[bisect.bisect_left(widths, width - 16 * rounds)] + rounds * step
