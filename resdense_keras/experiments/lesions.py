"""Pulling a block out of a trained net: what is left of its accuracy.

Behind lesson 4 and the explainer. A block goes by changing weights, exactly and without building the net anew: its
branch gives nothing (residual, pre-activation, dense), or it hands on what it was given (plain). Where a block changes
the shape, a plain net keeps what option A's shortcut would keep: every second pixel, and channels of zeros.
Source: Veit et al. 2016, arXiv:1605.06431, section 4.1.
"""

import re

import numpy as np
from keras import layers

from ..errors import RequestError, unknown

_BLOCK = re.compile(r"(stage\d+_block\d+)_")


def block_names(model):
    """Names of the residual blocks or dense layers of a net of this package, in their order: "stage1_block1" ..."""
    found = [match[1] for layer in model.layers if (match := _BLOCK.match(layer.name))]
    return list(dict.fromkeys(found))


def remove(model, block):
    """Takes `block` out of `model` by changing its weights; `model.set_weights` brings it back.

    A residual or pre-activation block becomes its shortcut, a dense layer appends channels of zeros, and a plain block
    hands on its input.

    Raises:
        RequestError (a ValueError): no such block, or a plain pre-activation block, which cannot hand on its input.
    """
    own = {layer.name.removeprefix(f"{block}_"): layer for layer in model.layers if layer.name.startswith(f"{block}_")}
    if not own:
        raise unknown("block", block, block_names(model))
    if any(isinstance(layer, (layers.Add, layers.Concatenate)) for layer in own.values()):
        silence(own)
    elif "relu" in own:
        pass_on(own)
    else:
        raise RequestError(
            f"{block} of {model.name} has neither shortcut nor ReLU at its end; it cannot be left out",
            "build the plain net with variant='v1'",
        )


def lesion_curve(model, images, labels, batch_size=256):
    """Accuracy with all blocks, and with each single one taken out; the model keeps its weights.

    Args:
        model: Net of this package, built by stages and blocks.
        images: (N, H, W, C) as the model takes them.
        labels: (N,) class numbers.
    Returns:
        {"whole": fraction, "blocks": {name: fraction}}.
    """
    weights = model.get_weights()
    whole = accuracy(model, images, labels, batch_size)
    blocks = {}
    try:
        for block in block_names(model):
            remove(model, block)
            blocks[block] = accuracy(model, images, labels, batch_size)
            model.set_weights(weights)
    finally:
        model.set_weights(weights)
    return {"whole": whole, "blocks": blocks}


def accuracy(model, images, labels, batch_size=256):
    """Share of `images` whose most probable class is the label."""
    predictions = model.predict(images, batch_size=batch_size, verbose=0)
    return float(np.mean(np.argmax(predictions, axis=-1) == labels))


def silence(own):
    """Makes the branch give zeros: its last weights, those of a batch norm (v1) or of a convolution, become zeros."""
    last = max(part for part in own if re.fullmatch(r"conv\d+", part))
    closing = own.get(last.replace("conv", "bn"))
    layer = closing if "relu" in own else own[last]
    weights = zip(layer.weights, layer.get_weights(), strict=True)
    layer.set_weights([np.zeros_like(array) if _scales(weight) else array for weight, array in weights])


def _scales(variable):
    return variable.path.rpartition("/")[2] in ("gamma", "beta", "kernel", "bias")


def pass_on(own):
    """Makes every convolution the identity and every batch norm too; a ReLU after a ReLU changes nothing."""
    for layer in own.values():
        if isinstance(layer, layers.Conv2D):
            kernel = np.zeros_like(layer.get_weights()[0])
            height, width, channels, filters = kernel.shape
            kept = np.arange(channels)
            kernel[height // 2, width // 2, kept, kept + (filters - channels) // 2] = 1
            layer.set_weights([kernel, *(np.zeros_like(bias) for bias in layer.get_weights()[1:])])
        elif isinstance(layer, layers.BatchNormalization):
            zeros = np.zeros_like(layer.get_weights()[0])
            layer.set_weights([zeros + 1, zeros, zeros, zeros + 1 - layer.epsilon])
