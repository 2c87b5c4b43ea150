from .batches import pipeline, shift_and_mirror
from .dataset import Dataset, Split, calibration
from .images import RESIZE_RULE, decode
from .spec import NAMED, load

__all__ = ["NAMED", "RESIZE_RULE", "Dataset", "Split", "calibration", "decode", "load", "pipeline", "shift_and_mirror"]
