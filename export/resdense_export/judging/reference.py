"""The outputs of the Keras model, with which files are compared."""

import numpy as np

from resdense_keras.data import in_blocks

from ..nets.float32 import as_float32

BATCH = 64


def predictions(model, images):
    """Probabilities (N, classes) of the Keras model in float32, the reference that files are compared with.

    Args:
        images: (N, H, W, C): an array, or images on disk, which are read a block at a time.
    """
    net, found = as_float32(model), []
    for block in in_blocks(images):
        found.append(net.predict(block, batch_size=BATCH, verbose=0).reshape(len(block), -1))
    return np.concatenate(found)


def span(outputs):
    """Span of the outputs, at least 1 (that of probabilities); the limits for logits grow with it."""
    return max(1.0, float(np.ptp(outputs)))
