"""A batch norm that cannot fold becomes one operator instead of two."""

from .editing import Editor


def as_depthwise(nodes):
    """Turns each scale and shift that is left into a 1x1 depthwise convolution.

    Why: the converter would write a MUL and an ADD, each a pass over memory. The convolution is one pass and includes a
    ReLU that follows. In DenseNet and pre-activation nets these are the batch norms after a Concatenate or an Add.
    Pattern: Affine on an image. A shift without scale is already a single ADD, and one factor for all channels a single
    MUL.
    Kernel: XNNPACK's depthwise convolution with bias and fused clamp.
    """
    graph = Editor(nodes)
    for node in graph.kinds("Affine"):
        scale, shift = node.weights["scale"], node.weights["shift"]
        if len(node.shape) != 3:
            graph.kept(node, f"its output {node.shape} is not an image")
        elif (scale == 1).all():
            graph.kept(node, "it only adds")
        elif (scale == scale[0]).all() and not shift.any():
            graph.kept(node, "it only multiplies, by one number")
        else:
            graph.change(node, kind="DepthwiseConv2D", attributes=ONE_BY_ONE, weights=_kernel(scale, shift))
            graph.changed(node)
    return graph.done()


ONE_BY_ONE = {
    "kernel_size": (1, 1),
    "strides": (1, 1),
    "padding": "valid",
    "dilation_rate": (1, 1),
    "depth_multiplier": 1,
}


def _kernel(scale, shift):
    return {"kernel": scale.reshape(1, 1, -1, 1).copy(), "bias": shift.copy()}
