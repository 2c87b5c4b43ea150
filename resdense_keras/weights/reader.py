"""The only reader of other people's files: it reads only tensors, and headers before bytes.

Any fault in any format raises one RequestError that names the file, the tensor and the reason.
"""

import contextlib
import math
import os
from pathlib import Path

import numpy as np

from ..errors import RequestError
from .archives import NpzFile, SafetensorsFile
from .hdf5 import Hdf5File
from .headers import refusal

FORMATS = {".h5": Hdf5File, ".hdf5": Hdf5File, ".keras": Hdf5File, ".npz": NpzFile, ".safetensors": SafetensorsFile}
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
PICKLED = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")

# Trained weights hardly compress (by a tenth), freshly initialized ones a little: a file that declares far more than it
# holds is a bomb. The slack lets small files be all zeros.
INFLATION, SLACK_BYTES = 16, 32 << 20
ITEM_BYTES = {"bfloat16": 2}


def read_weights(path):
    """All tensors of a file, whatever their purpose.

    Args:
        path: A .weights.h5, .h5, .keras, .npz or .safetensors file. Nothing in it is run or deserialized.
    Returns:
        {name: array}, names as the file has them.
    Raises:
        RequestError (a ValueError): anything is wrong with the file, such as a tensor that is not finite.
    """
    with opened(path) as file:
        return {name: file.read(name) for name in file.headers}


@contextlib.contextmanager
def opened(path):
    """A WeightFile for the body of a `with`; its headers are read and checked, its tensors are not read yet."""
    path = _existing(path)
    with _explained(path):
        file = _format(path)(path)
    try:
        _check_declared_bytes(path, file.headers)
        yield WeightFile(path, file)
    finally:
        file.close()


class WeightFile:
    """A file with `headers` {name: Header}, and `read(name)` for a tensor's checked array."""

    def __init__(self, path, file):
        self.path, self.headers, self._file = path, file.headers, file

    def attributes(self):
        """The attributes that make an HDF5 file a model, see Hdf5File.attributes."""
        with _explained(self.path):
            return self._file.attributes()

    def read(self, name):
        with _explained(self.path, name):
            array = self._file.read(name)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise refusal(self.path, f"{np.count_nonzero(~np.isfinite(array))} of its values are not finite", name)
        return array


def _existing(path):
    if not isinstance(path, (str, os.PathLike)):
        raise RequestError(f"weights={path!r} was given; it must be the path of a file")
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in PICKLED:
        raise RequestError(
            f"cannot load {path}: pickled files can run any code and are never opened",
            "save the state dict with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
        )
    if suffix not in FORMATS and not (path.is_file() and _is_hdf5(path)):
        raise RequestError(
            f"cannot load {path}: its format is unknown; known: {', '.join(FORMATS)}",
            "names of published weights belong to the nets of the catalogue, e.g. resnet50(weights='imagenet')",
        )
    if not path.is_file():
        raise RequestError(f"cannot load {path}: there is no such file", "check the path")
    return path


def _format(path):
    """The class that reads the file. HDF5 is recognized by its first bytes, because older Keras wrote it under any
    name."""
    return Hdf5File if _is_hdf5(path) else FORMATS[path.suffix.lower()]


def _is_hdf5(path):
    with path.open("rb") as file:
        return file.read(len(HDF5_MAGIC)) == HDF5_MAGIC


@contextlib.contextmanager
def _explained(path, tensor=None):
    """Turns any error of a format's library into the RequestError."""
    try:
        yield
    except RequestError:
        raise
    except Exception as error:
        raise refusal(path, f"{type(error).__name__}: {str(error)[:300]}", tensor) from error


def _check_declared_bytes(path, headers):
    """Refuses a file that would fill the memory, before anything is unpacked."""
    items = ((math.prod(header.shape), header.dtype) for header in headers.values())
    declared = sum(count * (ITEM_BYTES.get(dtype) or np.dtype(dtype).itemsize) for count, dtype in items)
    allowed = INFLATION * path.stat().st_size + SLACK_BYTES
    if declared > allowed:
        raise refusal(path, f"it holds {path.stat().st_size:,} bytes and declares {declared:,}")
