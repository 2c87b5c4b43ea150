"""Training that knows what a file will lose: quantization-aware training and magnitude pruning.

tensorflow-model-optimization does both. It takes tf_keras models only, changes what `tf.keras` means for its whole
process, and refuses DenseNets for their batch norms; the rewritten graph has none. So a child process builds that graph
in tf_keras and trains it (worker.py), and only arrays come back: convolutions, conversion and quantization stay ours.
"""

from .methods import METHODS, Method
from .parent import check_known, train_aware

__all__ = ["METHODS", "Method", "check_known", "train_aware"]
