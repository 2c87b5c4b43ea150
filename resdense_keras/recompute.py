"""The memory-efficient dense layer: forget the concatenation, compute it again when the gradient needs it.

For the backward pass a plain DenseNet keeps every layer's concatenated input, its normalized copy and its ReLU, which
takes memory quadratic in depth. Here only the outputs of the convolutions are kept, which is linear.
Source: Pleiss et al. 2017, "Memory-Efficient Implementation of DenseNets", arXiv:1707.06990.
"""

import keras
from keras import layers, ops

from .blocks import CHANNEL_AXIS, INITIALIZER, dense_convolutions


def recomputed_dense_block(x, depth, growth_rate, *, norm, name, bottleneck=True, dropout=0.0):
    """`blocks.dense_block` that forgets its concatenations and computes them again in the backward pass.

    The maps stay separate until the end of the block: a layer that concatenates inside its recomputed part keeps no
    concatenation for the backward pass.
    """
    options = {"bottleneck": bottleneck, "dropout": dropout}
    options |= {"bn_momentum": norm.keywords["momentum"], "bn_epsilon": norm.keywords["epsilon"]}
    features = [x]
    for index in range(1, depth + 1):
        features.append(RecomputedDenseLayer(growth_rate, name=f"{name}_block{index}", **options)(features))
    return layers.Concatenate(axis=CHANNEL_AXIS, name=f"{name}_concat")(features)


