"""ResNet: `y = x + F(x)` with `layers.Add`.

He et al. 2015, arXiv:1512.03385 (v1), and He et al. 2016, arXiv:1603.05027 (v2, pre-activation). A net is one row of
`RESNETS`; how its blocks are laid out is one row of `VARIANTS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from .blocks import KERNELS, STEM_STRIDES, STEMS, norm_relu, preactivation_block, residual_block
from .builder import (
    Activation,
    Shape,
    Weights,
    catalogue,
    check_blocks,
    check_choice,
    check_integer,
    check_name,
    check_number,
    classifier,
    derived,
    image_input,
    load_path,
    normalization,
)
from .errors import RequestError
from .preprocessing import PREPROCESSING, Preprocessing


@dataclass(frozen=True)
class Variant:
    """Where a ResNet has its stride, its activations and its biases.

    `strided` is the number (from 1) of the convolution that halves the image in a bottleneck; in a basic block it is
    always the first. `keras_layout` is that of keras.applications' V2 nets: the stride is in the last block of a stage,
    and the stem, the projections and each block's last convolution have biases.
    """

    strided: int
    preactivation: bool = False
    keras_layout: bool = False
    stem: str | None = None
    pooled_shortcut: bool = False


VARIANTS = {
    "v1": Variant(strided=1),  # He et al. 2015; keras.applications
    "v1.5": Variant(strided=2),  # torchvision, timm, NVIDIA: half a point better, 6 % more MACs
    "v2": Variant(strided=2, preactivation=True),  # He et al. 2016; on CIFAR's stem see `_strided`
    "v2-keras": Variant(strided=2, preactivation=True, keras_layout=True),
    "vd": Variant(strided=2, stem="deep", pooled_shortcut=True),  # He et al. 2019, arXiv:1812.01187
}
DEFAULT_VARIANT = "v1.5"


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
    bn_epsilon: float = 1e-5,
) -> keras.Model:
    """Builds a ResNet of any depth; the defaults are ResNet-50.

    Args:
        blocks: Residual blocks in each stage, e.g. (3, 4, 6, 3). Every stage but the first halves the image.
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1 with four times the width).
        include_top: Whether the net ends with global pooling and the dense head.
        weights: None, or the path of a file that `load_weights` reads.
        input_tensor: Keras tensor to build on.
        input_shape: (height, width, channels), height and width possibly None. Default: (224, 224, 3) with the head,
            (None, None, 3) without.
        pooling: None, "avg" or "max": global pooling at the end of a net without head.
        classes: Outputs of the head.
        classifier_activation: Activation of the head; None for logits.
        name: Name of the model.
        include_preprocessing: True for ImageNet's normalisation inside the net (input: RGB in [0, 255]), or a
            `Preprocessing`; False for an input that is normalized already.
        variant: "v1", "v1.5", "v2", "v2-keras", "vd"; None is v1.5, or what named weights were trained with.
        shortcut: Where size or width change, "A" pads with zero channels, "B" projects; None leaves every shortcut
            out and makes the plain control net.
        conv_bias: Whether convolutions that a batch norm follows have a bias (keras.applications' v1 nets do).
        zero_gamma: Start the last batch norm of each block at zero (only v1, v1.5 and vd, with a shortcut).
        dropout: Rate before the head, from 0 up to 1.
        width: Channels of the first stage's 3x3 convolutions; each stage doubles them.
        stem: "imagenet", "deep" or "cifar"; None is the variant's own.
        bn_momentum: Momentum of the batch norms' moving statistics.
        bn_epsilon: Epsilon of the batch norms; keras.applications' weights need 1.001e-5.
    Returns:
        Functional model, (N, height, width, channels) float32 -> (N, classes) float32 probabilities.
    Raises:
        RequestError (a ValueError): an argument out of range, or arguments that contradict each other.
    Source: He et al. 2015, arXiv:1512.03385, table 1. v1.5 differs: the stride is in the 3x3.
    Example:
        >>> net = resdense_keras.resnet(blocks=(1, 1), block="basic", input_shape=(64, 64, 3), classes=5)
        >>> net.get_layer("stage2_block1_add").output.shape
        (None, 8, 8, 128)
    """
    layout = _layout(variant, conv_bias, shortcut, zero_gamma, block)
    stem = check_choice("stem", stem, (None, *STEMS)) or layout.stem or "imagenet"
    blocks = check_blocks(blocks)
    check_name(name)
    width = check_integer("width", width, *((2, "the deep stem begins with half of it") if stem == "deep" else (1,)))
    dropout = check_number("dropout", dropout, 0, 1)
    norm = normalization(bn_momentum, bn_epsilon)
    bias = bool(conv_bias) or layout.keras_layout

    inputs, x = image_input(
        input_shape=input_shape,
        input_tensor=input_tensor,
        default=(32, 32, 3) if stem == "cifar" else (224, 224, 3) if include_top else (None, None, 3),
        smallest=STEM_STRIDES[stem] * 2 ** (len(blocks) - 1),
        include_preprocessing=include_preprocessing,
        record=PREPROCESSING["cifar10" if stem == "cifar" else "imagenet"],
    )
    x = STEMS[stem](x, width, norm=norm, bias=bias, activate=not layout.preactivation)
    for stage, depth in enumerate(blocks, start=1):
        for index in range(1, depth + 1):
            x = _block(
                x,
                width * 2 ** (stage - 1),
                layout,
                stride=_stride(stage, index, depth, len(blocks), layout),
                strided=_strided(layout, block, stem),
                norm=norm,
                name=f"stage{stage}_block{index}",
                block=block,
                shortcut=shortcut,
                bias=bias,
                zero_gamma=zero_gamma,
            )
    if layout.preactivation:
        x = norm_relu(x, norm=norm, name="head")
    model = classifier(
        inputs,
        x,
        include_top=include_top,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        dropout=dropout,
        name=name or "resnet",
    )
    return load_path(model, weights)


def _layout(variant, conv_bias, shortcut, zero_gamma, block):
    """The row of VARIANTS; first checks the arguments that must agree with it."""
    layout = VARIANTS[check_choice("variant", variant, (None, *VARIANTS)) or DEFAULT_VARIANT]
    check_choice("block", block, tuple(KERNELS))
    check_choice("shortcut", shortcut, ("A", "B", None))
    check_choice("conv_bias", conv_bias, (None, True, False))
    check_choice("zero_gamma", zero_gamma, (True, False))
    if layout.preactivation and conv_bias is not None and conv_bias != layout.keras_layout:
        raise RequestError(
            f"conv_bias={conv_bias} was given with variant={variant!r}, which fixes its biases; allowed: None",
            'variant="v2" has none, variant="v2-keras" has keras.applications\' own',
        )
    if zero_gamma and (layout.preactivation or shortcut is None):
        raise RequestError(
            f"zero_gamma=True was given with variant={variant!r} and shortcut={shortcut!r}; it needs a block that ends "
            "in a batch norm and a shortcut around it (v1, v1.5, vd)"
        )
    if layout.pooled_shortcut and shortcut == "A":
        raise RequestError(
            'shortcut="A" was given with variant="vd", whose shortcuts average and project; allowed: "B", None'
        )
    return layout


def _stride(stage, index, depth, stages, layout):
    """1 or 2: a stage's first block halves the image; in keras.applications' V2 the last block of the stage before."""
    if layout.keras_layout:
        return 2 if index == depth and stage < stages else 1
    return 2 if index == 1 and stage > 1 else 1


def _strided(layout, block, stem):
    """Which convolution of a block halves the image, from 1.

    In the authors' own code (KaimingHe/resnet-1k-layers) the pre-activation bottlenecks for CIFAR have the stride in
    the first 1x1: 0.245 G multiply-adds at 164 layers, where the stride in the 3x3 would give 0.248.
    """
    if block == "basic" or (stem == "cifar" and layout == VARIANTS["v2"]):
        return 1
    return layout.strided


def _block(x, filters, layout, *, zero_gamma, strided, **options):
    if layout.preactivation:
        return preactivation_block(x, filters, strided=strided, **options)
    return residual_block(x, filters, strided=strided, pooled=layout.pooled_shortcut, zero_gamma=zero_gamma, **options)


@derived(resnet, without=("blocks",), depth=20, block="basic", classes=10, shortcut="A", width=16, stem="cifar")
def cifar_resnet(*, depth: int, block, name, **options):
    """Builds a ResNet for 32x32 images: three stages of 16, 32 and 64 channels; the defaults are ResNet-20.

    Args:
        depth: Layers with weights: 6n + 2 for basic blocks, 9n + 2 for bottlenecks.

    All other arguments as in `resnet`; `input_shape` defaults to (32, 32, 3), and True for `include_preprocessing`
    means CIFAR-10's normalisation.
    Source: He et al. 2015, arXiv:1512.03385, section 4.2; pre-activation: He et al. 2016, arXiv:1603.05027.
    Example:
        >>> resdense_keras.cifar_resnet(depth=8).count_params()
        75770
    """
    check_choice("block", block, tuple(KERNELS))
    per_block = 3 * len(KERNELS[block])
    depth = check_integer("depth", depth, per_block + 2)
    if (depth - 2) % per_block:
        nearest = per_block * round((depth - 2) / per_block) + 2
        raise RequestError(
            f'depth={depth} was given; with block="{block}" it must be {per_block}n + 2', f"depth={nearest} is near"
        )
    name = "cifar_resnet" if name is None else name
    return resnet(blocks=((depth - 2) // per_block,) * 3, block=block, name=name, **options)


_IMAGENET = {
    18: {"blocks": (2, 2, 2, 2), "block": "basic"},
    34: {"blocks": (3, 4, 6, 3), "block": "basic"},
    50: {"blocks": (3, 4, 6, 3), "block": "bottleneck"},
    101: {"blocks": (3, 4, 23, 3), "block": "bottleneck"},
    152: {"blocks": (3, 8, 36, 3), "block": "bottleneck"},
    200: {"blocks": (3, 24, 36, 3), "block": "bottleneck"},
}
_SUFFIXES = {"": {}, "_v2": {"variant": "v2"}, "_vd": {"variant": "vd"}}

RESNETS = {
    f"resnet{depth}{suffix}": row | extra for suffix, extra in _SUFFIXES.items() for depth, row in _IMAGENET.items()
}
CIFAR_RESNETS = {
    **{f"resnet{depth}": {"depth": depth} for depth in (20, 32, 44, 56, 110, 1202)},
    "resnet110_v2": {"depth": 110, "variant": "v2"},
    "resnet164_v2": {"depth": 164, "variant": "v2", "block": "bottleneck", "shortcut": "B"},
    "resnet1001_v2": {"depth": 1001, "variant": "v2", "block": "bottleneck", "shortcut": "B"},
    "plain20": {"depth": 20, "shortcut": None},
    "plain56": {"depth": 56, "shortcut": None},
}
DIGITS_RESNETS = {  # as many trainable parameters as densenet_bc28_6_digits, within a hundredth
    "resnet20_digits": {"depth": 20, "width": 5, "input_shape": (8, 8, 1)},
    "plain20_digits": {"depth": 20, "width": 5, "input_shape": (8, 8, 1), "shortcut": None},
}


BUILDERS = {
    **catalogue(resnet, RESNETS, "ResNet for 224x224 images, 1000 classes."),
    **catalogue(cifar_resnet, CIFAR_RESNETS, "for 32x32 images, 10 classes."),
    **catalogue(cifar_resnet, DIGITS_RESNETS, "for scikit-learn's digits, 8x8x1, 10 classes.", PREPROCESSING["digits"]),
}
globals().update(BUILDERS)  # resnets.pyi lists them for type checkers
