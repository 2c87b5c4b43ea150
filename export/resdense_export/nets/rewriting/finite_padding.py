"""Padding that int8 survives."""

from .editing import Editor
from .padding import is_nonnegative


def finite_padding(nodes):
    """Replaces padding with -inf before max pooling by one that int8 survives.

    Why: in int8 the lowest float takes the whole range of the tensor, and no other number can be told apart.
    Pattern: LowestPadding2D -> MaxPooling2D. After a ReLU zeros are the lowest values, so they replace it exactly.
    Elsewhere the border is mirrored: each mirrored pixel is in the same window as the one that it repeats, so the
    maximum stays the same, as long as the padding is at most half a window.
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


def _mirrors(pad, pool):
    return all(
        2 * max(widths) <= window
        for widths, window in zip(pad.attributes["padding"], pool.attributes["pool_size"], strict=True)
    )
