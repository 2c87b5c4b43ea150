"""A large depthwise kernel as a sum of smaller ones."""

import numpy as np

from ..node import Node
from .editing import Editor
from .padding import same_padding

TAPS = 25  # numbers of the largest kernel that XNNPACK's depthwise convolutions are written for


def split_kernels(nodes):
    """Splits depthwise kernels of more than TAPS numbers into bands of rows, whose results are added.

    Why: XNNPACK computes a larger kernel as a convolution of one channel a group, which fills no register: 7x7 over
    28 x 28 x 96 numbers takes 30 million Arm instructions in float and 43 in int8; three bands with their sums take 4.
    Pattern: DepthwiseConv2D, not dilated, of whose rows one fits into TAPS. A Conv2D of one channel a group, such as
    ConvNeXt's, becomes a DepthwiseConv2D whatever its size: the dynamic scheme leaves only these in float.
    Kernel: one PAD, a STRIDED_SLICE and a depthwise convolution for each band, ADD; the first band has the bias.
    """
    graph = Editor(nodes)
    for node in graph.kinds("Conv2D", "DepthwiseConv2D"):
        if grouped := node.kind == "Conv2D":
            if not _has_own_channels(node, graph.source(node)):
                continue
            node = _as_depthwise(graph, node)
            graph.changed(node)
        if np.prod(node.attributes["kernel_size"]) <= TAPS:
            continue
        why = _obstacle(node, graph.source(node))
        if why:
            graph.kept(node, why)
            continue
        _split(graph, node)
        if not grouped:
            graph.changed(node)
    return graph.done()


def _has_own_channels(convolution, source):
    """Whether each channel is a group, with a stride that a depthwise convolution has: the same both ways."""
    groups, (down, across) = convolution.attributes.get("groups", 1), convolution.attributes["strides"]
    return 1 < groups == source.channels and down == across


def _as_depthwise(graph, node):
    settings = {key: value for key, value in node.attributes.items() if key not in ("filters", "groups")}
    kernel, channels = node.weights["kernel"], node.attributes["groups"]
    each = kernel.shape[-1] // channels
    return graph.change(
        node,
        kind="DepthwiseConv2D",
        attributes={**settings, "depth_multiplier": each},
        weights={**node.weights, "kernel": kernel.reshape(*kernel.shape[:2], channels, each)},
    )


def _obstacle(node, source):
    if node.attributes["kernel_size"][1] > TAPS:
        return f"a row of its kernel has more than {TAPS} numbers"
    if tuple(node.attributes["dilation_rate"]) != (1, 1):
        return "it is dilated"
    if node.attributes["padding"] == "same" and None in source.shape[:2]:
        return "the image size is open"
    return None


def _split(graph, node):
    (high, wide), source, weights = node.attributes["kernel_size"], graph.source(node), node.weights
    if node.attributes["padding"] == "same":
        sides = zip(source.shape[:2], (high, wide), node.attributes["strides"], strict=True)
        widths = tuple(same_padding(*side) for side in sides)
        source = _resized(graph, node, source, "ZeroPadding2D", {"padding": widths}, [sum(both) for both in widths])
    step, bands = TAPS // wide, []
    for first in range(0, high, step):
        last = min(first + step, high)
        crop = {"cropping": ((first, high - last), (0, 0))}
        part = _resized(graph, node, source, "Cropping2D", crop, [-first - (high - last), 0])
        own = {"kernel": weights["kernel"][first:last]}
        if "bias" in weights and not bands:
            own["bias"] = weights["bias"]
        settings = {**node.attributes, "kernel_size": (last - first, wide), "padding": "valid"}
        name = f"{node.name}_rows_{first}"
        bands.append(graph.add(Node(name, node.kind, (part.name,), node.shape, node.dtype, settings, own)))
    graph.change(node, kind="Add", inputs=tuple(band.name for band in bands), attributes={}, weights={})


def _resized(graph, node, source, kind, settings, growth):
    """A new node of padding or cropping behind `source`, whose sides grow by so many pixels."""
    sides = (None if size is None else size + more for size, more in zip(source.shape[:2], growth, strict=True))
    shape = (*sides, source.channels)
    return graph.add(Node(f"{node.name}_{kind[:4].lower()}", kind, (source.name,), shape, node.dtype, settings))
