"""Rectifiers that 8-bit arithmetic lacks, out of operators that it has."""

import numpy as np

from ..node import Node
from .editing import Editor

FUSED = ("Conv2D", "DepthwiseConv2D", "Dense", "Add", "Affine")  # whose kernels end with a clipping of their own
SIX = 6.0
ZERO = -1e-37  # TensorFlow's converter makes RELU of a maximum with 0.0 itself


def plain_rectifiers(nodes):
    """Replaces leaky rectifiers, rectifiers that no operator includes, and global maxima by sums, maxima and constants.

    Why: the quantizer has no 8-bit form of LEAKY_RELU, PRELU, RELU6 and REDUCE_MAX, leaves them in float and says
    nothing; every one then costs a way to float and back. RELU it has, with a kernel that takes number after number;
    that of MAXIMUM takes many at once.
    Pattern: LeakyReLU with slopes a from 0 to 1 -> max(x, a x); any other slopes -> relu(x) - a relu(-x).
    relu6(x), where nothing takes it in -> 6 - relu(6 - relu(x)); relu(x) there -> a maximum with zeros, a channel each.
    A global maximum -> a pool as large as the image.
    """
    graph = Editor(nodes)
    for node in graph.kinds("LeakyReLU"):
        slope = node.weights["slope"]
        if ((slope >= 0) & (slope <= 1)).all():
            scaled = _affine(graph, node, node.inputs[0], slope, "scaled")
            graph.change(node, kind="Larger", inputs=(node.inputs[0], scaled.name), weights={})
        else:
            upper = _relu(graph, node, node.inputs[0], "upper")
            turned = _affine(graph, node, node.inputs[0], np.full_like(slope, -1.0), "turned")
            lower = _affine(graph, node, _relu(graph, node, turned.name, "lower").name, -slope, "scaled")
            graph.change(node, kind="Add", inputs=(upper.name, lower.name), weights={})
        graph.changed(node)
    for node in graph.kinds("Activation"):
        if node.attributes["activation"] != "relu6":
            continue
        if _taken_in(graph, node):
            graph.kept(node, f"{graph.source(node).name} takes it in")
            continue
        ones, sixes = np.ones(node.channels), np.full(node.channels, SIX)
        upper = _relu(graph, node, node.inputs[0], "upper")
        turned = _affine(graph, node, upper.name, -ones, "turned", sixes)
        lower = _relu(graph, node, turned.name, "lower")
        graph.change(node, kind="Affine", inputs=(lower.name,), attributes={}, weights={"scale": -ones, "shift": sixes})
        graph.changed(node)
    for node in graph.kinds("GlobalMaxPooling2D"):
        source = graph.source(node)
        height, width, channels = source.shape
        if None in (height, width):
            graph.kept(node, "the image size is open")
            continue
        settings = {"pool_size": (height, width), "strides": (height, width), "padding": "valid"}
        pool = Node(f"{node.name}_pool", "MaxPooling2D", node.inputs, (1, 1, channels), node.dtype, settings)
        graph.change(node, kind="Reshape", inputs=(graph.add(pool).name,), attributes={})
        graph.changed(node)
    for node in graph.kinds("Activation"):  # last: those from above are among them
        if node.attributes["activation"] == "relu" and not _taken_in(graph, node):
            graph.change(node, kind="Maximum", attributes={}, weights={"bound": np.full(node.channels, ZERO)})
            graph.changed(node)
    return graph.done()


def _taken_in(graph, node):
    source = graph.source(node)
    return source.kind in FUSED and graph.sole_user(source) is not None


def _relu(graph, node, source, part):
    attributes = {"activation": "relu"}
    return graph.add(Node(f"{node.name}_{part}", "Activation", (source,), node.shape, node.dtype, attributes))


def _affine(graph, node, source, scale, part, shift=None):
    weights = {"scale": scale, "shift": np.zeros_like(scale) if shift is None else shift}
    return graph.add(Node(f"{node.name}_{part}", "Affine", (source,), node.shape, node.dtype, {}, weights))
