"""DenseNet: `y = [x, F(x)]` with `layers.Concatenate`.

Huang et al. 2017, arXiv:1608.06993. A net is one row of `DENSENETS` or `CIFAR_DENSENETS`.
"""

from collections.abc import Sequence

import keras

from .blocks import CHANNEL_AXIS, STEM_STRIDES, STEMS, dense_block, norm_relu, transition
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
from .recompute import recomputed_dense_block


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
    bn_epsilon: float = 1e-5,
) -> keras.Model:
    """Builds a DenseNet of any depth; the defaults are DenseNet-121.

    A block of L layers that starts with C channels ends with C + L * growth_rate.

    Args:
        blocks: Dense layers in each block, e.g. (6, 12, 24, 16). A transition after every block but the last halves
            the image.
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
        growth_rate: Channels that each dense layer adds (k in the paper).
        bottleneck: Whether a 1x1 convolution to 4k maps stands before each 3x3 (the B of DenseNet-BC).
        compression: Share of the channels that a transition keeps, above 0 and at most 1 (the C of DenseNet-BC).
        stem_width: Channels of the stem; None is twice the growth rate.
        dropout: Rate after every convolution but the stem's, from 0 up to 1.
        recompute: Compute each dense layer's concatenation, norms and ReLUs again in the backward pass instead of
            keeping them: memory linear in depth instead of quadratic, for about a fifth more time (Pleiss et al. 2017,
            arXiv:1707.06990).
        stem: "imagenet", "deep" or "cifar".
        bn_momentum: Momentum of the batch norms' moving statistics.
        bn_epsilon: Epsilon of the batch norms; keras.applications' weights need 1.001e-5.
    Returns:
        Functional model, (N, height, width, channels) float32 -> (N, classes) float32 probabilities.
    Raises:
        RequestError (a ValueError): an argument out of range.
    Source: Huang et al. 2017, arXiv:1608.06993, section 3 and table 1.
    Example:
        >>> net = resdense_keras.densenet(blocks=(4, 4), growth_rate=8, input_shape=(64, 64, 3), classes=5)
        >>> net.get_layer("stage1_block4_concat").output.shape  # 16 + 4 * 8 channels
        (None, 16, 16, 48)
    """
    check_name(name)
    blocks = check_blocks(blocks)
    growth_rate = check_integer(
        "growth_rate", growth_rate, 1, "the papers use 12 to 48; to add no channels, build a ResNet"
    )
    check_choice("bottleneck", bottleneck, (True, False))
    check_choice("recompute", recompute, (True, False))
    check_choice("stem", stem, tuple(STEMS))
    compression = check_number("compression", compression, 0, 1, "(]")
    dropout = check_number("dropout", dropout, 0, 1)
    stem_width = 2 * growth_rate if stem_width is None else check_integer("stem_width", stem_width, 2)
    norm = normalization(bn_momentum, bn_epsilon)

    inputs, x = image_input(
        input_shape=input_shape,
        input_tensor=input_tensor,
        default=(32, 32, 3) if stem == "cifar" else (224, 224, 3) if include_top else (None, None, 3),
        smallest=STEM_STRIDES[stem] * 2 ** (len(blocks) - 1),
        include_preprocessing=include_preprocessing,
        record=PREPROCESSING["cifar10" if stem == "cifar" else "imagenet"],
    )
    make_block = recomputed_dense_block if recompute else dense_block
    # The 3x3 stem of the CIFAR nets has no batch norm: the first dense layer begins with one.
    x = STEMS[stem](x, stem_width, norm=norm, activate=stem != "cifar")
    for stage, depth in enumerate(blocks, start=1):
        part = f"stage{stage}"
        x = make_block(x, depth, growth_rate, norm=norm, name=part, bottleneck=bottleneck, dropout=dropout)
        if stage < len(blocks):
            channels = x.shape[CHANNEL_AXIS]
            if int(compression * channels) < 1:
                raise RequestError(
                    f"compression={compression} was given; it leaves no channel of the {channels} after stage {stage}, "
                    f"where it must be at least 1/{channels}"
                )
            x = transition(x, compression, norm=norm, name=f"stage{stage}_transition", dropout=dropout)
    x = norm_relu(x, norm=norm, name="head")
    model = classifier(
        inputs,
        x,
        include_top=include_top,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        dropout=0.0,  # the paper's dropout stands inside the blocks
        name=name or "densenet",
    )
    return load_path(model, weights)


