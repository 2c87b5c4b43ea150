"""What makes a training repeat to the bit: TensorFlow with one thread for whole operations.

TensorFlow's own switch (`enable_op_determinism`) is not enough on several cores. The gradients of a variable that a net
reads in three or more places, or of a map that three or more operations read, are added by AddN. To save memory AddN
writes its sum over the first of its inputs that nobody else will read any more, and begins the sum with that one
(tensorflow/core/kernels/aggregate_ops.h). With several threads that run operations beside each other, who has finished
reading depends on the clock, so the order of the sum, and its rounding, do too. Measured with ResNet-20 at full width,
batch 128, the same step again and again: another gradient in 23 of 59 repetitions; with a chain of additions in place
of AddN (and the optimizer that makes AddN of such a chain switched off) in none; with one thread for whole operations
in none. Each operation still uses all cores, so this costs little (`benchmarks/train.py`). XLA, and so JAX, adds in the
order of its program.
"""

import os

from ..errors import RequestError

THREADS_VARIABLE = "TF_NUM_INTEROP_THREADS"  # TensorFlow's own, read where a program sets no number


def be_deterministic() -> None:
    """Makes TensorFlow's operations repeat to the bit for the rest of this process; training gets a little slower.

    Raises:
        RequestError: TensorFlow has started its threads already, and several of them.
    """
    import tensorflow as tf

    threading = tf.config.threading
    if 1 not in (threading.get_inter_op_parallelism_threads(), _from_environment()):
        try:
            threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            raise RequestError(
                "what repeats to the bit needs TensorFlow to run one operation at a time, and TensorFlow has already "
                "started to run several",
                "call resdense_keras.training.be_deterministic() before anything else uses TensorFlow, or set "
                f"{THREADS_VARIABLE}=1 in the environment of the process",
            ) from None
    tf.config.experimental.enable_op_determinism()


def _from_environment():
    text = os.environ.get(THREADS_VARIABLE, "")
    return int(text) if text.isdigit() else None
