"""Repeats work with a smaller batch where the device's memory is short; for work whose result does not depend on the
batch."""

import tensorflow as tf

from ..errors import WorkError

_MARK = "RESOURCE_EXHAUSTED"  # JAX raises an error of its own, with this word


def halving(work, batch_size):
    """The result of `work(batch_size)`; where memory runs out, it is repeated with half the batch, down to one image.

    Raises:
        WorkError: memory runs out even with one image.
    """
    while True:
        try:
            return work(batch_size)
        except Exception as error:
            if not isinstance(error, tf.errors.ResourceExhaustedError) and _MARK not in str(error):
                raise
            if batch_size == 1:
                hint = "free memory on the device, or use smaller images"
                raise WorkError("the memory of the device does not hold the net and one image", hint) from error
        batch_size = max(1, batch_size // 2)
