"""The memory-efficient dense layer is the plain one: same outputs, same training, interchangeable weights."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import resdense_keras

BACKENDS = ["tensorflow", "jax"]
OUTPUT = 1e-5  # of a probability
WEIGHT = 1e-6  # of a weight after three steps; the order of sums differs, the mathematics does not


def net(recompute, **options):
    return resdense_keras.cifar_densenet(
        recompute=recompute, **{"depth": 10, "growth_rate": 4, "input_shape": (8, 8, 3), **options}
    )


def pair(**options):
    """The plain net and the recomputing one with equal weights."""
    keras.utils.set_random_seed(0)
    plain, recomputing = net(False, **options), net(True, **options)
    recomputing.set_weights(plain.get_weights())
    return plain, recomputing


def batch():
    random = np.random.default_rng(0)
    return random.normal(size=(32, 8, 8, 3)).astype("float32"), random.integers(0, 10, 32)


def test_the_weights_have_the_same_names_and_order():
    plain, recomputing = pair()
    last = [["/".join(weight.path.split("/")[-2:]) for weight in model.weights] for model in (plain, recomputing)]
    assert last[0] == last[1]


def test_the_outputs_are_equal():
    plain, recomputing = pair()
    images, _ = batch()
    np.testing.assert_allclose(recomputing(images), plain(images), atol=OUTPUT)


@pytest.mark.parametrize("options", [{}, {"bottleneck": False, "compression": 1.0}], ids=["BC", "plain"])
def test_three_steps_of_training_are_equal(options):
    models = pair(**options)
    for model in models:
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy", jit_compile=False)
        for _ in range(3):
            model.train_on_batch(*batch())
    for plain, recomputing in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(recomputing, plain, atol=WEIGHT)


def test_an_eager_tape_sees_the_plain_nets_gradients():
    """A loop of one's own without tf.function; with variables as arguments TensorFlow counted their gradients twice."""
    import tensorflow as tf

    images, labels = batch()
    gradients = []
    for model in pair():
        with tf.GradientTape() as tape:
            loss = keras.losses.sparse_categorical_crossentropy(labels, model(images, training=True))
        gradients.append(tape.gradient(loss, model.trainable_variables))
    for plain, recomputing in zip(*gradients, strict=True):
        np.testing.assert_allclose(recomputing, plain, rtol=1e-3, atol=1e-4)


def test_a_frozen_norm_keeps_its_statistics():
    _, model = pair()
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    statistics = [w.numpy() for w in model.weights if "moving" in w.path]
    model(batch()[0], training=True)
    after = [w.numpy() for w in model.weights if "moving" in w.path]
    assert all(np.array_equal(a, b) for a, b in zip(statistics, after, strict=True))


def test_dropout_drops_while_training_alone():
    model = net(True, dropout=0.5)
    images, _ = batch()
    np.testing.assert_array_equal(model(images), model(images))
    assert not np.allclose(model(images, training=True), model(images, training=True))


def test_a_saved_net_comes_back(tmp_path):
    _, model = pair()
    model.save(tmp_path / "net.keras")
    images, _ = batch()
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "net.keras")(images), model(images), atol=OUTPUT)


def test_plain_weights_load_into_the_recomputing_net_and_back(tmp_path):
    keras.utils.set_random_seed(1)
    images, _ = batch()
    for source, target in ((net(False), net(True)), (net(True), net(False))):
        source.save_weights(tmp_path / "net.weights.h5")
        resdense_keras.load_weights(target, tmp_path / "net.weights.h5")
        np.testing.assert_allclose(target(images), source(images), atol=OUTPUT)


@pytest.mark.long
def test_the_laws_hold_on_jax_too():
    """This file's laws of outputs and training, in a process of its own on the JAX backend."""
    laws = "outputs_are_equal or three_steps or same_names"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", __file__, "-k", laws],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0 and "4 passed" in result.stdout, result.stdout
