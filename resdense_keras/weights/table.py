"""Named sets of weights as records, both published ones and those in the wheel; finds and loads them."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RequestError, WorkError, unknown
from ..preprocessing import PREPROCESSING, Preprocessing
from .loading import load_weights
from .reader import FORMATS

SHIPPED_FOLDER = Path(__file__).with_name("shipped")


@dataclass(frozen=True)
class NamedSet:
    """The net that a set of weights belongs to, and how it was trained.

    `arguments` are the builder arguments that it was trained with, `accuracy` is its top-1 accuracy on one crop of each
    test image, as a fraction.
    """

    model: str
    name: str
    arguments: dict[str, Any] = field(hash=False)
    preprocessing: Preprocessing
    classes: int
    accuracy: float


@dataclass(frozen=True)
class WeightSet(NamedSet):
    """Published weights with their files.

    `file` is relative to the address of the weights (download.BASE_URL). `md5` and `notop_md5` are the published
    checksums of the file and of the one without the head; `megabytes` is the size of the larger of the two.
    """

    file: str
    md5: str
    notop_md5: str
    megabytes: int

    @property
    def notop_file(self):
        return self.file.removesuffix(".h5") + "_notop.h5"


@dataclass(frozen=True)
class ShippedSet(NamedSet):
    """Weights in the wheel. Beside each file is a .json with recipe, log, seed, times, machine and accuracy."""

    sha256: str

    @property
    def path(self):
        return SHIPPED_FOLDER / f"{self.model}-{self.name}.safetensors"


def _keras(model, file, accuracy, megabytes, md5, notop_md5, preprocessing, **arguments):
    return WeightSet(
        model=model,
        name="imagenet",
        arguments={"bn_epsilon": 1.001e-5, **arguments},
        preprocessing=PREPROCESSING[preprocessing],
        classes=1000,
        accuracy=accuracy,
        file=f"{file}_weights_tf_dim_ordering_tf_kernels.h5",
        md5=md5,
        notop_md5=notop_md5,
        megabytes=megabytes,
    )


_V1 = {"preprocessing": "imagenet-caffe", "variant": "v1", "conv_bias": True}
_V2 = {"preprocessing": "imagenet-tf", "variant": "v2-keras"}
_DENSE = {"preprocessing": "imagenet"}

# Checksums: keras.applications' source (resnet.py, densenet.py) of Keras 3.15. Accuracies and sizes: the table at
# https://keras.io/api/applications/
# fmt: off
WEIGHTS = (
    _keras("resnet50", "resnet/resnet50", 0.749, 98,
           "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626", **_V1),
    _keras("resnet101", "resnet/resnet101", 0.764, 171,
           "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21", **_V1),
    _keras("resnet152", "resnet/resnet152", 0.766, 232,
           "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c", **_V1),
    _keras("resnet50_v2", "resnet/resnet50v2", 0.760, 98,
           "3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917", **_V2),
    _keras("resnet101_v2", "resnet/resnet101v2", 0.772, 171,
           "6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5", **_V2),
    _keras("resnet152_v2", "resnet/resnet152v2", 0.780, 232,
           "a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33", **_V2),
    _keras("densenet121", "densenet/densenet121", 0.750, 33,
           "9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738", **_DENSE),
    _keras("densenet169", "densenet/densenet169", 0.762, 57,
           "d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b", **_DENSE),
    _keras("densenet201", "densenet/densenet201", 0.773, 80,
           "1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1", **_DENSE),
)
# fmt: on


def _digits(model, accuracy, sha256, **arguments):
    return ShippedSet(
        model=model,
        name="digits",
        arguments={"input_shape": (8, 8, 1), **arguments},
        preprocessing=PREPROCESSING["digits"],
        classes=10,
        accuracy=accuracy,
        sha256=sha256,
    )


# Mean and deviation of the 45,000 images that these nets were trained on: the rest of the 50,000 chose the epoch.
_CIFAR10_PIXELS = Preprocessing((125.307, 123.0004, 113.9034), (62.9722, 62.0583, 66.6886))


def _cifar10(model, accuracy, sha256):
    return ShippedSet(
        model=model,
        name="cifar10",
        arguments={},
        preprocessing=_CIFAR10_PIXELS,
        classes=10,
        accuracy=accuracy,
        sha256=sha256,
    )


# Made by benchmarks/digits_nets.py and benchmarks/ship.py, which print model, accuracy and checksum.
# fmt: off
SHIPPED = (
    _cifar10("resnet20", 0.9005, "8b4945b3c05dda8408f69c93a70bd0ab41df90e5290c466404e7195166e28add"),
    _cifar10("densenet_bc22_16", 0.8608, "7c09640b60056339407d7787b7e1c7251930f80bdf08a9be491050db62fc6bae"),
    _digits("plain20_digits", 0.9780, "92effc767ff3b7317a5a3dd7f2b9a9390e5cda1665b4b13d8be24774c4cdd33c",
            width=5, shortcut=None),
    _digits("resnet20_digits", 0.9863, "4606e8e9b349257c5af83310379235c26be741bc2cc0baf8d6626005113bb1cf",
            width=5, shortcut="A"),
    _digits("densenet_bc28_6_digits", 0.9945, "cea8cd9abcc4c0a0d7ebd84def6fe53af2542a86291bddca8ee34809bbeee5ed",
            growth_rate=6),
)
# fmt: on


def names(model):
    """Names of the sets of weights that a net of the catalogue has."""
    return [row.name for row in (*WEIGHTS, *SHIPPED) if row.model == model]


def find(model, weights):
    """The NamedSet that `weights` names for the net `model`; None where it is the path of a file.

    Raises:
        RequestError (a ValueError): `weights` is neither a name that the net has nor a path.
    """
    for row in (*WEIGHTS, *SHIPPED):
        if (row.model, row.name) == (model, weights):
            return row
    if not isinstance(weights, str) or Path(weights).suffix or os.sep in weights:
        return None
    known = names(model)
    if not known:
        raise RequestError(
            f"weights={weights!r} was given; {model} has no published weights in this package",
            f"pass the path of a file ({', '.join(FORMATS)}), or None",
        )
    raise unknown(f"weights of {model}", weights, known)


def load_named(model, weight_set, *, head=None):
    """Loads the file of `weight_set`, downloaded first if it is not in the wheel; for a model without head, without the
    head.

    Args:
        head: None, or "skip" to leave the model's own head.

    Raises:
        WorkError: the download failed, or the file is not the published one.
    """
    has_head = head != "skip" and any(layer.name == "predictions" for layer in model.layers)
    if isinstance(weight_set, ShippedSet):
        return load_weights(model, _shipped(weight_set), head=None if has_head else "skip")
    from .download import fetch

    return load_weights(model, fetch(weight_set, head=has_head), head=None if has_head else "skip")


def _shipped(weight_set):
    """Path of the file in the wheel, verified by its checksum."""
    path = weight_set.path
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != weight_set.sha256:
        raise WorkError(f"{path} is missing or damaged", "install the package anew")
    return path
