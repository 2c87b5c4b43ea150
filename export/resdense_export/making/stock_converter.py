"""The file that TensorFlow's converter makes of a model, with which ours is compared."""

import contextlib
import io

import numpy as np

from resdense_keras import compat

from ..native_stderr import native_stderr
from ..schemes import SCHEMES


def stock(model, scheme, calibration=None, accumulate=None):
    """The .tflite bytes of `TFLiteConverter.from_keras_model` with default settings for `scheme`.

    As its documentation shows (ai.google.dev/edge/litert, post-training quantization): float inputs and outputs, the
    default resolver, one whole conversion per scheme. The settings are in the scheme's row of `SCHEMES`: "optimize",
    "types" (names of TensorFlow types), "calibrated", "operators" (a name in `tf.lite.OpsSet`). `accumulate` is for
    benchmarks: the type of sums that the converter's experimental flag writes into the file.
    """
    import tensorflow as tf

    settings = SCHEMES[scheme].stock
    with native_stderr(), contextlib.redirect_stdout(io.StringIO()):  # it prints every variable that it saves
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if settings.get("optimize"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if "types" in settings:
            converter.target_spec.supported_types = [getattr(tf, name) for name in settings["types"]]
        if settings.get("calibrated"):
            converter.representative_dataset = lambda: ([image[np.newaxis].astype("float32")] for image in calibration)
        if "operators" in settings:
            converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, settings["operators"])]
        if accumulate:
            compat.accumulate_in(converter, getattr(tf, accumulate))
        return converter.convert()


def has_stock(scheme):
    """Whether TensorFlow's converter can make this scheme."""
    return SCHEMES[scheme].stock is not None
