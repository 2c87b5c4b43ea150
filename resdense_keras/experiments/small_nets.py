"""Nets that can be trained many times in a minute, and their training: one stage, on scikit-learn's digits.

Behind lessons 2 to 5. All connections share stem, width and head, and differ only in the blocks between:

    plain           y = F(x)            residual without its additions, and with just as many weights
    residual        y = relu(F(x) + x)  He et al. 2015
    preactivation   y = F(x) + x        He et al. 2016, batch norm and ReLU before the convolutions
    dense           y = [x, F(x)]       Huang et al. 2017, without bottlenecks
    weighted        y_i = x_i + F(x_i)  Pagliardini et al. 2024 (DenseFormer), only for lesson 5: block i + 1 reads
                                        x_(i+1) = a_0 stem + a_1 y_1 + ... + a_i y_i, one learnt number a each
    dropped         y = x + F(x) or x   Huang et al. 2016 (stochastic depth), only for lesson 4: preactivation whose
                                        branches are left out at random in training, image by image

Depth counts the layers with weights: the stem's convolution, those of the blocks, the head. The stem halves the 8 x 8
images, so that a block computes on 4 x 4.
"""

import functools
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from ..blocks import conv, dense_block, norm_relu, preactivation_block, residual_block
from ..builder import check_choice, check_integer, normalization
from ..errors import RequestError, WorkError
from .lesson import COLORS

CONNECTIONS = ("plain", "residual", "preactivation", "dense")
WEIGHTED = "weighted"
DROPPED = "dropped"
LARGEST_DROP = 0.5  # of the last block's branches, in training; the others' share falls in proportion to the depth
WIDTH = 16
GROWTH_RATE = 4
BATCH = 64
EPOCHS = 6
MOMENTUM = 0.9
WARM_UP_EPOCHS = (
    1  # without it a deep residual net without pre-activation sometimes loses its signal in the first steps
)
LOOKS = {  # how each is drawn: colour, marker and line say the same
    "plain": {"color": COLORS["plain"], "marker": "D", "linestyle": ":"},
    "residual": {"color": COLORS["residual"], "marker": "o", "linestyle": "-"},
    "preactivation": {"color": COLORS["other"], "marker": "^", "linestyle": "-."},
    "dense": {"color": COLORS["dense"], "marker": "s", "linestyle": "--"},
}
_INSTALL = "python -m pip install scikit-learn"
_BN = {"bn_momentum": 0.9, "bn_epsilon": 1e-5}


class Images(NamedTuple):
    """Images (N, 8, 8, 1) float32 of mean 0 and deviation 1 over the training images, labels (N,) int32."""

    images: np.ndarray
    labels: np.ndarray


class Epoch(NamedTuple):
    """Means over the steps of one epoch, on the training images of each step: loss in nats, accuracy 0 to 1."""

    loss: float
    accuracy: float


# Data


