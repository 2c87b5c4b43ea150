"""Data that come as arrays: the named data sets and .npz files."""

import contextlib
import math
import sys
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resdense_keras.data.memory import most_pixel_bytes
from resdense_keras.data.source import Source
from resdense_keras.errors import RequestError, WorkError

MOST_LABEL = 99_999  # a larger one is a mistake, and the model would not fit into memory
# zlib packs a constant image 1,000 times, a photo 1 to 3 times: beyond this a small file would fill the memory.
MOST_INFLATION = 200
ALWAYS_FINE_BYTES = 64 * 2**20

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def read_digits():
    """scikit-learn's 1,797 scans of 8 x 8 pixels, their values of 0 to 16 scaled to 0 to 255. They come with
    scikit-learn, so no network is needed."""
    from sklearn.datasets import load_digits  # 1 s, for those who ask for it

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    return Source(
        labels=digits.target.astype(np.int64),
        image_shape=images.shape[1:],
        given=(len(images), 0, 0),
        class_names=tuple("0123456789"),
        images=images,
        mirror=False,
    )


def read_keras(name, class_names):
    """A data set that Keras downloads once into ~/.keras/datasets.

    Raises:
        WorkError: the download failed.
    """
    import keras  # with its backend: seconds

    try:
        with contextlib.redirect_stdout(sys.stderr):  # its progress bar; stdout is for results
            train, test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception for a failed download
        hint = f"get the images elsewhere and pass a .npz with {', '.join(_ARRAYS)}"
        raise WorkError(f"{name} could not be downloaded: {error}", hint) from error
    return _from_arrays(name, dict(zip(_ARRAYS, (*train, *test), strict=True)), class_names)


def read_npz(path):
    """A .npz with x_train, x_test (uint8, NHWC or NHW) and y_train, y_test (integers, N or N x 1).

    The headers are checked before any pixel is read: no Python objects, a size that fits into free memory, and above
    ALWAYS_FINE_BYTES at most MOST_INFLATION times the size of the file.

    Raises:
        RequestError: the file is not such an .npz; names the array and the reason.
    """
    path = Path(path)
    try:
        _check_size(path, _read_headers(path))
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _ARRAYS}
    except RequestError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise RequestError(f"{path} cannot be read as .npz: {error}", "write it again with numpy.savez") from error
    return _from_arrays(path, arrays, None)


@dataclass(frozen=True)
class _Header:
    shape: tuple
    dtype: np.dtype

    @property
    def nbytes(self):
        return math.prod(self.shape) * self.dtype.itemsize  # Python's integers do not overflow as NumPy's do


def _read_headers(path):
    """{name: _Header} of the four arrays, from the first bytes of each."""
    with zipfile.ZipFile(path) as archive:
        inside = [name.removesuffix(".npy") for name in archive.namelist()]
        missing = [name for name in _ARRAYS if name not in inside]
        if missing:
            message = f"{path} has no {', '.join(missing)}; it has {', '.join(inside[:10]) or 'nothing'}"
            raise RequestError(message, f"save it again as numpy.savez(file, {', '.join(f'{n}=...' for n in _ARRAYS)})")
        if others := [name for name in inside if name not in _ARRAYS]:
            warnings.warn(f"{path}: not read: {', '.join(others[:10])}", stacklevel=4)
        return {name: _read_header(archive, name) for name in _ARRAYS}


def _read_header(archive, name):
    with archive.open(f"{name}.npy") as file:
        old = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        return _Header(shape, dtype)


def _check_size(path, headers):
    for name, header in headers.items():
        if header.dtype.hasobject:
            raise RequestError(f"{path}: {name} holds Python objects", "save uint8 pixels and integer labels")
    declared, packed = sum(header.nbytes for header in headers.values()), path.stat().st_size
    if declared > ALWAYS_FINE_BYTES and declared > MOST_INFLATION * packed:
        message = f"{path} declares {declared / 1e6:,.0f} MB in a file of {packed / 1e6:,.1f} MB"
        raise RequestError(message, "if the images really are that uniform, save them uncompressed with numpy.savez")
    if declared > most_pixel_bytes():
        message = f"{path} holds {declared / 1e9:.1f} GB, free memory allows {most_pixel_bytes() / 1e9:.1f} GB"
        raise RequestError(message, "save fewer images, or pass a folder of image files: they are read as needed")


