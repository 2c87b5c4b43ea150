"""Made by tests/make_stubs.py from the signatures in resnets.py."""

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import keras

from .builder import Activation, Shape, Weights
from .preprocessing import Preprocessing

VARIANTS: dict[str, Any]
RESNETS: dict[str, Any]
CIFAR_RESNETS: dict[str, Any]
DIGITS_RESNETS: dict[str, Any]
BUILDERS: dict[str, Any]

class ResNetOptions(TypedDict, total=False):
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
    variant: str | None
    shortcut: str | None
    conv_bias: bool | None
    zero_gamma: bool
    dropout: float
    width: int
    stem: str | None
    bn_momentum: float
    bn_epsilon: float

def resnet(
    *,
    blocks: Sequence[int] = (3, 4, 6, 3),
    block: str = "bottleneck",
    include_top: bool = True,
    weights: Weights = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    include_preprocessing: bool | Preprocessing = False,
    variant: str | None = None,
    shortcut: str | None = "B",
    conv_bias: bool | None = None,
    zero_gamma: bool = False,
    dropout: float = 0.0,
    width: int = 64,
    stem: str | None = None,
    bn_momentum: float = 0.9,
    bn_epsilon: float = 1e-05,
) -> keras.Model:
    """Builds a ResNet of any depth; the defaults are ResNet-50."""

def cifar_resnet(
    *,
    depth: int = 20,
    block: str = "basic",
    include_top: bool = True,
    weights: Weights = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    include_preprocessing: bool | Preprocessing = False,
    variant: str | None = None,
    shortcut: str | None = "A",
    conv_bias: bool | None = None,
    zero_gamma: bool = False,
    dropout: float = 0.0,
    width: int = 16,
    stem: str | None = "cifar",
    bn_momentum: float = 0.9,
    bn_epsilon: float = 1e-05,
) -> keras.Model:
    """Builds a ResNet for 32x32 images: three stages of 16, 32 and 64 channels; the defaults are ResNet-20."""

def resnet18(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet18: ResNet for 224x224 images, 1000 classes."""

def resnet34(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet34: ResNet for 224x224 images, 1000 classes."""

def resnet50(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet50: ResNet for 224x224 images, 1000 classes."""

def resnet101(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet101: ResNet for 224x224 images, 1000 classes."""

def resnet152(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet152: ResNet for 224x224 images, 1000 classes."""

def resnet200(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet200: ResNet for 224x224 images, 1000 classes."""

def resnet18_v2(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet18_v2: ResNet for 224x224 images, 1000 classes."""

def resnet34_v2(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet34_v2: ResNet for 224x224 images, 1000 classes."""

def resnet50_v2(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet50_v2: ResNet for 224x224 images, 1000 classes."""

def resnet101_v2(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet101_v2: ResNet for 224x224 images, 1000 classes."""

def resnet152_v2(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet152_v2: ResNet for 224x224 images, 1000 classes."""

def resnet200_v2(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet200_v2: ResNet for 224x224 images, 1000 classes."""

def resnet18_vd(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet18_vd: ResNet for 224x224 images, 1000 classes."""

def resnet34_vd(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet34_vd: ResNet for 224x224 images, 1000 classes."""

def resnet50_vd(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet50_vd: ResNet for 224x224 images, 1000 classes."""

def resnet101_vd(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet101_vd: ResNet for 224x224 images, 1000 classes."""

def resnet152_vd(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet152_vd: ResNet for 224x224 images, 1000 classes."""

def resnet200_vd(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet200_vd: ResNet for 224x224 images, 1000 classes."""

def resnet20(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet20: for 32x32 images, 10 classes."""

def resnet32(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet32: for 32x32 images, 10 classes."""

def resnet44(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet44: for 32x32 images, 10 classes."""

def resnet56(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet56: for 32x32 images, 10 classes."""

def resnet110(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet110: for 32x32 images, 10 classes."""

def resnet1202(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet1202: for 32x32 images, 10 classes."""

def resnet110_v2(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet110_v2: for 32x32 images, 10 classes."""

def resnet164_v2(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet164_v2: for 32x32 images, 10 classes."""

def resnet1001_v2(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet1001_v2: for 32x32 images, 10 classes."""

def plain20(**options: Unpack[ResNetOptions]) -> keras.Model:
    """plain20: for 32x32 images, 10 classes."""

def plain56(**options: Unpack[ResNetOptions]) -> keras.Model:
    """plain56: for 32x32 images, 10 classes."""

def resnet20_digits(**options: Unpack[ResNetOptions]) -> keras.Model:
    """resnet20_digits: for scikit-learn's digits, 8x8x1, 10 classes."""

def plain20_digits(**options: Unpack[ResNetOptions]) -> keras.Model:
    """plain20_digits: for scikit-learn's digits, 8x8x1, 10 classes."""
