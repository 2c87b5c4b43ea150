"""Gives any .tflite file a uint8 input tensor for camera frames: adds one CAST in front and leaves the rest
unchanged."""

import copy

from ai_edge_litert import schema_py_generated as schema

from . import flatbuffer

CAST, CAST_VERSION = schema.BuiltinOperator.CAST, 1


def with_uint8_input(content):
    """The .tflite file `content`, which has one float32 input, with a uint8 input instead, which is cast to float32."""
    model = flatbuffer.unpack(content)
    graph = model.subgraphs[0]
    (floating,) = (int(number) for number in graph.inputs)
    given = len(graph.tensors)
    pixels = copy.copy(graph.tensors[floating])
    pixels.type, pixels.buffer = schema.TensorType.UINT8, 0  # buffer 0 is the empty one
    graph.tensors[floating].name += b"_float32"
    graph.tensors.append(pixels)
    graph.inputs = [given]
    graph.operators.insert(0, _cast(model, given, floating))
    for signature in model.signatureDefs or ():
        for end in signature.inputs:
            end.tensorIndex = given if end.tensorIndex == floating else end.tensorIndex
    return flatbuffer.pack(model)


def _cast(model, given, floating):
    operator, options = schema.OperatorT(), schema.CastOptionsT()
    options.inDataType, options.outDataType = schema.TensorType.UINT8, schema.TensorType.FLOAT32
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.CastOptions, options
    operator.opcodeIndex = flatbuffer.code(model, CAST, CAST_VERSION)
    operator.inputs, operator.outputs = [given], [floating]
    return operator
