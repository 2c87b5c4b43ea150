"""How much memory is free, to decide before the work what fits.

The environment variable RESDENSE_FREE_BYTES replaces the free memory that is found here. Set to a small number it keeps
every image folder on disk; tests and benchmarks/memory.py use it that way.
"""

import os

from resdense_keras.data import cgroups
from resdense_keras.errors import RequestError

VARIABLE = "RESDENSE_FREE_BYTES"

# Of the free memory, for the pixels of a data set. Reading, splitting and TensorFlow's own copies (tf.constant of an
# array takes two, the optimizer of tf.data a third) hold them up to four times.
SHARE = 0.2


def most_pixel_bytes():
    """Bytes up to which the pixels of a data set are held in memory."""
    return int(SHARE * available_bytes())


def available_bytes():
    """Bytes of memory that this process can still take: the machine's free memory, or the container's if that is less.

    Raises:
        RequestError: RESDENSE_FREE_BYTES is set and is not a whole number of bytes.
    """
    told = os.environ.get(VARIABLE)
    if told:
        if not told.isascii() or not told.isdigit():
            raise RequestError(f"{VARIABLE}={told} is set; it must be a whole number of bytes", f"unset {VARIABLE}")
        return int(told)
    import psutil

    limits = [psutil.virtual_memory().available]
    if (left := cgroups.free_bytes()) is not None:
        limits.append(left)
    return min(limits)
