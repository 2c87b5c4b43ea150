"""A batch norm after a sum leaves nothing but its ReLU."""

import numpy as np

from .as_maximum import obstacle, readers_of
from .editing import Editor
from .fold_forward import FARTHEST, after, distances

SILENT = 1e-4  # of the largest weight: a bias then fits 32 bits up to 70 times the largest input times that weight


def zero_bounds(nodes):
    """Moves the shift of a norm after a sum into the convolutions that make the sum, and its scale to after its ReLU.

    Why: for scale > 0, relu(scale * x + shift) = scale * relu(x + shift / scale). The bias of a convolution whose
    output is part of the sum takes in shift / scale, a convolution of every further sum that reads x takes it out
    again, and the scale folds into what reads the ReLU: nothing else is left of the norm. Unlike the bound of a
    maximum, zero is exact in 8 bits. A bound is rounded, and all values that it replaces move to the same side with it,
    which shows in a trained net's int8 file (docs/rewriting.md).
    Pattern: Conv2D, or an Add that reads a Conv2D -> Affine -> ReLU -> [pooling, padding] -> Conv2D or Dense; other
    readers of the sum must be Adds that read a Conv2D. These are pre-activation nets. A negative scale, and a shift
    that puts a channel far out in the sum's 8-bit range, are left for `as_depthwise`.
    Kernel: an addition that clips its result, where nothing else reads the sum.
    """
    graph = Editor(nodes)
    for node in graph.kinds("Affine"):
        relu = graph.sole_user(node)
        readers, why = readers_of(graph, relu, zero=True)
        makers, lacks = _makers(graph, node)
        scale, shift = node.weights["scale"], node.weights["shift"]
        on = scale != 0
        why = why or obstacle(node) or lacks
        if not why and (shift[~on] > 0).any():
            why = "a constant above zero, of a channel with scale zero, would end at the padding"
        if not why and "deviation" in node.weights and not (far := np.abs(distances(node)).max()) <= FARTHEST:
            why = f"a shift that puts a channel {far:.3g} deviations from 0 would spoil 8-bit ranges"
        if why:
            graph.kept(node, why)
            continue
        moved = np.where(on, shift / np.where(on, scale, 1), 0)
        for reader in readers:
            graph.change(reader, weights=after(reader, scale, np.zeros_like(shift)))
        for name, sign in makers:
            maker = graph[name]
            bias = maker.weights.get("bias", np.zeros_like(shift)) + sign * moved
            graph.change(maker, weights={**maker.weights, "bias": bias})
        graph.drop(node)
        graph.changed(node)
    return graph.done()


def _makers(graph, node):
    """([(convolution, 1 or -1: the sign with which its bias takes the shift)], None), or ([], the obstacle)."""
    source = graph.source(node)
    found, why = _maker(graph, source)
    if why:
        return [], why
    makers, waiting = [(found, 1)], [source]
    while waiting:
        current = waiting.pop()
        for user in graph.users(current):
            if user.name == node.name:
                continue
            if _passes(user):
                waiting.append(user)
                continue
            if user.kind != "Add" or user.inputs.count(current.name) > 1:
                return [], f"{user.name} reads {source.name} too, which is {user.kind}"
            found, why = _maker(graph, user)
            if why:
                return [], why
            makers.append((found, -1))
    return makers, None


def _maker(graph, node):
    """(name of a convolution whose bias shifts `node`, None), or (None, why there is none)."""
    for source in [graph[name] for name in node.inputs] if node.kind == "Add" else [node]:
        alone = node.kind != "Add" or graph.sole_user(source) is not None
        if source.kind == "Conv2D" and source.channels == node.channels and alone and not _silent(source):
            return source.name, None
    return None, f"no convolution of its own goes into {node.name}, which is {node.kind}"


def _silent(convolution):
    """Whether it has a channel with almost no weights: in their unit the bias of an int8 file would overflow."""
    largest = np.abs(convolution.weights["kernel"]).max(axis=(0, 1, 2))
    return (largest <= SILENT * largest.max()).any()


def _passes(node):
    """Whether a number that is added to a whole channel passes through `node` unchanged."""
    if node.kind == "DepthwiseConv2D":
        one = node.weights["kernel"].shape[:2] == (1, 1) and (node.weights["kernel"] == 1).all()
        return one and "bias" not in node.weights and node.attributes["depth_multiplier"] == 1
    return node.kind in ("MaxPooling2D", "AveragePooling2D") and node.attributes["padding"] == "valid"
