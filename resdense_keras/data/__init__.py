"""Data for training and measuring: a spec becomes splits, a split becomes batches; one function decodes every image.

    dataset = load("digits")
    for images, labels in pipeline(dataset.train, 128, augment=shift_and_mirror(pad=1, mirror=False)): ...

Only `pipeline` and `shift_and_mirror` need TensorFlow, which is imported with the first use of either.
"""

from resdense_keras.data.dataset import Dataset, Split, calibration
from resdense_keras.data.images import RESIZE_RULE, decode
from resdense_keras.data.spec import NAMED, load

__all__ = ["NAMED", "RESIZE_RULE", "Dataset", "Split", "calibration", "decode", "load", "pipeline", "shift_and_mirror"]


def __getattr__(name):
    if name in ("pipeline", "shift_and_mirror"):
        from resdense_keras.data import batches

        return getattr(batches, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
