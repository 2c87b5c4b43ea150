"""Takes every second pixel with an operator that XNNPACK runs."""

import numpy as np

from .as_depthwise import ONE_BY_ONE
from .editing import Editor

DENSE_LIMIT = 64 * 128  # largest size of an identity kernel; above it a depthwise convolution and a PAD cost less


def delegate_strides(nodes):
    """Turns strided slices, and 1x1 poolings with a stride, into 1x1 convolutions with that stride.

    Why: XNNPACK rejects strided slices and 1x1 poolings with stride 2, which splits the delegated graph in two.
    Pattern: Slice, MaxPooling2D or AveragePooling2D of 1x1 windows, with or without a ChannelPadding after it (option A
    shortcuts; the V2 nets of keras.applications).
    Kernel: a convolution whose constant kernel is the identity and adds the zero channels, while that is small; else a
    depthwise convolution of ones.
    """
    graph = Editor(nodes)
    for node in graph.kinds("Slice", "MaxPooling2D", "AveragePooling2D"):
        if node.kind != "Slice" and node.attributes["pool_size"] != (1, 1):
            continue
        if node.attributes["strides"] == (1, 1):
            graph.drop(node)
            graph.changed(node)
            continue
        if node.attributes["strides"][0] != node.attributes["strides"][1]:
            graph.kept(node, "a depthwise convolution has the same stride both ways")
            continue
        padding = graph.sole_user(node)
        padding = padding if padding is not None and padding.kind == "ChannelPadding" else None
        before, after = padding.attributes["padding"] if padding else (0, 0)
        outputs = before + node.channels + after
        settings = {**ONE_BY_ONE, "strides": node.attributes["strides"]}
        if padding and node.channels * outputs <= DENSE_LIMIT:
            settings = {key: value for key, value in settings.items() if key != "depth_multiplier"}
            kernel = np.eye(node.channels, outputs, before).reshape(1, 1, node.channels, outputs)
            graph.drop(padding)
            graph.change(
                graph[node.name],
                kind="Conv2D",
                shape=padding.shape,
                attributes={**settings, "filters": outputs},
                weights={"kernel": kernel},
            )
        else:
            kernel = np.ones((1, 1, node.channels, 1))
            graph.change(node, kind="DepthwiseConv2D", attributes=settings, weights={"kernel": kernel})
        graph.changed(node)
    return graph.done()