@functools.cache
def digits():
    """(training, test): 1,437 and 360 of scikit-learn's digits, the test's the last fifth (other writers).

    Raises:
        RequestError: scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise RequestError("the digits are part of scikit-learn, which is missing", _INSTALL) from None
    found = load_digits()
    cut = len(found.target) * 4 // 5
    images, labels = found.images[..., None].astype("float32"), found.target.astype("int32")
    images = (images - images[:cut].mean()) / images[:cut].std()
    return Images(images[:cut], labels[:cut]), Images(images[cut:], labels[cut:])


# Nets


def net(connection, depth, *, width=WIDTH, growth_rate=GROWTH_RATE, batch_norm=True, size=8):
    """A net of `depth` layers with weights: (N, size, size, 1) -> (N, 10) logits.

    Args:
        connection: One of `CONNECTIONS`, or `WEIGHTED` or `DROPPED`.
        depth: An even number of 4 or more, because a residual block has two layers.
        width: Channels of the stem; all but the dense net keep them.
        growth_rate: Channels that a dense layer adds.
        batch_norm: False leaves every batch norm out.
        size: Pixels of a side; the stem halves it.
    Returns:
        Functional model; the layers of block i are named `stage1_block{i}_...`.
    """
    check_choice("connection", connection, (*CONNECTIONS, WEIGHTED, DROPPED))
    if check_integer("depth", depth, 4) % 2:
        raise RequestError(f"depth={depth} was given; it must be even: stem, blocks of two layers, head")
    norm = normalization(**_BN) if batch_norm else _no_norm
    x = inputs = keras.Input((size, size, 1), name="image")
    x = conv(x, width, 3, stride=2, name="stem_conv")  # (N, size / 2, size / 2, width)
    if connection in ("plain", "residual"):
        x = norm_relu(x, norm=norm, name="stem")
    if connection == "dense":
        x = dense_block(x, depth - 2, growth_rate, norm=norm, name="stage1", bottleneck=False)
    earlier = [x]
    for index in range(1, depth // 2 if connection != "dense" else 1):
        block = preactivation_block if connection in ("preactivation", WEIGHTED, DROPPED) else residual_block
        shortcut = None if connection == "plain" else "B"
        name, before = f"stage1_block{index}", x
        x = block(x, width, norm=norm, name=name, shortcut=shortcut)
        if connection == DROPPED:
            branch = layers.Subtract(name=f"{name}_branch")([x, before])
            rate = LARGEST_DROP * index / (depth // 2 - 1)
            drop = layers.Dropout(rate, noise_shape=(None, 1, 1, 1), seed=index, name=f"{name}_drop")
            x = layers.Add(name=f"{name}_sum")([before, drop(branch)])
        if connection == WEIGHTED:
            earlier.append(x)
            x = WeightedSum(name=f"{name}_mix")(earlier)
    if connection in ("preactivation", WEIGHTED, DROPPED, "dense"):
        x = norm_relu(x, norm=norm, name="head")
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(inputs, layers.Dense(10, name="predictions")(x), name=f"{connection}_{depth}")


class WeightedSum(layers.Layer):
    """The sum of all that came before, each times one learnt number: a list of (N, H, W, C) -> (N, H, W, C).

    A fresh one hands on the newest. Source: Pagliardini et al. 2024, arXiv:2402.02622.
    """

    def build(self, shapes):
        self.shares = self.add_weight(shape=(len(shapes),), initializer=_newest, name="shares")

    def call(self, earlier):
        return sum(self.shares[number] * maps for number, maps in enumerate(earlier))


def _newest(shape, dtype=None):
    return np.eye(shape[0], dtype=dtype)[-1]


def _no_norm(name, **_):
    return layers.Activation("linear", name=name)


def draw(model, seed):
    """Gives `model` fresh weights: He's normal ones for ReLUs, batch norms as the identity. In place."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.path.endswith("kernel"):
            gain = 2 if len(weight.shape) == 4 else 1  # no ReLU behind the head
            deviation = (gain / np.prod(weight.shape[:-1])) ** 0.5
            weight.assign(random.normal(scale=deviation, size=weight.shape))
        elif weight.path.endswith("shares"):
            weight.assign(_newest(weight.shape))
        else:
            weight.assign(np.full(weight.shape, weight.path.endswith(("gamma", "moving_variance"))))


# Training


def learning_rates(peak, warm_up, total):
    """(total,) rates: linear from 0 to `peak` at step `warm_up`, then half a cosine that is 0 at the last step."""
    step = np.arange(1, total + 1)
    cosine = 0.5 + 0.5 * np.cos(np.pi * np.clip((step - warm_up) / max(total - warm_up, 1), 0, 1))
    return peak * np.where(step <= warm_up, step / warm_up, cosine)


