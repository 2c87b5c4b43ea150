"""Average pooling that is fast in int8."""

import numpy as np

from .editing import Editor


def pool_as_depthwise(nodes):
    """Turns average pooling into a depthwise convolution of equal weights; only for int8.

    Why: XNNPACK does not run int8 AVERAGE_POOL_2D, so that it would split the delegated graph. In float the pooling is
    faster.
    Pattern: AveragePooling2D over whole windows (padding "valid", or "same" where nothing is padded).
    Kernel: XNNPACK's int8 depthwise convolution. 1/4 is exact in binary; the weights of other windows are exact to 24
    bits.
    """
    graph = Editor(nodes)
    for pool in graph.kinds("AveragePooling2D"):
        size, strides = pool.attributes["pool_size"], pool.attributes["strides"]
        if pool.attributes["padding"] == "same" and not _fits(graph.source(pool).shape, size, strides):
            graph.kept(pool, "it pads, and its means at the border are over fewer pixels")
            continue
        if strides[0] != strides[1]:
            graph.kept(pool, "a depthwise convolution has the same stride both ways")
            continue
        settings = {
            "kernel_size": size,
            "strides": strides,
            "padding": "valid",
            "dilation_rate": (1, 1),
            "depth_multiplier": 1,
        }
        kernel = np.full((*size, pool.channels, 1), 1 / np.prod(size))
        graph.change(pool, kind="DepthwiseConv2D", attributes=settings, weights={"kernel": kernel})
        graph.changed(pool)
    return graph.done()


def _fits(shape, size, strides):
    return None not in shape[:2] and size == strides and all(n % k == 0 for n, k in zip(shape[:2], size, strict=True))
