from .batches import naming_bad_files, pipeline, shift_and_mirror
from .dataset import Dataset, Split, calibration, in_blocks, representative
from .images import RESIZE_RULE, decode
from .spec import NAMED, is_folder, load

__all__ = [
    "NAMED",
    "RESIZE_RULE",
    "Dataset",
    "Split",
    "calibration",
    "decode",
    "in_blocks",
    "is_folder",
    "load",
    "naming_bad_files",
    "pipeline",
    "representative",
    "shift_and_mirror",
]
