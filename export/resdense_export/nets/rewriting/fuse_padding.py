"""Puts padding into the form that converter and XNNPACK fuse."""

from .editing import Editor
from .padding import is_nonnegative, same_padding


def fuse_padding(nodes):
    """Moves a padding layer into the operator after it where that operator's "same" pads equally.

    Why: a PAD of its own copies the image. XNNPACK fuses it with a convolution in fp32 and int8, but not in the dynamic
    scheme, and never with a pooling.
    Pattern: ZeroPadding2D -> Conv2D or DepthwiseConv2D with "valid"; or a padding with -inf, or with zeros after a
    ReLU, -> MaxPooling2D with "valid". "same" pads less at the start: at stride 2 and an even size it differs from the
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
