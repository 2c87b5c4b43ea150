"""The pixels that a file of weights was trained on: those that stand in it, or those of the published file it is."""

import hashlib
import re
from pathlib import Path

from resdense_keras import preprocessing
from resdense_keras.errors import RequestError, ResdenseError

from . import fitness, opening
from .pixels import front

_APPLICATIONS = re.compile(r"(.*/)?(conv\d_block\d+_\w+|conv1[_/](conv|bn))/.*")


def trained_pixels(name, weights):
    """The Preprocessing that comes with a file of weights for the catalogue's net `name`; None where none is known.

    Raises:
        RequestError: a file that only has the names of keras.applications' layers, whose nets take three kinds.
    """
    from resdense_keras.weights import find

    path = Path(weights)
    if find(name, weights) is not None or not path.is_file():
        return None
    if path.suffix.lower() in (".keras", ".h5", ".hdf5"):
        if (published := _published(path)) is not None:
            return published
        if (inside := _inside(path)) is not None:
            return inside
        if path.suffix.lower() != ".keras":
            _check_names(name, path)
    return None


def _published(path):
    """Of a file whose bytes are one of the published sets'."""
    from resdense_keras.weights import WEIGHTS

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    return next((row.preprocessing for row in WEIGHTS if digest in (row.md5, row.notop_md5)), None)


def _inside(path):
    """What stands at the front of the model in a file: read off its JSON where the file is ours, else off the model."""
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
