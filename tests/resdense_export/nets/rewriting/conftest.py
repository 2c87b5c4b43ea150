"""Nets to rewrite, with batch norms as training leaves them, and what "equal" means."""

import contextlib

import keras
import numpy as np
import pytest
from keras import layers, ops

import resdense_keras

EXACT = {"float64": 1e-10, "float32": 1e-4}  # of the largest output


def randomize(model, seed=0, negative=0.2):
    """Gives every weight a value that training could: a fresh batch norm's zeros and ones hide what is left out.

    `negative` is the share of batch norm scales below zero.
    """
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.moving_mean.shape
            scale = random.uniform(0.7, 1.3, shape) * random.choice([-1, 1], shape, p=[negative, 1 - negative])
            centre = [random.normal(0, 0.3, shape) for part in (layer.beta, layer.moving_mean) if part is not None]
            gamma = [scale] if layer.gamma is not None else []
            layer.set_weights([*gamma, *centre, random.uniform(0.5, 1.5, shape)])
        elif getattr(layer, "use_bias", False) and getattr(layer, "bias", None) is not None:
            layer.bias.assign(random.normal(0, 0.3, layer.bias.shape))
    return model


@contextlib.contextmanager
def policy(name):
    """Layers built meanwhile compute in this type."""
    keras.config.set_dtype_policy(name)
    keras.config.set_floatx(name)  # of inputs
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_floatx("float32")


def largest_difference(model, other, seed=0):
    """Largest difference of any output over the largest output, for two random images."""
    random = np.random.default_rng(seed)
    images = [random.uniform(0, 255, (2, *(size or 1 for size in x.shape[1:]))) for x in model.inputs]
    images = images[0] if len(images) == 1 else images
    expected, found = (keras.tree.flatten(net(images, training=False)) for net in (model, other))
    assert [x.shape for x in expected] == [x.shape for x in found]
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(expected, found, strict=True)]
    assert all(np.isfinite(a).all() and np.isfinite(b).all() for a, b in pairs)
    return max(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30) for a, b in pairs)


def patterns():
    """A net with everything that a pass looks for, and the things beside it that it must leave alone."""
    inputs = keras.Input((17, 16, 3))
    x = layers.Rescaling([0.02, 0.03, 0.04], offset=[-1, -2, -3])(inputs)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    low = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=float("-inf"))
    x = layers.MaxPooling2D(3, strides=1)(low)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    low = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=float("-inf"))
    x = layers.MaxPooling2D(3, strides=2)(low)  # (9, 8, 8)
    y = layers.Conv2D(8, 3, strides=2, activation="relu")(layers.ZeroPadding2D(((1, 1), (0, 1)))(x))  # (5, 4, 8)
    x = ops.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (2, 3)))  # (5, 4, 13)
    x = layers.Concatenate()([x, y])
    x = layers.Dropout(0.2)(layers.BatchNormalization()(x))
    z = layers.Conv2D(6, 1, name="reads_a_norm")(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(layers.SpatialDropout2D(0.1)(z))
    x = layers.ReLU(max_value=6)(layers.BatchNormalization(scale=False)(x))
    x = layers.Conv2D(6, 1, name="pooled")(x)
    x = layers.AveragePooling2D(2, padding="same")(x)
    x = layers.BatchNormalization()(x)
    y = layers.MaxPooling2D(1, strides=2)(layers.Activation("linear")(z))
    x = layers.AveragePooling2D((2, 2))(layers.Add()([layers.Conv2D(6, 1)(y)[:, :3], x]))
    x = layers.Dense(5)(layers.GlobalAveragePooling2D()(layers.Activation("silu")(x)))
    return keras.Model(inputs, layers.BatchNormalization(center=False)(x), name="patterns")


def rectifiers():
    """Every rectifier that int8 has no form of, and a global maximum."""
    inputs = keras.Input((9, 8, 3))
    x = layers.LeakyReLU(0.3)(layers.Conv2D(4, 3)(inputs))
    y = layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal")(layers.BatchNormalization()(x))
    x = layers.ReLU(max_value=6)(layers.Concatenate()([x, layers.LeakyReLU(1.5)(y)]))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)), name="rectifiers")


LOGITS = {"classifier_activation": None, "classes": 5}
SMALL = {"input_shape": (32, 32, 3), "include_preprocessing": True, **LOGITS}
NETS = {
    "patterns": patterns,
    "rectifiers": rectifiers,
    "v1, option A": lambda: resdense_keras.cifar_resnet(depth=8, include_preprocessing=True, **LOGITS),
    "v1.5": lambda: resdense_keras.resnet(blocks=(1, 1), width=4, **SMALL),
    "v2": lambda: resdense_keras.resnet(blocks=(1, 1), width=4, variant="v2", **SMALL),
    "v2-keras": lambda: resdense_keras.resnet(blocks=(1, 2), width=4, variant="v2-keras", **SMALL),
    "vd": lambda: resdense_keras.resnet(blocks=(1, 1), width=4, variant="vd", dropout=0.2, **SMALL),
    "densenet-bc": lambda: resdense_keras.cifar_densenet(depth=16, growth_rate=4, dropout=0.1, **SMALL),
    "densenet": lambda: resdense_keras.densenet(blocks=(2, 2), growth_rate=4, bottleneck=False, **SMALL),
}


@pytest.fixture(scope="session")
def nets64():
    """{name: a net in float64}, its batch norms randomized."""
    with policy("float64"):
        return {name: randomize(build()) for name, build in NETS.items()}
