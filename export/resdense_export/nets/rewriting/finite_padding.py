"""Padding that int8 survives."""

from .editing import Editor
from .padding import is_nonnegative


def finite_padding(nodes):
    """Replaces padding with -inf before max pooling by one that int8 survives.

    Why: in int8 the lowest float takes the whole range of the tensor, and no other number can be told apart.
    Pattern: LowestPadding2D -> MaxPooling2D, where each window holds a pixel of the image. After a ReLU zeros are the
    lowest values, so they replace it exactly. Elsewhere the border is mirrored: each mirrored pixel is in the same
    window as the one that it repeats, so the maximum stays the same, as long as the padding is at most half a window
    and the pooling pads nothing itself, which would cut windows off.
    """
    graph = Editor(nodes)
    for pad in graph.kinds("LowestPadding2D"):
        readers = graph.users(pad)
        if any(reader.kind != "MaxPooling2D" for reader in readers):
            graph.kept(pad, "something else than max pooling reads it")
        elif not all(_reaches_image(pad, reader) for reader in readers):
            graph.kept(pad, "a window holds nothing but padding")
        elif is_nonnegative(graph, graph.source(pad)):
            graph.change(pad, kind="ZeroPadding2D", attributes={"padding": pad.attributes["padding"]})
            graph.changed(pad)
        elif all(_mirrors(pad, reader, graph.source(pad)) for reader in readers):
            graph.change(pad, kind="MirrorPadding2D", attributes={"padding": pad.attributes["padding"]})
            graph.changed(pad)
        else:
            graph.kept(pad, "the padding is wider than half a window or the image, or the pooling pads too")
    return graph.done()


def _reaches_image(pad, pool):
    """Whether each window holds a pixel of the image; "same" cuts off up to half a window."""
    same = pool.attributes["padding"] == "same"
    return all(max(widths) < window - same * (window // 2) for widths, window in _sides(pad, pool))


def _mirrors(pad, pool, image):
    sides = zip(pad.attributes["padding"], image.shape[:2], strict=True)
    fits = all(size is None or max(widths) <= size for widths, size in sides)  # more cannot be mirrored
    short = all(2 * max(widths) <= window for widths, window in _sides(pad, pool))
    return fits and short and pool.attributes["padding"] == "valid"


def _sides(pad, pool):
    """(padding before and after, window) of rows and of columns."""
    return zip(pad.attributes["padding"], pool.attributes["pool_size"], strict=True)
