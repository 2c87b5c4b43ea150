"""A Keras model -> a float .tflite file, once; quantization.py makes every other file from that one.

`model.export(format="litert")` is not used: it always allows TensorFlow's own kernels (Flex), which a phone lacks, so a
model under a mixed precision policy silently becomes a file that only a desktop runs; and it takes three times as long,
because the converter writes the model to the disk and reads its variables back one by one.
"""

import itertools
import re
import tempfile
from pathlib import Path

from resdense_keras.errors import RequestError

from . import flatbuffer
from .quiet import native_stderr

INPUT, OUTPUT = "image", "output"  # the names in the file's signature
SIGNATURE = "serving_default"


def convert(model, image_size=None):
    """Float .tflite file of a classifier: float32 (1, H, W, C) `image` -> float32 (1, classes) `output`.

    Args:
        model: Functional or Sequential Keras model with one image input and one output, under any float dtype policy.
        image_size: Side, or (height, width), for a model that leaves its image size open.
    Returns:
        The file's bytes; the same model gives the same bytes.
    Raises:
        RequestError: not one input and one output, an open or contradicting image size, not on TensorFlow; a layer
            needs an operator that LiteRT does not have: it is named.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise RequestError(
            f"export runs on Keras' TensorFlow backend, this process uses {keras.backend.backend()}",
            "set KERAS_BACKEND=tensorflow before Python starts",
        )
    shape = image_shape(model, image_size)
    with native_stderr():
        tree = flatbuffer.unpack(_convert_traced(as_float32(model), shape))
    _name_tensors(tree)
    _sign(tree)
    return flatbuffer.pack(tree)


def image_shape(model, image_size=None):
    """(H, W, C) of the file's input: the model's own, its open sizes filled from `image_size`."""
    inputs, outputs = ([end.name for end in getattr(model, side, None) or ()] for side in ("inputs", "outputs"))
    if (len(inputs), len(outputs)) != (1, 1):
        named = f"; its inputs are {', '.join(inputs)}, its outputs {', '.join(outputs)}" if inputs else ""
        name = getattr(model, "name", model)
        raise RequestError(
            f"model {name!r} is not a built Functional model with one input and one output{named}",
            "export a classifier: one image in, one vector of probabilities out",
        )
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) != 3 or shape[2] is None:
        raise RequestError(f"the model's input has shape {shape}; an image is (height, width, channels)")
    if image_size is None:
        if None in shape:
            raise RequestError(
                f"the model's input has shape {shape}: phones need a fixed image size", "pass --image-size, such as 224"
            )
        return shape
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or any(own not in (None, asked) for own, asked in zip(shape, size, strict=False)):
        raise RequestError(f"image size {image_size} was given; the model takes {shape[:2]}", "leave --image-size out")
    return (*size, shape[2])


def as_float32(model):
    """`model`, or a float32 copy of it where a layer computes in another type.

    The copy has the same weights. Batch norms and the head of a net that was trained in 16 bits compute in 32 then,
    as they will on the phone.
    """
    import keras

    if all(layer.compute_dtype == "float32" for layer in _layers(model)):
        return model
    quantized = [layer.name for layer in _layers(model) if getattr(layer, "quantization_mode", None)]
    if quantized:
        raise RequestError(
            f"layer {quantized[0]!r} was quantized by Keras", "export the float model; --schemes quantizes"
        )

    def in_float32(operation):
        if not isinstance(operation, keras.layers.Layer):
            return operation  # keras.ops in the graph have no type of their own
        return type(operation).from_config({**operation.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=in_float32, recursive=True)
    with tempfile.TemporaryDirectory() as folder:  # through a file: some layers derive state while they load
        model.save_weights(Path(folder) / "all.weights.h5")
        copy.load_weights(Path(folder) / "all.weights.h5")
    return copy


def _layers(model):
    """Every layer of `model`, those of nested models included."""
    for layer in model.layers:
        yield layer
        yield from _layers(layer) if hasattr(layer, "layers") else ()


def _convert_traced(model, shape):
    """The converter's file of `model` at one image of this shape, without a signature.

    The converter would write the frozen graph to a SavedModel and read it twice, which takes longer than all the rest;
    all that it gains is the signature.
    """
    import tensorflow as tf

    ends = [tf.TensorSpec((1, *shape), tf.float32, name=INPUT)]
    net = tf.function(lambda image: tf.cast(model(image, training=False), tf.float32), input_signature=ends)
    traced = net.get_concrete_function()
    try:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], model)
        converter.experimental_lower_to_saved_model = False
        # Constants come behind the flatbuffer then, as they do in files over 2 GB, and the converter leaves out reading
        # the file in Python to find equal ones, which `flatbuffer.pack` does: a tenth of the time.
        converter._experimental_use_buffer_offset = True
        return converter.convert()
    except Exception as error:  # the converter raises its own, unexported classes
        raise RequestError(
            f"the model does not fit LiteRT's builtin operators ({_reason(str(error), traced.graph)})",
            "replace the layers that need these operators; phones run builtin operators only",
        ) from error


def _name_tensors(tree):
    """Names tensors by the layer and operation that made them, such as `stem_conv_1/BiasAdd`.

    The converter puts the model and everything that it fused into every name, 120 characters for one of DenseNet's: a
    twentieth of an int8 file.
    """
    for graph in tree.subgraphs:
        ends = {int(number) for number in (*graph.inputs, *graph.outputs)}
        taken = {graph.tensors[number].name for number in ends}
        for number, tensor in enumerate(graph.tensors):
            if number not in ends:
                fused = tensor.name.partition(b";")[0]
                tensor.name = _free(fused.partition(b"/")[2] or fused, taken)
                taken.add(tensor.name)


def _sign(tree):
    """Gives the file its signature, through which the quantizer calibrates and an app finds the ends by name."""
    graph, signature = tree.subgraphs[0], flatbuffer.schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs, signature.outputs = _named(INPUT, graph.inputs[0]), _named(OUTPUT, graph.outputs[0])
    tree.signatureDefs = [signature]


def _named(name, number):
    entry = flatbuffer.schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(number)
    return [entry]


def _free(name, taken):
    """`name`, or with the first number behind it that makes it new."""
    numbered = (name + b"_%d" % number for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)


def _reason(report, graph):
    """What the converter lacks by its page of text, and the layers of `graph` that need it."""
    missing = [line for line in report.splitlines() if line.startswith(("TF Select ops:", "Custom ops:"))]
    if not missing:
        return report.strip().splitlines()[0][:200]
    kinds = {kind for line in missing for kind in re.findall(r"\w+", line.partition(":")[2])}
    layers = dict.fromkeys(node.name.partition("/")[2] for node in graph.get_operations() if node.type in kinds)
    return "; ".join([*missing, "in " + ", ".join(layers)] if layers else missing)
