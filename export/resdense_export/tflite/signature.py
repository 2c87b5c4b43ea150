"""The names in a .tflite file: of its inputs and outputs, its signature, and its tensors."""

import itertools

from . import flatbuffer

INPUT, OUTPUT = "image", "output"
SIGNATURE = "serving_default"


def name_tensors(tree):
    """Names tensors by the layer and operation that made them, such as `stem_conv_1/BiasAdd`.

    The converter puts the model and everything that it fused into every name. That makes 120 characters per name in a
    DenseNet, a twentieth of an int8 file.
    """
    for graph in tree.subgraphs:
        ends = {int(number) for number in (*graph.inputs, *graph.outputs)}
        taken = {graph.tensors[number].name for number in ends}
        for number, tensor in enumerate(graph.tensors):
            if number not in ends:
                fused = tensor.name.partition(b";")[0]
                tensor.name = _free(fused.partition(b"/")[2] or fused, taken)
                taken.add(tensor.name)


def sign(tree):
    """Adds the signature, by which the quantizer calibrates and an app finds inputs and outputs by name."""
    graph, signature = tree.subgraphs[0], flatbuffer.schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs, signature.outputs = _named(INPUT, graph.inputs[0]), _named(OUTPUT, graph.outputs[0])
    tree.signatureDefs = [signature]


def _named(name, number):
    entry = flatbuffer.schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(number)
    return [entry]


def _free(name, taken):
    """`name`, or `name` with the first number added that makes it unique."""
    numbered = (name + b"_%d" % number for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)
