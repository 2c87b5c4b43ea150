"""Other people's tensors in these nets: read without running anything, mapped by structure, loaded whole or not at all.

h5py, safetensors and pooch are imported where a file asks for them.
"""

from .loading import load_weights
from .reader import read_weights
from .table import SHIPPED, WEIGHTS, ShippedSet, WeightSet, find, load_named, names

__all__ = [
    "SHIPPED",
    "WEIGHTS",
    "ShippedSet",
    "WeightSet",
    "find",
    "load_named",
    "load_weights",
    "names",
    "read_weights",
]