def _from_arrays(name, arrays, class_names):
    """The Source of the four arrays, or a RequestError that names the array and what is wrong with it."""
    x_train, x_test = (_checked_images(f"{name}: {key}", arrays[key]) for key in ("x_train", "x_test"))
    if x_train.shape[1:] != x_test.shape[1:]:
        message = f"{name}: images of {_size(x_train)} in x_train and {_size(x_test)} in x_test"
        raise RequestError(message, "give both the same height, width and channels")
    y_train = _checked_labels(f"{name}: y_train", arrays["y_train"], len(x_train))
    y_test = _checked_labels(f"{name}: y_test", arrays["y_test"], len(x_test))
    _warn_of_meaning(name, x_train, y_train)
    return Source(
        labels=np.concatenate([y_train, y_test]),
        image_shape=x_train.shape[1:],
        given=(len(x_train), 0, len(x_test)),
        class_names=class_names,
        images=np.concatenate([x_train, x_test]),
    )


def _checked_images(name, images):
    """(N, H, W, C) uint8 of an array of that shape, or of one without the last axis."""
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise RequestError(f"{name} holds NaN or infinite pixels", "repair them, and save pixels 0 to 255 as uint8")
    if images.dtype != np.uint8:
        raise RequestError(f"{name} is {images.dtype}, pixels must be uint8", _as_bytes(images))
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        allowed = "(N, height, width) and (N, height, width, 1, 3 or 4)"
        message = f"{name} has the shape {images.shape}; allowed are {allowed}"
        first = images.ndim == 4 and images.shape[1] in (1, 3, 4)
        hint = "the channels stand first: save `x.transpose(0, 2, 3, 1)`" if first else "reshape the images before you"
        raise RequestError(message, hint if first else f"{hint} save them")
    if 0 in images.shape:
        raise RequestError(f"{name} has the shape {images.shape}: it is empty", "give it at least one image")
    return images


def _checked_labels(name, labels, count):
    """(N,) int64 of an array of N or N x 1 class numbers."""
    if labels.shape not in ((count,), (count, 1)):
        one_hot = len(labels.shape) == 2 and labels.shape[0] == count
        hint = "one-hot labels become class numbers by `y.argmax(1)`" if one_hot else "give one label for each image"
        raise RequestError(f"{name} has the shape {labels.shape} for {count} images", hint)
    if labels.dtype.kind not in "iu":
        hints = {"U": "`np.unique(names, return_inverse=True)[1]` numbers them", "O": "number the classes from 0"}
        hint = hints.get(labels.dtype.kind, "`.astype('int64')`, classes numbered from 0")
        raise RequestError(f"{name} is {labels.dtype}, labels must be integers", hint)
    if labels.min() < 0 or labels.max() > MOST_LABEL:
        message = f"{name} has labels from {labels.min()} to {labels.max()}, allowed are 0 to {MOST_LABEL:,}"
        raise RequestError(message, "number the classes from 0")
    return labels.reshape(-1).astype(np.int64)


def _as_bytes(images):
    """How to make uint8 pixels of an array, by its values."""
    low, high = images.min(initial=0), images.max(initial=0)
    if low < 0 and high <= 1:
        return "pixels from -1 to 1: save `((x + 1) * 127.5).round().astype('uint8')`"
    if low < 0 or high > 65535:
        return "scale to 0..255, then `.astype('uint8')`"
    if images.dtype.kind == "f" and high <= 1:
        return "pixels from 0 to 1: save `(x * 255).round().astype('uint8')`"
    return "save `x.astype('uint8')`" if high <= 255 else "16-bit pixels: save `(x / 257).round().astype('uint8')`"


def _warn_of_meaning(name, images, labels):
    """Warns of pixels and labels that are allowed, and seldom meant."""
    if images.max() <= 1:
        warnings.warn(
            f"{name}: no pixel of x_train is above 1, but pixels run from 0 to 255 (black to white)", stacklevel=5
        )
    if unused := sorted(set(range(int(labels.max()) + 1)) - set(labels.tolist())):
        named = ", ".join(map(str, unused[:5])) + (", ..." if len(unused) > 5 else "")
        warnings.warn(
            f"{name}: no image of y_train has the label {named}: classes are numbered from 0, so the net gets "
            f"{labels.max() + 1} classes, {len(unused)} of them without images",
            stacklevel=5,
        )


def _size(images):
    return " x ".join(map(str, images.shape[1:]))
