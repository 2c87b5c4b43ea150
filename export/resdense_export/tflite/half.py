"""Makes a float .tflite file with every constant in float16: half the size, and computed in float16 on a phone.

Two things make such a file fast. First, XNNPACK prepares an operator's kernel once, when the file is loaded, but only
if all constants of the operator are float16 or all are float32. Where a float32 bias is beside a float16 kernel, as
after ai-edge-quantizer's `float_casting`, it prepares the kernel in every inference (docs/rewriting.md has the costs).
Second, a file whose metadata ask for it is computed in float16 where the processor can (Armv8.2's half-precision
arithmetic, in phones since about 2018). Elsewhere, and by every other runtime, it is computed in float32. Inputs and
outputs stay float32.
"""

import copy

import numpy as np

from . import flatbuffer
from .flatbuffer import schema

LARGEST = float(np.finfo(np.float16).max)  # 65,504
# Of the largest activation that was seen, below LARGEST: other images go further, and sums further than what they give.
MARGIN = 4
# The entry of the file's metadata that XNNPACK reads, and its value: float16, sums in float16 too
# (tensorflow/lite/tools/optimize/reduced_precision_metadata.h).
MARK, MARKED = b"reduced_precision_support", b"fp16accfp16"

PREPARED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")  # operators with a kernel
DEQUANTIZE, DEQUANTIZE_VERSION = schema.BuiltinOperator.DEQUANTIZE, 3  # the version that takes float16


def in_half(content, marked=True, chosen=None):
    """The float .tflite file `content` with its constants in float16, each followed by a DEQUANTIZE.

    An operator with a constant beyond 65,504, which float16 cannot hold, keeps all its constants in float32, and the
    file is not marked.

    Args:
        marked: Whether the file is marked as one that may be computed in float16.
        chosen: Numbers of the tensors to cast, for experiments; default: all.
    Returns:
        The file's bytes; the same arguments give the same bytes.
    """
    model = flatbuffer.unpack(content)
    held = True
    for graph in model.subgraphs:
        together = [_constants(model, graph, operator) for operator in graph.operators]
        beyond = _beyond(model, graph, together)
        fitting = set().union(*together) - beyond
        held = held and not beyond
        cast = fitting if chosen is None else fitting & {*chosen}
        graph.operators = list(_with_halved(model, graph, cast))
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or ()}
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None
    if marked and held:
        _mark(model)
    return flatbuffer.pack(model)


def is_marked(content):
    """Whether a .tflite file is marked as one that may be computed in float16."""
    model = schema.Model.GetRootAs(content)
    entries = (model.Metadata(i) for i in range(model.MetadataLength()))
    return any(entry.Name() == MARK for entry in entries)


def fits(activation):
    """Whether a net with this largest activation may be computed in float16."""
    return bool(MARGIN * activation < LARGEST)  # a NaN does not


def slow(graph):
    """Names of the operators of a flatbuffer.Graph whose kernels XNNPACK prepares in every inference."""
    halves = {
        number
        for operator in graph.operators
        if operator.name == "DEQUANTIZE" and all(_is(graph, i, "FLOAT16") for i in operator.inputs)
        for number in operator.outputs
    }
    return [
        operator.name
        for operator in graph.operators
        if operator.name in PREPARED
        and halves & {*operator.inputs}
        and any(_is(graph, number, "FLOAT32") for number in operator.inputs)
    ]


def _is(graph, number, kind):
    tensor = graph.tensors[number]
    return tensor.constant and tensor.type == kind


def _constants(model, graph, operator):
    """Numbers of the float32 constants that an operator reads, except one that is also an output of the net."""
    read = {int(number) for number in operator.inputs if number >= 0}
    return {
        number
        for number in read - {int(number) for number in graph.outputs}
        if graph.tensors[number].type == schema.TensorType.FLOAT32 and _values(model, graph.tensors[number]) is not None
    }


def _beyond(model, graph, together):
    """The constants that stay float32: those that float16 cannot hold, and all others of an operator that reads one."""
    stay = {number for numbers in together for number in numbers if not _holds(model, graph, number)}
    while more := set().union(*(numbers for numbers in together if numbers & stay)) - stay:
        stay |= more
    return stay


def _values(model, tensor):
    """The float32 numbers of a constant, or None for any other tensor."""
    data = model.buffers[tensor.buffer].data
    return None if data is None or not len(data) else np.frombuffer(np.asarray(data, np.uint8).tobytes(), "<f4")


def _holds(model, graph, number):
    return bool((np.abs(_values(model, graph.tensors[number])) <= LARGEST).all())


def _with_halved(model, graph, cast):
    """The operators, a DEQUANTIZE for each of the constants `cast` in front of the first that reads it.

    At the front of all they would be a piece of their own where the net begins with operators that no delegate takes.
    """
    waiting = set(cast)
    for operator in graph.operators:
        for number in sorted(waiting & {int(number) for number in operator.inputs}):
            waiting.remove(number)
            yield _halved(model, graph, number)
        yield operator


def _halved(model, graph, number):
    """Stores the constant `number` in float16; returns the DEQUANTIZE that makes it float32 again."""
    tensor, buffer = graph.tensors[number], schema.BufferT()
    stored = copy.copy(tensor)
    stored.name, stored.type = tensor.name + b"_float16", schema.TensorType.FLOAT16
    buffer.data = np.frombuffer(_values(model, tensor).astype("<f2").tobytes(), np.uint8)
    tensor.buffer, stored.buffer = 0, len(model.buffers)  # buffer 0 is the empty one
    model.buffers.append(buffer)
    graph.tensors.append(stored)
    operator = schema.OperatorT()
    operator.opcodeIndex = flatbuffer.code(model, DEQUANTIZE, DEQUANTIZE_VERSION)
    operator.inputs, operator.outputs = [len(graph.tensors) - 1], [number]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    return operator


def _mark(model):
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(MARKED, np.uint8)
    entry.name, entry.buffer = MARK, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
