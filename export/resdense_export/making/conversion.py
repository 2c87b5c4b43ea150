"""Converts a Keras model to a float .tflite file, once; quantization.py makes all other files from it.

`model.export(format="litert")` is not used. It always allows TensorFlow's own kernels (Flex), which phones lack, so a
model under a mixed precision policy silently becomes a file that only runs on a desktop. It also takes three times as
long, because the converter writes the model to the disk and reads its variables back one by one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resdense_keras import compat
from resdense_keras.errors import RequestError, first_line

from ..native_stderr import native_stderr
from ..nets.float32 import as_float32
from ..sources import image_shape
from ..tflite import flatbuffer
from ..tflite.signature import INPUT, name_tensors, sign

if TYPE_CHECKING:
    import keras


def convert(model: keras.Model, image_size: int | tuple[int, int] | None = None) -> bytes:
    """Float .tflite file of a classifier: float32 (1, H, W, C) `image` -> float32 (1, classes) `output`.

    Args:
        model: Functional or Sequential Keras model with one image input and one output, under any float dtype policy.
        image_size: Side, or (height, width), for a model that leaves its image size open.
    Returns:
        The file's bytes; the same model gives the same bytes.
    Raises:
        RequestError: the model has not exactly one input and one output, its image size is open or contradicts
            `image_size`, the backend is not TensorFlow, or a layer, which is named, needs an operator that LiteRT
            lacks.
    Example:
        >>> net = resdense_keras.resnet20_digits(weights="digits", include_preprocessing=True)
        >>> file = resdense_export.convert(net)
        >>> file[4:8]
        b'TFL3'
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
    name_tensors(tree)
    sign(tree)
    return flatbuffer.pack(tree)


def _convert_traced(model, shape):
    """The converter's file of `model` for one image of this shape, without a signature.

    For a signature the converter would write the frozen graph to a SavedModel and read it twice, which takes longer
    than everything else.
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
        compat.keep_constants_outside(converter)
        return converter.convert()
    except Exception as error:  # the converter raises its own, unexported classes
        raise RequestError(
            f"the model does not fit LiteRT's builtin operators ({_reason(error, traced.graph)})",
            "replace the layers that need these operators; phones run builtin operators only",
        ) from error


def _reason(error, graph):
    """The operators that the converter lacks, taken from its long error, and the layers of `graph` that need them."""
    missing = [line for line in str(error).splitlines() if line.startswith(("TF Select ops:", "Custom ops:"))]
    if not missing:
        return first_line(error)
    kinds = {kind for line in missing for kind in re.findall(r"\w+", line.partition(":")[2])}
    layers = dict.fromkeys(node.name.partition("/")[2] for node in graph.get_operations() if node.type in kinds)
    return "; ".join([*missing, "in " + ", ".join(layers)] if layers else missing)
