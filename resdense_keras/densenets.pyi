"""Made by tests/make_stubs.py from the signatures in densenets.py."""

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import keras

from .builder import Activation, Shape, Weights
from .preprocessing import Preprocessing

DENSENETS: dict[str, Any]
CIFAR_DENSENETS: dict[str, Any]
DIGITS_DENSENETS: dict[str, Any]
BUILDERS: dict[str, Any]

class DenseNetOptions(TypedDict, total=False):
    """Arguments of the nets of the catalogue."""

    include_top: bool
    weights: Weights
    input_tensor: keras.KerasTensor | None
    input_shape: Shape | None
    pooling: str | None
    classes: int
    classifier_activation: Activation
    name: str | None
    include_preprocessing: bool | Preprocessing
    growth_rate: int
    bottleneck: bool
    compression: float
    stem_width: int | None
    dropout: float
    recompute: bool
    stem: str
    bn_momentum: float
    bn_epsilon: float

def densenet(
    *,
    blocks: Sequence[int] = (6, 12, 24, 16),
    include_top: bool = True,
    weights: Weights = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    include_preprocessing: bool | Preprocessing = False,
    growth_rate: int = 32,
    bottleneck: bool = True,
    compression: float = 0.5,
    stem_width: int | None = None,
    dropout: float = 0.0,
    recompute: bool = False,
    stem: str = "imagenet",
    bn_momentum: float = 0.9,
    bn_epsilon: float = 1e-05,
) -> keras.Model:
    """Builds a DenseNet of any depth; the defaults are DenseNet-121."""

def cifar_densenet(
    *,
    depth: int = 100,
    include_top: bool = True,
    weights: Weights = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    include_preprocessing: bool | Preprocessing = False,
    growth_rate: int = 12,
    bottleneck: bool = True,
    compression: float = 0.5,
    stem_width: int | None = None,
    dropout: float = 0.0,
    recompute: bool = False,
    stem: str = "cifar",
    bn_momentum: float = 0.9,
    bn_epsilon: float = 1e-05,
) -> keras.Model:
    """Builds a DenseNet for 32x32 images, three dense blocks of equal depth; the defaults are DenseNet-BC-100-12."""

def densenet121(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet121: DenseNet for 224x224 images, 1000 classes."""

def densenet169(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet169: DenseNet for 224x224 images, 1000 classes."""

def densenet201(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet201: DenseNet for 224x224 images, 1000 classes."""

def densenet161(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet161: DenseNet for 224x224 images, 1000 classes."""

def densenet264(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet264: DenseNet for 224x224 images, 1000 classes."""

def densenet40_12(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet40_12: for 32x32 images, 10 classes."""

def densenet100_12(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet100_12: for 32x32 images, 10 classes."""

def densenet_bc22_16(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet_bc22_16: for 32x32 images, 10 classes."""

def densenet_bc22_24(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet_bc22_24: for 32x32 images, 10 classes."""

def densenet_bc40_12(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet_bc40_12: for 32x32 images, 10 classes."""

def densenet_bc100_12(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet_bc100_12: for 32x32 images, 10 classes."""

def densenet_bc250_24(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet_bc250_24: for 32x32 images, 10 classes."""

def densenet_bc190_40(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet_bc190_40: for 32x32 images, 10 classes."""

def densenet_bc28_6_digits(**options: Unpack[DenseNetOptions]) -> keras.Model:
    """densenet_bc28_6_digits: for scikit-learn's digits, 8x8x1, 10 classes."""
