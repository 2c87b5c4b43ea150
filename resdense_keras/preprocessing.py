"""Which pixels a set of weights expects.

A record turns float32 RGB pixels in [0, 255] into the numbers that the net was trained on: `(pixels[..., order] - mean)
/ std`. keras.applications calls three of the records "caffe", "torch" and "tf" mode; here they are rows of one table.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import RequestError

DIGITS = 4  # digits after the point of a measured record
MOST_JSON_BYTES = 50_000_000  # largest size of the JSON in a .keras file; that of resnet1202 has 4 million bytes
BLOCK_PIXELS = 1 << 22  # numbers that `measured` reads at once; their squares take four times as many bytes


@dataclass(frozen=True)
class Preprocessing:
    """Mean and standard deviation of each channel in units of [0, 255] pixels, in the order of `channels`.

    `channels` is "RGB", "BGR" (for nets that came from Caffe), or another text for another number of channels, such as
    "L". Only "BGR" changes the order.
    Example:
        >>> halves = resdense_keras.Preprocessing((127.5,), (127.5,), "L")
        >>> halves([[0.0], [255.0]]).tolist()
        [[-1.0], [1.0]]
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str = "RGB"

    def __post_init__(self):
        if len(self.mean) != len(self.std) or not all(value > 0 for value in self.std):
            raise RequestError(
                f"mean={self.mean}, std={self.std} were given; both need one number per channel, and std above 0"
            )

    def __call__(self, pixels: Any) -> np.ndarray:
        """Applies the record to a NumPy array of (..., C) pixels in [0, 255]; returns float32."""
        pixels = np.asarray(pixels, "float32")
        if pixels.shape[-1] != len(self.mean):
            raise RequestError(f"pixels of shape {pixels.shape} were given; the last axis must be {len(self.mean)}")
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        return (pixels - np.asarray(self.mean, "float32")) / np.asarray(self.std, "float32")

    def apply(self, x: Any) -> Any:
        """Applies the record as layers of a Functional model: a flip where the order is BGR, then one Rescaling."""
        from keras import layers, ops

        if self.channels == "BGR":
            x = ops.flip(x, axis=-1)
        scale = [1.0 / std for std in self.std]
        offset = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        return layers.Rescaling(scale, offset, name="preprocessing")(x)

    def for_channels(self, channels: int) -> Preprocessing:
        """This record for images of so many channels, where it treats all channels alike; else the record as it is."""
        if self.channels != "RGB" or len(set(self.mean)) > 1 or len(set(self.std)) > 1:
            return self
        return Preprocessing(self.mean[:1] * channels, self.std[:1] * channels, _letters(channels))

    def as_dict(self) -> dict[str, Any]:
        """JSON form, as a bundle's model.json and a run's config.yaml keep it."""
        return asdict(self)


def _from_unit(mean, std):
    return Preprocessing(tuple(255.0 * m for m in mean), tuple(255.0 * s for s in std))


PREPROCESSING = {
    # keras.applications.imagenet_utils.preprocess_input, modes "torch", "caffe" and "tf"
    "imagenet": _from_unit((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "imagenet-caffe": Preprocessing((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "BGR"),
    "imagenet-tf": Preprocessing((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    # x / 255 and x / 127.5 - 1, for any number of channels, see `for_channels`
    "0..1": Preprocessing((0.0,) * 3, (255.0,) * 3),
    "-1..1": Preprocessing((127.5,) * 3, (127.5,) * 3),
    # mean and standard deviation of CIFAR-10's 50,000 training images, and of the 1,284 of the data spec "digits"
    "cifar10": _from_unit((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "digits": Preprocessing((77.8314,), (95.8908,), "L"),
}


def measured(images):
    """Record with each channel's mean and standard deviation over pixels in [0, 255].

    The sums are exact integers, taken over one block of images at a time, so little memory is needed beside the images.

    Args:
        images: uint8 (N, H, W, C), or an iterable of such arrays.
    Raises:
        RequestError: there are no images.
    """
    count, total, squares = 0, 0, 0
    for block in _blocks(images):
        pixels = block.reshape(-1, block.shape[-1])
        count += len(pixels)
        total = total + pixels.sum(axis=0, dtype=np.uint64).astype(object)  # Python's integers do not overflow
        squares = squares + np.square(pixels, dtype=np.uint32).sum(axis=0, dtype=np.uint64).astype(object)
    if not count:
        raise RequestError("no images were given to measure the pixels of", "give one or more")
    mean = [int(sum_) / count for sum_ in total]
    # The variance is (n * squares - total^2) / n^2; a constant channel must not divide by zero.
    spread = [(count * int(square) - int(sum_) ** 2) / count**2 for square, sum_ in zip(squares, total, strict=True)]
    std = [max(variance**0.5, 1.0) for variance in spread]
    rounded = (tuple(round(number, DIGITS) for number in part) for part in (mean, std))
    return Preprocessing(*rounded, _letters(len(mean)))


def from_affine(scale, offset, flipped=False):
    """The record that equals `pixels * scale + offset`, its numbers rounded to DIGITS digits as they were before
    `apply` divided.

    Args:
        scale, offset: (channels,) float64.
        flipped: Whether the order of the channels is reversed first (RGB in, BGR after it).
    """
    scale, offset = np.asarray(scale, "float64"), np.asarray(offset, "float64")
    letters = "BGR" if flipped else _letters(scale.size)
    exact = Preprocessing(tuple((-offset / scale).tolist()), tuple((1 / scale).tolist()), letters)
    parts = (tuple(round(number, DIGITS) for number in part) for part in (exact.mean, exact.std))
    mean, std = map(np.array, parts)
    if (1 / std == scale).all() and (-mean / std == offset).all():
        return Preprocessing(tuple(mean.tolist()), tuple(std.tolist()), letters)
    return exact


def of_file(path):
    """The record in a .keras file of this package, or None; only its JSON is read, and no model is built."""
    path = Path(path).expanduser()
    if path.suffix.lower() != ".keras" or not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive, archive.open("config.json") as file:
            layers = json.loads(file.read(MOST_JSON_BYTES))["config"]["layers"]
        place = [layer["name"] for layer in layers].index("preprocessing")
        before = [layer["class_name"] for layer in layers[:place]]
        config = layers[place]["config"]
        scale, offset = (np.array(config[key], "float64").ravel() for key in ("scale", "offset"))
        if before not in (["InputLayer"], ["InputLayer", "Flip"]) or not (scale > 0).all():
            return None  # of another's net
        return from_affine(scale, offset, flipped="Flip" in before)
    except Exception:  # zipfile raises many kinds for damage
        return None  # the reader of the weights says what is wrong with the file


def _letters(channels):
    return {1: "L", 3: "RGB", 4: "RGBA"}.get(channels, "other")


def _blocks(images):
    """Splits one array or several into arrays of at most BLOCK_PIXELS numbers, or of one image."""
    for array in [images] if isinstance(images, np.ndarray) else images:
        step = max(1, BLOCK_PIXELS // max(1, array[0].size)) if len(array) else 1
        for begin in range(0, len(array), step):
            yield array[begin : begin + step]
