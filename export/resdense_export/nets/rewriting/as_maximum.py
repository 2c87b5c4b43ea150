"""A batch norm with its ReLU becomes one comparison."""

import numpy as np

from .editing import Editor, is_relu
from .fold_forward import FARTHEST, after, distances


def as_maximum(nodes):
    """Turns relu(scale * x + shift) into a maximum of x and a constant, and folds scale and shift into what follows.

    Why: for scale > 0, relu(scale * x + shift) = scale * max(x, -shift / scale) + shift; what is outside the maximum
    folds into the next convolution. A comparison is the cheapest operator, for the processor and in the file: one
    constant per channel instead of weight, bias and tables.
    Pattern: Affine -> ReLU -> [average pooling] -> Conv2D that pads nothing, or Dense; nothing else reads in between.
    Before a convolution that pads with zeros it would be wrong, because there zero must mean zero. A negative scale
    needs a minimum, and a bound far out spoils 8-bit ranges; such norms are left for `as_depthwise`. A channel of scale
    zero is a constant: all of it folds into what follows, and its bound is any number, such as the channel's mean.
    Kernel: LiteRT's own MAXIMUM in int8, XNNPACK's in float.
    """
    graph = Editor(nodes)
    for node in graph.kinds("Affine"):
        relu, scale, shift = graph.sole_user(node), node.weights["scale"], node.weights["shift"]
        readers, why = readers_of(graph, relu)
        why = why or obstacle(node)
        if why:
            graph.kept(node, why)
            continue
        silent = scale == 0
        for reader in readers:
            graph.change(reader, weights=after(reader, scale, np.where(silent, np.maximum(shift, 0), shift)))
        bound = np.where(silent, node.weights.get("mean", 0), -shift / np.where(silent, 1, scale))
        graph.change(node, kind="Maximum", weights={"bound": bound})
        graph.drop(relu)
        graph.changed(node)
    return graph.done()


def readers_of(graph, relu, zero=False):
    """(convolutions and dense layers that read `relu`, directly or through a mean, None), or ([], why not).

    Args:
        zero: Whether the ReLU's bound is zero, which padding and max pooling do not change.
    """
    if relu is None or not is_relu(relu):
        return [], "what reads it is not one ReLU"
    found, waiting = [], [relu]
    carriers = ("AveragePooling2D", "GlobalAveragePooling2D", *(("MaxPooling2D", "ZeroPadding2D") if zero else ()))
    while waiting:
        for user in graph.users(waiting.pop()):
            if user.kind in carriers:
                waiting.append(user)
            elif user.kind == "Dense" or (user.kind == "Conv2D" and (zero or not _pads(user))):
                found.append(user)
            else:
                return [], f"{user.name} behind its ReLU is {user.kind}{' that pads' * (user.kind == 'Conv2D')}"
    return found, None if found else "nothing reads its ReLU"


def _pads(convolution):
    return convolution.attributes["padding"] == "same" and convolution.attributes["kernel_size"] != (1, 1)


def obstacle(node):
    """Why the scale cannot move behind the ReLU, or should not; None where it can."""
    scale = node.weights["scale"]
    if (scale < 0).any():
        return f"{int((scale < 0).sum())} of its scales are below zero"
    if "deviation" in node.weights:
        distance = float(-distances(node).min())
        if not distance <= FARTHEST:
            return f"a bound {distance:.3g} deviations above its channel's mean would spoil 8-bit ranges"
    return None
