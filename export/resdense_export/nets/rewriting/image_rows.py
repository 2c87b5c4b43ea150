"""Computes the stem of a large image over rows of numbers instead of pixels of three."""

import numpy as np

from ..node import Node
from .editing import Editor

FEW = 4  # channels of a pixel; with more, the start of an operator at each pixel costs little beside its work
EXTRA = 1.25  # largest growth of the weights; a kernel of 7 columns becomes one of 8


def image_rows(nodes):
    """Makes the first convolution read as many pixels at once as its stride, and shifts and pads whole rows.

    Why: XNNPACK starts anew at each pixel, and three numbers do not fill a register: padding one pixel costs about 95
    instructions on Arm, and an int8 convolution treats three numbers as four or eight. In memory a row is the same as
    (1, W * C), and two pixels side by side are the same as one of 2 * C channels, so nothing is moved.
    Pattern: [a shift] -> zero padding -> Conv2D with "valid", few channels, a stride across and no dilation.
    Kernel: RESHAPE, one ADD and one PAD of rows, RESHAPE, and a convolution with a stride of one wide pixel; its kernel
    is filled up with columns of zeros.
    """
    graph = Editor(nodes)
    for convolution in graph.kinds("Conv2D"):
        padding = graph.source(convolution)
        if padding.kind != "ZeroPadding2D" or padding.channels is None or padding.channels > FEW:
            continue
        why = _obstacle(graph, convolution, padding)
        if why:
            graph.kept(convolution, why)
            continue
        _rewrite(graph, convolution, padding)
        graph.changed(convolution)
    return graph.done()


def _obstacle(graph, convolution, padding):
    settings, columns = convolution.attributes, convolution.attributes["kernel_size"][1]
    step = settings["strides"][1]
    if None in padding.shape:
        return "the image size is open"
    if graph.sole_user(padding) is None:
        return f"something else reads {padding.name} before it"
    if settings.get("groups", 1) > 1:
        return "its groups read channels apart"
    if settings["padding"] != "valid" or step == 1 or settings["dilation_rate"] != (1, 1):
        return "it does not step over whole pixels"
    if _wide(columns, step) * step > EXTRA * columns:
        return f"a kernel of {columns} columns would grow to {_wide(columns, step) * step}"
    if _right_edge(convolution, padding) < 0:
        return "its last columns would have to be cut off"
    return None


def _wide(columns, step):
    """Number of wide pixels that a kernel of so many columns spans."""
    return -(-columns // step)


def _right_edge(convolution, padding):
    """Columns of zeros to the right of the image: only as many wide pixels as the convolution reads."""
    columns, step = convolution.attributes["kernel_size"][1], convolution.attributes["strides"][1]
    needed = (convolution.shape[1] + _wide(columns, step) - 1) * step
    return padding.attributes["padding"][1][1] + needed - padding.shape[1]


def _rewrite(graph, convolution, padding):
    image, shift = graph.source(padding), None
    if image.kind == "Affine" and graph.sole_user(image) is not None:
        image, shift = graph.source(image), image
    (height, width, channels), name, dtype = image.shape, convolution.name, padding.dtype
    last = graph.add(Node(f"{name}_rows", "Reshape", (image.name,), (height, 1, width * channels), dtype))
    if shift is not None:
        weights = {key: np.tile(shift.weights[key], width) for key in ("scale", "shift")}
        last = graph.change(shift, inputs=(last.name,), shape=last.shape, attributes={}, weights=weights)
    rows, (left, _) = padding.attributes["padding"]
    ends = (left * channels, _right_edge(convolution, padding) * channels)
    padded = (height + sum(rows), 1, width * channels + sum(ends))
    last = graph.change(
        padding, kind="RowPadding", inputs=(last.name,), shape=padded, attributes={"padding": (rows, ends)}
    )
    down, step = convolution.attributes["strides"]
    kernel = convolution.weights["kernel"]
    high, columns, _, filters = kernel.shape
    wide, numbers = _wide(columns, step), step * channels
    last = graph.add(Node(f"{name}_pixels", "Reshape", (last.name,), (padded[0], padded[2] // numbers, numbers), dtype))
    filled = np.pad(kernel, ((0, 0), (0, wide * step - columns), (0, 0), (0, 0)))
    graph.change(
        convolution,
        inputs=(last.name,),
        attributes={**convolution.attributes, "kernel_size": (high, wide), "strides": (down, 1)},
        weights={**convolution.weights, "kernel": filled.reshape(high, wide, numbers, filters)},
    )
