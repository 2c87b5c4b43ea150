"""Makes a training repeat to the bit: TensorFlow runs one operation at a time.

TensorFlow's own switch (`enable_op_determinism`) is not enough on several cores. The gradients of a variable that a net
reads in three or more places, or of a map that three or more operations read, are added by AddN. To save memory AddN
writes its sum over the first of its inputs that no other operation still has to read, and begins the sum with that
input (tensorflow/core/kernels/aggregate_ops.h). Where several threads run operations at the same time, the clock
decides which readers have finished. So it also decides the order of the sum, and its rounding. Measured by repeating
one step of ResNet-20 at full width, batch 128: the gradient differed in 23 of 59 repetitions. It differed in none with
a chain of additions in place of AddN (and the optimizer that turns such a chain into AddN switched off), and in none
with one operation at a time. Each operation still uses all cores, so this costs little (`benchmarks/train.py`). XLA,
and therefore JAX, adds in the order of its program.
"""

import os

from ..errors import RequestError

THREADS_VARIABLE = "TF_NUM_INTEROP_THREADS"  # TensorFlow's own, read where a program sets no number


def be_deterministic() -> None:
    """Makes TensorFlow's operations repeatable to the bit for the rest of this process; training gets a little slower.

    Raises:
        RequestError: TensorFlow has already started several threads.
    """
    import tensorflow as tf

    threading = tf.config.threading
    if 1 not in (threading.get_inter_op_parallelism_threads(), _from_environment()):
        try:
            threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            raise RequestError(
                "a run that repeats to the bit needs TensorFlow to run one operation at a time, but TensorFlow has "
                "already started to run several",
                "call resdense_keras.training.be_deterministic() before anything else uses TensorFlow, or set "
                f"{THREADS_VARIABLE}=1 in the environment of the process",
            ) from None
    tf.config.experimental.enable_op_determinism()


def _from_environment():
    text = os.environ.get(THREADS_VARIABLE, "")
    return int(text) if text.isdigit() else None
