"""Names that other projects use for these layers, as tables from their names to ours.

Files are matched by name and not by order, because safetensors sorts its names, and because a residual shortcut comes
before the branch in one net and after it in another, with tensors of equal shape. In a rule, `{stage}` and the like
stand for a number on both sides; `shift` is added to a dialect's block number to get ours, which counts from 1. The
first rule that fits is used.
"""

import functools
import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Dialect:
    """Naming rules of one family of files: `rules` {their layer: our layer}, `shift` {placeholder: number to add}."""

    name: str
    rules: dict[str, str]
    shift: dict[str, int] = field(default_factory=dict)

    def translate(self, layer):
        """Our name of their `layer`, or None."""
        for pattern, template in self.rules.items():
            if match := _compiled(pattern).fullmatch(layer):
                return template.format(**{key: int(n) + self.shift.get(key, 0) for key, n in match.groupdict().items()})
        return None


@functools.cache
def _compiled(pattern):
    """A rule's left side as a regular expression: "layer{stage}" -> r"layer(?P<stage>\\d{1,4})"."""
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\d{1,4})", re.escape(pattern)))


_KERAS_HEAD = dict.fromkeys(("predictions", "probs", "fc1000"), "predictions")  # today's name, and older files'
_TORCH_HEAD = dict.fromkeys(("fc", "linear", "classifier"), "predictions")
_KERAS_BLOCK = "conv{stage}_block{block}"
_BLOCK = "stage{stage}_block{block}"
_TORCH_BRANCH = {
    "layer{stage}.{block}.conv{n}": f"{_BLOCK}_conv{{n}}",
    "layer{stage}.{block}.bn{n}": f"{_BLOCK}_bn{{n}}",
}

DIALECTS = (
    Dialect(
        "keras.applications ResNet",
        {
            "conv1_conv": "stem_conv",
            "conv1_bn": "stem_bn",
            f"{_KERAS_BLOCK}_0_conv": f"{_BLOCK}_shortcut_conv",
            f"{_KERAS_BLOCK}_0_bn": f"{_BLOCK}_shortcut_bn",
            f"{_KERAS_BLOCK}_{{n}}_conv": f"{_BLOCK}_conv{{n}}",
            f"{_KERAS_BLOCK}_{{n}}_bn": f"{_BLOCK}_bn{{n}}",
            **_KERAS_HEAD,
        },
        shift={"stage": -1},
    ),
    Dialect(
        "keras.applications ResNetV2",
        {
            "conv1_conv": "stem_conv",
            f"{_KERAS_BLOCK}_preact_bn": f"{_BLOCK}_bn1",
            f"{_KERAS_BLOCK}_0_conv": f"{_BLOCK}_shortcut_conv",
            f"{_KERAS_BLOCK}_{{n}}_conv": f"{_BLOCK}_conv{{n}}",
            f"{_KERAS_BLOCK}_{{norm}}_bn": f"{_BLOCK}_bn{{norm}}",
            "post_bn": "head_bn",
            **_KERAS_HEAD,
        },
        shift={"stage": -1, "norm": 1},
    ),
    Dialect(
        "keras.applications DenseNet",
        {
            "conv1_conv": "stem_conv",
            "conv1_bn": "stem_bn",
            "conv1/conv": "stem_conv",  # the published files are older than the names in Keras' source
            "conv1/bn": "stem_bn",
            f"{_KERAS_BLOCK}_{{n}}_conv": f"{_BLOCK}_conv{{n}}",
            f"{_KERAS_BLOCK}_{{norm}}_bn": f"{_BLOCK}_bn{{norm}}",
            "pool{stage}_bn": "stage{stage}_transition_bn",
            "pool{stage}_conv": "stage{stage}_transition_conv",
            "bn": "head_bn",
            **_KERAS_HEAD,
        },
        shift={"stage": -1, "norm": 1},
    ),
    Dialect(
        "torchvision and timm ResNet; akamaster/pytorch_resnet_cifar10",
        {
            "conv1": "stem_conv",
            "bn1": "stem_bn",
            **_TORCH_BRANCH,
            "layer{stage}.{block}.downsample.0": f"{_BLOCK}_shortcut_conv",
            "layer{stage}.{block}.downsample.1": f"{_BLOCK}_shortcut_bn",
            "layer{stage}.{block}.shortcut.0": f"{_BLOCK}_shortcut_conv",
            "layer{stage}.{block}.shortcut.1": f"{_BLOCK}_shortcut_bn",
            **_TORCH_HEAD,
        },
        shift={"block": 1},
    ),
    Dialect(
        "timm ResNet-D",
        {
            "conv1.0": "stem_conv1",
            "conv1.1": "stem_bn1",
            "conv1.3": "stem_conv2",
            "conv1.4": "stem_bn2",
            "conv1.6": "stem_conv3",
            "bn1": "stem_bn3",
            **_TORCH_BRANCH,
            "layer{stage}.{block}.downsample.1": f"{_BLOCK}_shortcut_conv",  # .0 is the average pooling
            "layer{stage}.{block}.downsample.2": f"{_BLOCK}_shortcut_bn",
            **_TORCH_HEAD,
        },
        shift={"block": 1},
    ),
    Dialect(
        "torchvision and timm DenseNet",
        {
            "features.conv0": "stem_conv",
            "features.norm0": "stem_bn",
            "features.denseblock{stage}.denselayer{block}.conv{n}": f"{_BLOCK}_conv{{n}}",
            "features.denseblock{stage}.denselayer{block}.norm{n}": f"{_BLOCK}_bn{{n}}",
            "features.transition{stage}.conv": "stage{stage}_transition_conv",
            "features.transition{stage}.norm": "stage{stage}_transition_bn",
            "features.norm5": "head_bn",
            **_TORCH_HEAD,
        },
    ),
    Dialect(
        "CIFAR DenseNet of andreasveit/densenet-pytorch and its descendants",
        {
            "conv1": "stem_conv",
            "block{stage}.layer.{block}.conv{n}": f"{_BLOCK}_conv{{n}}",
            "block{stage}.layer.{block}.bn{n}": f"{_BLOCK}_bn{{n}}",
            "trans{stage}.conv1": "stage{stage}_transition_conv",
            "trans{stage}.bn1": "stage{stage}_transition_bn",
            "bn1": "head_bn",
            **_TORCH_HEAD,
        },
        shift={"block": 1},
    ),
)
