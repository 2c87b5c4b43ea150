"""What TensorFlow's converter makes of a model by itself: the twin that ours is compared with."""

import contextlib
import io

import numpy as np

from .quiet import native_stderr


def stock(model, scheme, calibration=None):
    """The .tflite bytes of `TFLiteConverter.from_keras_model` with default settings for `scheme`.

    Float ends, the default resolver, one whole conversion a scheme, as its documentation shows
    (ai.google.dev/edge/litert, post-training quantization).
    """
    import tensorflow as tf

    with native_stderr(), contextlib.redirect_stdout(io.StringIO()):  # it prints every variable that it saves
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if scheme != "fp32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if scheme == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        if scheme == "int8":
            converter.representative_dataset = lambda: ([image[np.newaxis].astype("float32")] for image in calibration)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        return converter.convert()
