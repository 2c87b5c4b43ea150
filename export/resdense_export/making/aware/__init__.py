"""Aware training, which takes into account what a file will lose: quantization-aware training and magnitude pruning.

tensorflow-model-optimization does both. It takes only tf_keras models, changes what `tf.keras` means for its whole
process, and refuses DenseNets because of their batch norms, which the rewritten graph does not have. So a child process
builds that graph in tf_keras and trains it (worker.py). It returns only arrays; conversion and quantization are the
same as for other files.
"""

from .methods import METHODS, Method
from .parent import check_known, train_aware

__all__ = ["METHODS", "Method", "check_known", "train_aware"]
