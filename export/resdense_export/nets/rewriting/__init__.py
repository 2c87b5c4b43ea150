"""Exact rewrites of a net before it is converted: one per file, each a function nodes -> Rewrite.

`GRAPHS` lists the passes of each graph in their order. There are two graphs: one for fp32, fp16 and dynamic files, and
one for int8, which has its own pooling. Schemes with training have graphs of their own without maxima and rows, which
tf_keras' tools do not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resdense_keras.errors import unknown

from ..emitting import emit
from ..reading import read
from .as_depthwise import as_depthwise
from .as_maximum import as_maximum
from .balance import balance
from .delegate_strides import delegate_strides
from .drop_identities import drop_identities
from .editing import Rewrite
from .finite_padding import finite_padding
from .fold_back import fold_back
from .fold_forward import fold_forward
from .fuse_padding import fuse_padding
from .image_rows import image_rows
from .plain_rectifiers import plain_rectifiers
from .pool_as_depthwise import pool_as_depthwise
from .pool_first import pool_first
from .split_kernels import split_kernels
from .zero_bounds import zero_bounds

if TYPE_CHECKING:
    import keras

_COMMON = (
    drop_identities,
    fuse_padding,
    finite_padding,
    delegate_strides,
    fold_back,
    fold_forward,
    pool_first,
    fold_back,  # again: pooling that moved has made new neighbours
)
_NORMS = (balance, zero_bounds, as_maximum, as_depthwise)
GRAPHS = {
    "float": (*_COMMON, *_NORMS, split_kernels, image_rows),
    "int8": (*_COMMON, *_NORMS, plain_rectifiers, pool_as_depthwise, split_kernels, image_rows),
    "trained": (*_COMMON, as_depthwise),
    "trained-int8": (*_COMMON, as_depthwise, pool_as_depthwise),
}


def rewrite(model: keras.Model, graph: str = "float") -> keras.Model:
    """An equal model that phones run faster.

    Args:
        model: Functional or Sequential Keras model; not changed.
        graph: A name in GRAPHS, such as "float", or "int8" for a model that is quantized afterwards.
    Returns:
        Functional model with the same inputs and outputs, in order, shape and value.
    Raises:
        RequestError: the graph is unknown, the model is not a graph of layers, or a layer, which is named, cannot be
            copied.
    Example:
        >>> net = resdense_keras.resnet20_digits()
        >>> equal = resdense_export.rewrite(net)
        >>> equal.output_shape, len(net.layers), len(equal.layers)
        ((None, 10), 71, 55)
    """
    if graph not in GRAPHS:
        raise unknown("graph", graph, GRAPHS)
    return emit(apply(read(model), GRAPHS[graph]), model.name)


def apply(nodes, passes):
    """The nodes after all passes, one after the other."""
    for change in passes:
        nodes = change(nodes).nodes
    return nodes
