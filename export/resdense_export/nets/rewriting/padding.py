"""Padding in the form that converter and XNNPACK fuse."""

from .editing import Editor


def fuse_padding(nodes):
    """Gives a padding layer to the operator behind it where that one's own "same" pads alike.

    Why: an explicit PAD is an operator that copies the image; XNNPACK fuses it with a convolution in fp32 and int8 but
    not in the dynamic scheme, and never with a pooling.
    Pattern: ZeroPadding2D -> Conv2D or DepthwiseConv2D with "valid"; a padding of -inf, or of zeros behind a ReLU, ->
    MaxPooling2D with "valid". "same" puts the smaller half first: at stride 2 and an even size it differs from the
    papers' padding, which then stays.
    """
    graph = Editor(nodes)
    for pad in graph.kinds("ZeroPadding2D", "LowestPadding2D"):
        for user in graph.users(pad):
            why = _obstacle(graph, pad, user)
            if why:
                graph.kept(pad, why)
                continue
            settings = {**user.attributes, "padding": "same"}
            inputs = tuple(pad.inputs[0] if name == pad.name else name for name in user.inputs)
            graph.change(user, attributes=settings, inputs=inputs)
            graph.changed(pad)
    return graph.done()


def finite_padding(nodes):
    """Replaces padding with -inf before max pooling by one that int8 survives.

    Why: in int8 the lowest float takes the whole range of the tensor and nothing else is left.
    Pattern: LowestPadding2D -> MaxPooling2D. Behind a ReLU zeros are as low as anything (exact). Elsewhere the border
    is mirrored: each mirrored pixel stands in the same window as the one it repeats, which leaves the maximum as it
    is as long as the padding is at most half a window.
    """
    graph = Editor(nodes)
    for pad in graph.kinds("LowestPadding2D"):
        readers = graph.users(pad)
        if any(reader.kind != "MaxPooling2D" for reader in readers):
            graph.kept(pad, "something else than max pooling reads it")
        elif is_nonnegative(graph, graph.source(pad)):
            graph.change(pad, kind="ZeroPadding2D", attributes={"padding": pad.attributes["padding"]})
            graph.changed(pad)
        elif all(_mirrors(pad, reader) for reader in readers):
            graph.change(pad, kind="MirrorPadding2D", attributes={"padding": pad.attributes["padding"]})
            graph.changed(pad)
        else:
            graph.kept(pad, "the padding is wider than half a window")
    return graph.done()


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


def _obstacle(graph, pad, user):
    convolves = user.kind in ("Conv2D", "DepthwiseConv2D") and pad.kind == "ZeroPadding2D"
    lowest = pad.kind == "LowestPadding2D" or is_nonnegative(graph, graph.source(pad))
    if not convolves and not (user.kind == "MaxPooling2D" and lowest):
        return f"{user.name} after it is {user.kind}"
    if user.attributes["padding"] != "valid":
        return f"{user.name} after it pads too"
    size = graph.source(pad).shape[:2]
    if None in size:
        return "the image size is open"
    kernels = user.attributes["kernel_size" if convolves else "pool_size"]
    strides, dilations = user.attributes["strides"], user.attributes.get("dilation_rate", (1, 1))
    own = tuple(same_padding(*side) for side in zip(size, kernels, strides, dilations, strict=True))
    if own != pad.attributes["padding"]:
        return f'"same" of {user.name} after it would pad {own}, not {pad.attributes["padding"]}'
    return None


def _mirrors(pad, pool):
    return all(
        2 * max(widths) <= window
        for widths, window in zip(pad.attributes["padding"], pool.attributes["pool_size"], strict=True)
    )
