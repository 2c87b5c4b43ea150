"""What keeps norms of a slim net from the cheaper forms that `export` has for them.

One channel is enough to make a norm with its ReLU a depthwise convolution in the file, where it would else be a maximum
or nothing at all: one with a scale below zero, or with a bound far above its mean (nets.rewriting.as_maximum,
zero_bounds). But many such channels are constants: the norm has switched them off, or its scale is almost zero. Scales
of zero are not in the way. In a published DenseNet-BC-100-12 19 norms become a maximum, and 37 with such zeros.
"""

from dataclasses import replace

import numpy as np

from ...nets.rewriting.fold_forward import FARTHEST
from .exported import exported

STILL = 1e-5  # of the largest scale of a norm, each times its channel's deviation


def constants(nodes, kinds, calls, frozen=()):
    """{norm: (channels,) bool}: channels for which a norm and its ReLU answer with a constant, where they are what
    makes the norm a depthwise convolution.

    Either another answer than zero would need an input more than FARTHEST deviations from the mean, or the scale is
    almost zero.

    Args:
        nodes, kinds, calls: As channels.Net has them.
        frozen: Names of nodes that stay as they are.
    """
    users, found = {}, {}
    for node in nodes:
        for source in node.inputs:
            users.setdefault(source, []).append(node)
    for node in nodes:
        if node.kind != "Affine" or "deviation" not in node.weights or node.name in frozen:
            continue
        operation, readers = calls[node.name]["operation"], users.get(node.name, ())
        if operation.gamma is None or operation.beta is None or len(readers) != 1 or not _is_relu(readers[0]):
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


def _is_relu(node):
    return node.kind == "Activation" and node.attributes["activation"] == "relu"
