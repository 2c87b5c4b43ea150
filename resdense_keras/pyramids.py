"""The features of a net at each stride, for detection and segmentation heads."""

import re

import keras

from .blocks import STEM_STRIDES
from .builder import _deep_recursion
from .errors import RequestError


def pyramid(model: keras.Model) -> keras.Model:
    """A model from the same input to the last features at each stride: {"stride4": (N, H/4, W/4, C), ...}.

    Nets with the ImageNet stem have strides 4, 8, 16 and 32, CIFAR nets 1, 2 and 4. All features end in a ReLU:

    - ResNet v1, v1.5, vd: the output of each stage.
    - ResNet v2, v2-keras: the sum of the last block, after the batch norm and ReLU that follow it, because the sum
      itself is not normalized. These two layers belong to the block that halves the image next, or to the head. In
      v2-keras that block is the last of its stage, so "stride4" is the output of the block before it.
    - DenseNet: everything the dense block collected, normalized and activated, before a transition narrows it.

    A side that the stride does not divide is rounded as the net does: up in a ResNet, down in a DenseNet's transitions.

    Args:
        model: A net of this package (with or without head, also reloaded from a .keras file), or a Functional model
            that was built on its output.
    Returns:
        Functional model with a dict of outputs; it shares its layers and weights with `model`.
    Raises:
        RequestError (a ValueError): the layers are not named as this package names them.
    Example:
        >>> features = resdense_keras.pyramid(resdense_keras.resnet20())
        >>> {name: feature.shape for name, feature in features.output.items()}
        {'stride1': (None, 32, 32, 16), 'stride2': (None, 16, 16, 32), 'stride4': (None, 8, 8, 64)}
    """
    layers = {layer.name: layer for layer in getattr(model, "layers", ())}
    names = _last_features(layers) if isinstance(model, keras.Model) else []
    if not names:
        raise RequestError(
            f"pyramid() was given {getattr(model, 'name', model)!r}; it needs a whole net of this package, with layers "
            "named stage1_block1_... and so on up to the last ReLU",
            "pass the net itself and not a model that wraps it, e.g. pyramid(resdense_keras.resnet50())",
        )
    first = STEM_STRIDES["imagenet" if "stem_pool" in layers else "cifar"]
    features = {f"stride{first * 2**halved}": layers[name].output for halved, name in enumerate(names)}
    with _deep_recursion():
        return keras.Model(model.input, features, name=f"{model.name}_pyramid")


def _last_features(layers):
    """Names of the ReLUs after which the image is halved or the head follows, in graph order; [] for a foreign net."""
    if not any(name.startswith("stage1_block1") for name in layers):
        return []
    if "head_relu" not in layers:  # v1: a stage ends in a ReLU of its own
        found = (re.fullmatch(r"(stage\d+)_block\d+_relu", name) for name in layers)
        return list({match[1]: match[0] for match in found if match}.values())
    transitions = [name for name in layers if re.fullmatch(r"stage\d+_transition_relu", name)]
    return [*(transitions or _before_strided_blocks(layers)), "head_relu"]


def _before_strided_blocks(layers):
    """The ReLU that opens each pre-activation block with a strided convolution in its branch."""
    found = ((re.fullmatch(r"(stage\d+_block\d+)_conv\d", name), layer) for name, layer in layers.items())
    return [f"{match[1]}_relu1" for match, layer in found if match and layer.strides != (1, 1)]
