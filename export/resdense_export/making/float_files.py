"""The float .tflite files of a model, one per graph; every scheme is quantized from one of them."""

from ..nets.emitting import emit
from ..nets.float32 import as_float32
from ..nets.reading import read
from ..nets.rewriting import GRAPHS, apply
from ..nets.rewriting.image_rows import image_rows
from .conversion import convert


def float_nodes(model, graph):
    """The nodes of the rewritten `model` in float32, from which the files of a graph in GRAPHS are made."""
    return apply(read(as_float32(model)), GRAPHS[graph])


def float_files(model):
    """A function {name in GRAPHS} -> float .tflite bytes of the rewritten `model`.

    Each graph is converted when it is first asked for; equal graphs are converted only once. A second argument, a
    function nodes -> nodes, changes the weights of the rewritten nodes; such a file is converted every time.
    """
    source, files = read(as_float32(model)), {}

    def made(graph, change=None):
        nodes = apply(source, GRAPHS[graph])
        if change is not None:
            nodes = image_rows(change(nodes)).nodes  # changes nothing where the graph has rows
            return convert(emit(nodes, model.name))
        layout = tuple((node.name, node.kind) for node in nodes)
        if layout not in files:
            files[layout] = convert(emit(nodes, model.name))
        return files[layout]

    return made
