"""Folds a batch norm into what is before it."""

import numpy as np

from .editing import Editor

LINEAR = ("Conv2D", "DepthwiseConv2D", "Dense")
AVERAGES = ("AveragePooling2D", "GlobalAveragePooling2D")  # means of what they read, so scale and shift pass through


def fold_back(nodes):
    """Folds scale and shift into the convolution, dense layer or other scale and shift before them.

    Why: the convolution multiplies and adds anyway.
    Pattern: Conv2D, DepthwiseConv2D, Dense or Affine -> [average pooling] -> Affine, where nothing else reads in
    between.
    """
    graph = Editor(nodes)
    for node in graph.kinds("Affine"):
        target, why = _target(graph, node)
        if target is None:
            graph.kept(node, why)
            continue
        graph.change(target, weights=_scaled(target, node.weights["scale"], node.weights["shift"]))
        graph.drop(node)
        graph.changed(node)
    return graph.done()


def _target(graph, node):
    """(the node to fold into, None), or (None, why there is none)."""
    source = graph.source(node)
    while source.kind in AVERAGES and graph.sole_user(source) is not None:
        source = graph.source(source)
    if source.kind not in (*LINEAR, "Affine"):
        return None, f"{source.name} before it is {source.kind}"
    if graph.sole_user(source) is None:
        return None, f"{source.name} before it is read by others too"
    return source, None


def _scaled(node, scale, shift):
    """Weights of `node` such that it computes scale * before + shift."""
    if node.kind == "Affine":
        return {"scale": node.weights["scale"] * scale, "shift": node.weights["shift"] * scale + shift}
    kernel = node.weights["kernel"]
    # A depthwise kernel is (h, w, C, multiplier) and its outputs are ordered by C, then multiplier.
    outputs = kernel.shape[2:] if node.kind == "DepthwiseConv2D" else kernel.shape[-1:]
    bias = node.weights.get("bias", np.zeros_like(shift))
    return {"kernel": kernel * scale.reshape(outputs), "bias": bias * scale + shift}
