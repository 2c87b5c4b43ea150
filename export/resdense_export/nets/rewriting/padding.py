"""What the passes ask about padding."""


def is_nonnegative(graph, node):
    """Whether no output of `node` can be below zero."""
    while node.kind in ("MaxPooling2D", "AveragePooling2D", "ZeroPadding2D", "Slice"):
        node = graph.source(node)
    return node.kind == "Activation" and node.attributes["activation"] in ("relu", "relu6", "sigmoid", "softmax")


def same_padding(size, kernel, stride, dilation=1):
    """(before, after) that "same" pads along one side of `size` pixels."""
    reach = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2