@derived(densenet, without=("blocks",), depth=100, classes=10, growth_rate=12, stem="cifar")
def cifar_densenet(*, depth: int, bottleneck, compression, stem_width, name, **options):
    """Builds a DenseNet for 32x32 images, three dense blocks of equal depth; the defaults are DenseNet-BC-100-12.

    Args:
        depth: Layers with weights: 6n + 4 with bottlenecks, 3n + 4 without.
        stem_width: Channels of the stem; None is the paper's: twice the growth rate for DenseNet-BC, else 16.

    All other arguments as in `densenet`; `input_shape` defaults to (32, 32, 3), and True for `include_preprocessing`
    means CIFAR-10's normalisation.
    Source: Huang et al. 2017, arXiv:1608.06993, section 3 (implementation details) and table 2.
    Example:
        >>> resdense_keras.cifar_densenet(depth=40, growth_rate=24).count_params()
        700522
    """
    check_choice("bottleneck", bottleneck, (True, False))
    per_block = 6 if bottleneck else 3
    depth = check_integer("depth", depth, per_block + 4)
    if (depth - 4) % per_block:
        nearest = per_block * round((depth - 4) / per_block) + 4
        raise RequestError(
            f"depth={depth} was given; with bottleneck={bottleneck} it must be {per_block}n + 4",
            f"depth={nearest} is near",
        )
    compression = check_number("compression", compression, 0, 1, "(]")
    if stem_width is None and not (bottleneck and compression != 1):
        stem_width = 16
    return densenet(
        blocks=((depth - 4) // per_block,) * 3,
        bottleneck=bottleneck,
        compression=compression,
        stem_width=stem_width,
        name="cifar_densenet" if name is None else name,
        **options,
    )


DENSENETS = {
    "densenet121": {"blocks": (6, 12, 24, 16)},
    "densenet169": {"blocks": (6, 12, 32, 32)},
    "densenet201": {"blocks": (6, 12, 48, 32)},
    "densenet161": {"blocks": (6, 12, 36, 24), "growth_rate": 48},
    "densenet264": {"blocks": (6, 12, 64, 48)},
}
_PLAIN = {"bottleneck": False, "compression": 1.0}
CIFAR_DENSENETS = {
    "densenet40_12": {"depth": 40, "growth_rate": 12, **_PLAIN},
    "densenet100_12": {"depth": 100, "growth_rate": 12, **_PLAIN},
    "densenet_bc22_16": {"depth": 22, "growth_rate": 16},  # ours: an epoch takes twice as long as resnet20's
    "densenet_bc22_24": {"depth": 22, "growth_rate": 24},  # ours: as many parameters as resnet20, few wide layers
    "densenet_bc40_12": {"depth": 40, "growth_rate": 12},
    "densenet_bc100_12": {"depth": 100, "growth_rate": 12},
    "densenet_bc250_24": {"depth": 250, "growth_rate": 24},
    "densenet_bc190_40": {"depth": 190, "growth_rate": 40},
}
DIGITS_DENSENETS = {"densenet_bc28_6_digits": {"depth": 28, "growth_rate": 6, "input_shape": (8, 8, 1)}}


BUILDERS = {
    **catalogue(densenet, DENSENETS, "DenseNet for 224x224 images, 1000 classes."),
    **catalogue(cifar_densenet, CIFAR_DENSENETS, "for 32x32 images, 10 classes."),
    **catalogue(
        cifar_densenet, DIGITS_DENSENETS, "for scikit-learn's digits, 8x8x1, 10 classes.", PREPROCESSING["digits"]
    ),
}
globals().update(BUILDERS)  # densenets.pyi lists them for type checkers
