"""What keeps norms of a slim net from the cheaper forms that `export` has for them.

A norm with its ReLU becomes a depthwise convolution in the file, instead of a maximum or nothing at all, as soon as one
of its channels has a negative scale, or a bound (-shift / scale) far above the channel's mean
(nets.rewriting.as_maximum, zero_bounds). But many such channels are constants: the norm has switched them off, or the
scale is almost zero. A scale of zero is not in the way.
"""

from dataclasses import replace

import numpy as np

from ...nets.rewriting.editing import Editor, is_relu
from ...nets.rewriting.fold_forward import FARTHEST
from .exported import exported

STILL = 1e-5  # a channel is constant if its |scale| * deviation is below this share of the norm's largest


def constants(nodes, kinds, calls, frozen=()):
    """{norm: (channels,) bool}: constant channels of norms that only these channels make a depthwise convolution in the
    int8 file.

    A channel is constant behind a norm whose only reader is a ReLU if the scale is almost zero, or if only an input
    more than FARTHEST deviations from the mean would pass the ReLU. One whose scale is zero already is not in the way.

    Args:
        nodes, kinds, calls: As channels.Net has them.
        frozen: Names of nodes that stay as they are.
    """
    graph, found = Editor(nodes), {}
    for node in graph.kinds("Affine"):
        if not is_norm(node) or node.name in frozen:
            continue
        operation, reader = calls[node.name]["operation"], graph.sole_user(node)
        if operation.gamma is None or operation.beta is None or reader is None or not is_relu(reader):
            continue
        scale, shift, mean, deviation = (node.weights[key] for key in ("scale", "shift", "mean", "deviation"))
        moves = np.abs(scale) * deviation
        still = (scale != 0) & ((scale * mean + shift < -FARTHEST * moves) | (moves < STILL * moves.max()))
        if still.any():
            found[node.name] = still
    if not found:
        return found
    before, after = (exported(some, kinds)["int8"] for some in (nodes, held(nodes, found)))
    return {name: still for name, still in found.items() if _is_depthwise(before, name) > _is_depthwise(after, name)}


def is_norm(node):
    """Whether a node is a batch norm, and no other scale and shift, such as Rescaling or arithmetic with a number."""
    return node.kind == "Affine" and "deviation" in node.weights


def held(nodes, channels):
    """The nodes with scales of zero in `channels`, as `constants` gives them."""
    return tuple(_held(node, channels[node.name]) if node.name in channels else node for node in nodes)


def _held(node, still):
    scale, shift, mean = (node.weights[key] for key in ("scale", "shift", "mean"))
    scale, shift = np.where(still, 0, scale), np.where(still, shift + scale * mean, shift)
    return replace(node, weights={**node.weights, "scale": scale, "shift": shift})


def as_maxima(parts, kinds):
    """Names of the norms that are a maximum in the int8 file, from what `exported` gives."""
    return {name for name, part in parts["int8"].items() if part.kind == "Maximum" and kinds[name] == "Affine"}


def _is_depthwise(parts, name):
    return name in parts and parts[name].kind == "DepthwiseConv2D"
