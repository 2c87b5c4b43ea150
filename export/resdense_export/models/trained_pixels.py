"""The pixels that a file of weights was trained on: those recorded in the file, or those of the published file that it
equals."""

import hashlib
import re
from pathlib import Path

from resdense_keras import preprocessing
from resdense_keras.errors import RequestError, ResdenseError

from . import fitness, opening
from .pixels import front

_APPLICATIONS = re.compile(r"(.*/)?(conv\d_block\d+_\w+|conv1[_/](conv|bn))/.*")


def trained_pixels(name, weights):
    """The Preprocessing of a file of weights for the catalogue's net `name`; None where it is not known.

    Raises:
        RequestError: the file has keras.applications' layer names but no record; those nets use three kinds of pixels.
    """
    from resdense_keras.weights import find

    path = Path(weights)
    if find(name, weights) is not None or not path.is_file():
        return None
    if path.suffix.lower() in opening.SUFFIXES:
        if (published := _published(path)) is not None:
            return published
        if (inside := _inside(path)) is not None:
            return inside
        if path.suffix.lower() != ".keras":
            _check_names(name, path)
    return None


def _published(path):
    """The Preprocessing of a file whose bytes equal a published set."""
    from resdense_keras.weights import WEIGHTS

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    return next((row.preprocessing for row in WEIGHTS if digest in (row.md5, row.notop_md5)), None)


def _inside(path):
    """The normalisation at the front of the model in a file; for our files read from the JSON, else from the model."""
    if (found := preprocessing.of_file(path)) is not None:
        return found
    try:
        found = front(fitness.fitted(opening.open_model(path)))
    except ResdenseError:  # only weights, or a model that this Keras cannot build: its tensors may still load
        return None
    return preprocessing.from_affine(found.scale, found.offset, found.flipped) if found.takes_pixels else None


def _check_names(name, path):
    from resdense_keras.weights.reader import opened

    with opened(path) as file:
        foreign = [tensor for tensor in file.headers if _APPLICATIONS.fullmatch(tensor)]
    if foreign:
        raise RequestError(
            f"{path.name} has the layers of keras.applications ({foreign[0]}), and does not say which pixels it was "
            "trained on",
            "say it with --preprocessing: imagenet-caffe (keras.applications' ResNet), imagenet-tf (its ResNetV2), "
            f"imagenet (its DenseNet, torchvision, timm), or none for pixels in [0, 255]; {name} is built for it",
        )