@keras.saving.register_keras_serializable("resdense_keras")
class RecomputedDenseLayer(layers.Layer):
    """F of a dense layer, without its concatenation: a list of (N, H, W, C_i) feature maps -> (N, H, W, growth_rate).

    It holds the same Keras layers as the plain dense layer, with the same names and in the same order, so the weights
    of either net load into the other. Only the call differs, and only in training.

    Why it is written this way: `keras.RematScope` around a BatchNormalization raises on TensorFlow (keras#21207) and
    updates the moving statistics twice. So the recomputed function is pure: it takes the weights and returns the batch
    moments without a gradient, and the moving statistics are updated here, once.

    Args:
        growth_rate: Channels that it makes.
        bottleneck: Whether a 1x1 convolution to 4 * growth_rate maps comes first.
        dropout: Rate after each convolution.
        bn_momentum, bn_epsilon: Of the batch norms.
    """

    def __init__(self, growth_rate, bottleneck=True, dropout=0.0, bn_momentum=0.9, bn_epsilon=1e-5, **options):
        super().__init__(**options)
        self.growth_rate, self.bottleneck, self.dropout = growth_rate, bottleneck, dropout
        self.bn_momentum, self.bn_epsilon = bn_momentum, bn_epsilon
        part = {"dtype": self.dtype_policy}
        self.steps = []
        for number, (filters, kernel) in enumerate(dense_convolutions(growth_rate, bottleneck), start=1):
            norm = layers.BatchNormalization(
                momentum=bn_momentum, epsilon=bn_epsilon, name=f"{self.name}_bn{number}", **part
            )
            conv = layers.Conv2D(
                filters,
                kernel,
                padding="same",
                use_bias=False,
                kernel_initializer=INITIALIZER,
                name=f"{self.name}_conv{number}",
                **part,
            )
            drop = layers.Dropout(dropout, name=f"{self.name}_dropout{number}", **part) if dropout else None
            self.steps.append((norm, conv, drop))
        self._parts = [layer for step in self.steps for layer in step if layer is not None]  # what Keras tracks

    def build(self, shapes):
        shape = (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
        for norm, conv, _ in self.steps:
            norm.build(shape)
            conv.build(shape)
            shape = conv.compute_output_shape(shape)

    def compute_output_shape(self, shapes):
        return (*shapes[0][:-1], self.growth_rate)

    def call(self, features, training=False):
        y = features
        for norm, conv, drop in self.steps:
            y = self._recomputed(y, norm, conv) if training and norm.trainable else self._plain(y, norm, conv)
            y = [drop(y, training=training) if drop else y]
        return y[0]

    def _plain(self, features, norm, conv):
        return conv(ops.relu(norm(_joined(features), training=False)))

    def _recomputed(self, features, norm, conv):
        def normalized_convolution(gamma, beta, kernel, *features):
            x = ops.cast(_joined(features), keras.backend.result_type(self.compute_dtype, "float32"))
            mean, variance = ops.moments(x, axes=(0, 1, 2))
            x = ops.batch_normalization(x, mean, variance, axis=-1, offset=beta, scale=gamma, epsilon=self.bn_epsilon)
            x = ops.relu(ops.cast(x, self.compute_dtype))
            y = ops.conv(x, ops.cast(kernel, self.compute_dtype), padding="same")
            return y, ops.stop_gradient(mean), ops.stop_gradient(variance)

        # Copies: TensorFlow's eager tape would count the gradient of a variable that is an argument twice.
        weights = (ops.copy(weight) for weight in (norm.gamma, norm.beta, conv.kernel))
        y, mean, variance = keras.remat(normalized_convolution)(*weights, *features)
        for moving, batch in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
            moving.assign(moving * self.bn_momentum + ops.cast(batch, moving.dtype) * (1 - self.bn_momentum))
        return y

    def get_config(self):
        return super().get_config() | {
            "growth_rate": self.growth_rate,
            "bottleneck": self.bottleneck,
            "dropout": self.dropout,
            "bn_momentum": self.bn_momentum,
            "bn_epsilon": self.bn_epsilon,
        }


def plain(model):
    """The same net without recomputation, with the layers, names and weights of plain dense blocks.

    `model` itself where nothing in it is recomputed.
    """
    if not any(isinstance(layer, RecomputedDenseLayer) for layer in model.layers):
        return model
    joined = {}  # ids of the maps of a block so far -> their concatenation

    def call(layer, *args, **kwargs):
        if isinstance(layer, RecomputedDenseLayer):
            return _plain_layer(layer, args[0], joined)
        maps = args[0] if args and isinstance(args[0], (list, tuple)) else ()
        if isinstance(layer, layers.Concatenate) and _starts_in(maps, joined):
            return _concatenated(maps, joined, _name(layer.name.removesuffix("_concat"), maps))
        return layer(*args, **kwargs)

    copy = keras.models.clone_model(model, call_function=call)
    sources = {"/".join(weight.path.split("/")[-2:]): weight for weight in model.weights}
    for weight in copy.weights:
        weight.assign(sources["/".join(weight.path.split("/")[-2:])])
    return copy


def _starts_in(maps, joined):
    """Whether the maps are those of a block: all but the last were concatenated for the block's last layer."""
    return (len(maps) == 2 and (id(maps[0]),) in joined) or (len(maps) > 2 and tuple(map(id, maps[:-1])) in joined)


def _plain_layer(layer, maps, joined):
    """The computation of a RecomputedDenseLayer, as separate layers."""
    x = _concatenated(maps, joined, _name(layer.name.rpartition("_block")[0], maps))
    for part, (norm, conv, drop) in enumerate(layer.steps, start=1):
        x = layers.BatchNormalization.from_config(norm.get_config())(x)
        x = layers.ReLU(name=f"{layer.name}_relu{part}", dtype=layer.dtype_policy)(x)
        x = layers.Conv2D.from_config(conv.get_config())(x)
        x = layers.Dropout.from_config(drop.get_config())(x) if drop is not None else x
    return x


def _name(stage, maps):
    """Name of the concatenation at the end of the dense layer before."""
    return f"{stage}_block{len(maps) - 1}_concat"


def _concatenated(maps, joined, name):
    """All maps as one tensor: the last is appended to the concatenation of the others, which the layer before has
    made."""
    key = tuple(map(id, maps))
    if len(maps) == 1:
        joined[key] = maps[0]
    if key not in joined:
        joined[key] = layers.Concatenate(axis=CHANNEL_AXIS, name=name)([joined[key[:-1]], maps[-1]])
    return joined[key]


def _joined(features):
    return ops.concatenate(features, axis=-1) if len(features) > 1 else features[0]
