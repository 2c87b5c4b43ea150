"""What the nodes of a net are in an exported file, where rewrites have folded, moved or replaced them."""

import math
from dataclasses import dataclass

from ...nets.rewriting import GRAPHS, apply

FILES = ("float", "int8")  # graphs of the files whose costs are estimated


@dataclass(frozen=True)
class Part:
    """What a node is in a file.

    Attributes:
        kind: Its kind there, see nets.node; of a carried operation the class of Keras, of an activation its name.
        places: Positions of its output; of a mean over all positions, those that it reads.
        taps: Positions that each output reads, such as 9 of a 3x3 convolution.
        wide: Channels that it reads there, for each one that it reads in the net: image_rows joins pixels.
        groups: Of a convolution.
    """

    kind: str
    places: int
    taps: int = 1
    wide: int = 1
    groups: int = 1


def exported(nodes, kinds):
    """{graph: {node: Part}} for the nodes that are left in a file of each graph in FILES.

    Args:
        nodes: Of nets.reading.
        kinds: {node: kind}, as channels.Net has them.
    """
    return {graph: _parts({node.name: node for node in nodes}, kinds, GRAPHS[graph]) for graph in FILES}


def _parts(before, kinds, passes):
    after = {node.name: node for node in apply(tuple(before.values()), passes)}
    kept = before.keys() & after.keys()  # others are new: reshapes, paddings, and the bands of a kernel that was split
    return {name: _part(before[name], after[name], kinds[name], before, after) for name in kept}


def _part(own, node, kind, before, after):
    if own.kind == "DepthwiseConv2D" and node.kind == "Add":  # of the bands of a kernel that was split
        node = own
    settings, shape, wide = node.attributes, node.shape, 1
    if node.kind == "Carried":
        return Part(kind, places_of(shape))
    if node.kind == "Activation":
        return Part(settings["activation"], places_of(shape))
    if node.kind == "GlobalAveragePooling2D":
        shape = after[node.inputs[0]].shape
    if node.kind == own.kind == "Conv2D":
        wide = after[node.inputs[0]].channels // before[own.inputs[0]].channels or 1
    taps = math.prod(settings.get("kernel_size") or settings.get("pool_size") or (1,))
    return Part(node.kind, places_of(shape), taps, wide, settings.get("groups", 1))


def places_of(shape):
    """Positions of an output, (height, width, channels) or the like; an open size counts as 1."""
    return math.prod(size or 1 for size in shape[:-1])