class RepeatedTraining:
    """One net with its traced training step, which all runs share, because TensorFlow takes longer to trace than to
    train.

    SGD with momentum 0.9, batches of 64, the learning rate a cosine with one epoch of linear warm-up.
    """

    def __init__(self, model, data=None):
        self.model = model
        self.data = digits()[0] if data is None else data
        self.steps = len(self.data.labels) // BATCH
        self._weights = [weight.value for weight in model.trainable_weights]
        self._velocities = [tf.Variable(tf.zeros_like(weight)) for weight in self._weights]
        # Traced here and not at the first call: TensorFlow counts calls that trace, over all nets, and warns of many.
        order = tf.TensorSpec((self.steps, BATCH), tf.int64)
        rates = tf.TensorSpec((self.steps,), tf.float32)
        self._epoch = tf.function(self.run_steps).get_concrete_function(order, rates)

    def run(self, *, seed=0, learning_rate=0.1, epochs=EPOCHS, prepare=None):
        """Trains from fresh weights; weights and the order of the images follow from `seed`.

        Args:
            prepare: Function of the fresh model that changes its weights before the first step.
        Returns:
            A list of `Epoch`; the trained weights are in `model`.
        Raises:
            WorkError: the loss is no longer a number.
        """
        draw(self.model, seed)
        if prepare is not None:
            prepare(self.model)
        for velocity in self._velocities:
            velocity.assign(tf.zeros_like(velocity))
        random = np.random.default_rng(seed)
        rates = learning_rates(learning_rate, self.steps * min(WARM_UP_EPOCHS, epochs), self.steps * epochs)
        rates = rates.reshape(epochs, self.steps).astype("float32")
        history = []
        for epoch in range(epochs):
            order = random.permutation(len(self.data.labels))[: self.steps * BATCH].reshape(self.steps, BATCH)
            history.append(Epoch(*map(float, self._epoch(tf.constant(order), tf.constant(rates[epoch])))))
            if not np.isfinite(history[-1].loss):
                raise WorkError(f"{self.model.name}: the loss became {history[-1].loss} in epoch {epoch + 1}")
        return history

    def run_steps(self, order, rates):
        loss, accuracy = 0.0, 0.0
        for step in tf.range(self.steps):
            images, labels = (tf.gather(values, order[step]) for values in self.data)
            with tf.GradientTape() as tape:
                logits = self.model(images, training=True)
                error = cross_entropy(labels, logits)
            gradients = tape.gradient(error, self._weights)
            for weight, velocity, gradient in zip(self._weights, self._velocities, gradients, strict=True):
                velocity.assign(MOMENTUM * velocity + gradient)
                weight.assign_sub(rates[step] * velocity)
            loss += error
            accuracy += hits(labels, logits)
        return loss / self.steps, accuracy / self.steps


@functools.lru_cache(maxsize=3)  # a traced net of 44 layers holds 60 MB and more
def trainer(connection, depth):
    """The `RepeatedTraining` of a net; the latest few are kept."""
    return RepeatedTraining(net(connection, depth))


def trained(connection, depth, *, seed=0, learning_rate=0.1, epochs=EPOCHS):
    """(model, history) of a training; a repeated call gives the weights of the first and trains nothing.

    Calls for one connection and depth share one model: the weights in it are those of the latest call.
    """
    key = connection, depth, seed, learning_rate, epochs
    shared = trainer(connection, depth)
    if key not in _TRAINED:
        history = shared.run(seed=seed, learning_rate=learning_rate, epochs=epochs)
        _TRAINED[key] = history, shared.model.get_weights()
    history, weights = _TRAINED[key]
    shared.model.set_weights(weights)
    return shared.model, history


_TRAINED = {}  # {arguments of `trained`: (history, weights)}; 0.4 MB a net of 44 layers


# Measuring


def evaluation(model, data):
    """A function without arguments that gives the present (loss, accuracy) of `model`, batch norms at their averages.

    It is traced once and then quick, however often the weights change; for a single time `measured` is quicker.
    """

    @tf.function
    def measure():
        logits = model(tf.constant(data.images), training=False)
        return cross_entropy(data.labels, logits), hits(data.labels, logits)

    return lambda: tuple(map(float, measure()))


def measured(model, data):
    """The present (loss, accuracy) of `model`, its batch norms at their moving averages."""
    logits = model(data.images, training=False)
    return float(cross_entropy(data.labels, logits)), float(hits(data.labels, logits))


def cross_entropy(labels, logits):
    """Mean cross-entropy in nats."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def hits(labels, logits):
    """Share of the images whose largest logit is the label's, a scalar tensor."""
    return tf.reduce_mean(tf.cast(tf.argmax(logits, -1, output_type=labels.dtype) == labels, tf.float32))


def running_features(model, images):
    """The tensors between the blocks: arrays after the stem, after block 1, ...; batch norms use their averages."""
    stem = [layer.name for layer in model.layers if layer.name.startswith("stem_")][-1]
    last = {layer.name.split("_")[1]: layer.name for layer in model.layers if layer.name.startswith("stage1_block")}
    inside = keras.Model(model.input, [model.get_layer(name).output for name in (stem, *last.values())])
    return [np.asarray(maps) for maps in inside(images, training=False)]
