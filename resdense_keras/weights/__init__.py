"""Loads other people's tensors into these nets: no code in a file is run, tensors are mapped by name and shape, and a
file is loaded completely or not at all.

h5py, safetensors and pooch are imported only where a file needs them.
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
