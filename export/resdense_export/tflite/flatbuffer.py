"""Reads the operators and tensors of a .tflite file with the schema in ai-edge-litert, and writes changed files.

The generated classes trust every offset in the file. `read` checks everything that the gates use, and other people's
files are read in the child process of child.py. `unpack` and `pack` are only for files that this run has made.
"""

from dataclasses import dataclass, field

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

NAME = 200  # characters of a tensor's name that `read` gives
ALIGNMENT = 16  # bytes, of constants: what the schema asks for (`force_align`) and Python's generated code forgets


def _names(enum):
    """{value: name} of one of the schema's enumerations."""
    return {value: name for name, value in vars(enum).items() if not name.startswith("_")}


OPERATORS = _names(schema.BuiltinOperator)
TYPES = _names(schema.TensorType)


@dataclass(frozen=True)
class Tensor:
    """`signature` is the shape with -1 for an open size. `scales` holds (smallest, largest)."""

    name: str
    type: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    scales: tuple[float, ...] = ()
    zero_point: int = 0
    constant: bool = False


@dataclass(frozen=True)
class Operator:
    """`name` is that of a builtin, such as CONV_2D, or CUSTOM:<its own name>; inputs and outputs are tensor numbers."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """One subgraph of the file; the first is the net."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tensors: tuple[Tensor, ...] = field(repr=False)
    operators: tuple[Operator, ...] = field(repr=False)


def read(content):
    """Tuple of the graphs of a .tflite file given as bytes; weights are not read.

    Raises:
        ValueError: it is not a .tflite file, has no graph, or an index points nowhere. A damaged file may also raise
            other errors, or never return.
    """
    if len(content) < 8 or not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ValueError("not a .tflite file")
    model = schema.Model.GetRootAs(content)
    codes = [_operator_name(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    graphs = tuple(_graph(model, model.Subgraphs(i), codes) for i in range(model.SubgraphsLength()))
    if not graphs:
        raise ValueError("the file holds no graph")
    return graphs


def count(graphs):
    """{operator name: count} over all graphs, the most frequent first."""
    found = [operator.name for graph in graphs for operator in graph.operators]
    return {name: found.count(name) for name in sorted(set(found), key=lambda name: (-found.count(name), name))}


def unpack(content):
    """The file as a tree of schema objects that may be changed, with its constants."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    for buffer in model.buffers:
        if buffer.offset > 1:  # the quantizer writes constants behind the flatbuffer
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    # Such a file says where its constants are, and a reader of one that is only in memory refuses them.
    model.metadata = [entry for entry in model.metadata or () if entry.name != b"buffer_location"]
    return model


def pack(model):
    """The bytes of a tree from `unpack`, without constants that nothing names; the same tree gives the same bytes.

    Where a tensor was given another buffer, the former one stays in the tree, but not in the file.
    """
    named = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    named |= {entry.buffer for entry in model.metadata or ()}
    buffers = model.buffers
    model.buffers = [buffer if number in named else schema.BufferT() for number, buffer in enumerate(buffers)]
    try:
        size = sum(buffer.data.nbytes for buffer in model.buffers if buffer.data is not None)
        builder = _SharingBuilder(size + (1 << 16))
        builder.Finish(model.Pack(builder), b"TFL3")
    finally:
        model.buffers = buffers
    return bytes(builder.Output())


def code(model, builtin, version):
    """Index of a builtin among the operator codes of an unpacked file; adds it where it is missing."""
    for index, known in enumerate(model.operatorCodes):
        if known.builtinCode == builtin and known.version >= version:
            return index
    added = schema.OperatorCodeT()
    added.builtinCode = added.deprecatedBuiltinCode = builtin
    added.version = version
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal vectors only once, and aligns byte vectors (constants) so that kernels can load whole registers from
    them.

    An int8 file has a zero point of eight bytes for each channel of each weight and bias, and all are 0.
    """

    def __init__(self, size):
        super().__init__(size)
        self.written = {}

    def CreateNumpyVector(self, x):
        key = x.dtype.str, x.tobytes()
        if key not in self.written:
            if x.dtype == np.uint8:
                self.Prep(ALIGNMENT, x.nbytes)
            self.written[key] = super().CreateNumpyVector(x)
        return self.written[key]


def _graph(model, subgraph, codes):
    tensors = tuple(_tensor(model, subgraph.Tensors(i)) for i in range(subgraph.TensorsLength()))
    operators = []
    for i in range(subgraph.OperatorsLength()):
        operator = subgraph.Operators(i)
        inputs = _indices(operator.Inputs, operator.InputsLength(), len(tensors))
        outputs = _indices(operator.Outputs, operator.OutputsLength(), len(tensors))
        operators.append(Operator(codes[operator.OpcodeIndex()], inputs, outputs))
    return Graph(
        inputs=_indices(subgraph.Inputs, subgraph.InputsLength(), len(tensors)),
        outputs=_indices(subgraph.Outputs, subgraph.OutputsLength(), len(tensors)),
        tensors=tensors,
        operators=tuple(operators),
    )


def _operator_name(listed):
    # Files older than 2020 hold the code in another byte; the larger of the two counts.
    number = max(listed.BuiltinCode(), listed.DeprecatedBuiltinCode())
    if number not in OPERATORS:
        return f"CUSTOM:builtin {number}"
    if OPERATORS[number] != "CUSTOM":
        return OPERATORS[number]
    return "CUSTOM:" + (listed.CustomCode() or b"?").decode("utf-8", "replace")[:80]


def _tensor(model, tensor):
    shape = tuple(tensor.Shape(i) for i in range(tensor.ShapeLength()))
    signature = tuple(tensor.ShapeSignature(i) for i in range(tensor.ShapeSignatureLength()))
    buffer = model.Buffers(tensor.Buffer())
    quantization = tensor.Quantization()
    scales = [] if quantization is None else [quantization.Scale(i) for i in range(quantization.ScaleLength())]
    return Tensor(
        name=(tensor.Name() or b"").decode("utf-8", "replace")[:NAME],
        type=TYPES.get(tensor.Type(), f"type {tensor.Type()}"),
        shape=shape,
        signature=signature or shape,
        scales=_ends(scales),
        zero_point=quantization.ZeroPoint(0) if scales and quantization.ZeroPointLength() else 0,
        constant=buffer is not None and (buffer.DataLength() > 0 or buffer.Offset() > 1),
    )


def _ends(scales):
    """(smallest, largest), or () where there are none; NaN counts as the largest, because `min` and `max` could miss
    it."""
    if not scales:
        return ()
    return min(scales), next((scale for scale in scales if scale != scale), max(scales))


def _indices(get, length, tensors):
    """Tensor numbers of a vector in the file, without the -1 of a missing optional input."""
    numbers = tuple(int(get(i)) for i in range(length))
    for number in numbers:
        if not -1 <= number < tensors:
            raise ValueError(f"tensor {number} is used, the graph has {tensors}")
    return tuple(number for number in numbers if number >= 0)
