"""What a file is compared with: the Keras model's own outputs."""

import numpy as np

from ..nets.float32 import as_float32


def predictions(model, images):
    """Probabilities (N, classes) of the Keras model in float32, the reference that files are compared with."""
    return as_float32(model).predict(images, batch_size=64, verbose=0).reshape(len(images), -1)


def span(outputs):
    """How much wider outputs lie than the 0 to 1 of probabilities, at least 1: the limits for logits grow with it."""
    return max(1.0, float(np.ptp(outputs)))
