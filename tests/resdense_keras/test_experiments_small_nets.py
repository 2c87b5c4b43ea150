"""Laws of the small nets that lessons 2 to 5 train."""

import sys

import numpy as np
import pytest
from keras import layers

from resdense_keras.errors import RequestError, WorkError
from resdense_keras.experiments import small_nets

each_connection = pytest.mark.parametrize("connection", small_nets.CONNECTIONS)


@pytest.fixture(scope="module")
def trainer():
    return small_nets.RepeatedTraining(small_nets.net("residual", 4, width=8))


# Data


def test_digits_are_split_without_overlap_and_standardised_by_the_training_images():
    training, test = small_nets.digits()
    assert (training.images.shape, test.images.shape) == ((1437, 8, 8, 1), (360, 8, 8, 1))
    assert training.images.mean() == pytest.approx(0, abs=1e-4) and training.images.std() == pytest.approx(1, abs=1e-4)
    assert not {image.tobytes() for image in training.images} & {image.tobytes() for image in test.images}


def test_without_scikit_learn_the_install_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(RequestError, match="python -m pip install scikit-learn"):
        small_nets.digits.__wrapped__()


# Nets


@each_connection
def test_depth_counts_the_layers_with_weights(connection):
    net = small_nets.net(connection, 8)
    assert sum(isinstance(layer, (layers.Conv2D, layers.Dense)) for layer in net.layers) == 8
    assert net.output_shape == (None, 10)


def test_plain_and_residual_nets_have_weights_of_the_same_shapes():
    plain, residual = (small_nets.net(connection, 8) for connection in ("plain", "residual"))
    assert [w.shape for w in plain.weights] == [w.shape for w in residual.weights]


@each_connection
def test_without_batch_norm_there_is_none(connection):
    net = small_nets.net(connection, 6, batch_norm=False)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in net.layers)


@pytest.mark.parametrize(
    "connection, depth, message",
    [("sum", 8, "connection='sum'"), ("plain", 7, "must be even"), ("plain", 2, "an integer of 4 or more")],
)
def test_a_net_that_cannot_be_is_refused(connection, depth, message):
    with pytest.raises(RequestError, match=message):
        small_nets.net(connection, depth)


def test_drawn_weights_follow_from_the_seed_and_keep_the_scale_behind_a_relu():
    net = small_nets.net("plain", 4, width=32)
    drawn = []
    for seed in (0, 1, 0):
        small_nets.draw(net, seed)
        drawn.append(net.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(drawn[0], drawn[2], strict=True))
    assert not np.array_equal(drawn[0][0], drawn[1][0])
    kernel = net.get_layer("stage1_block1_conv1").kernel.numpy()
    assert kernel.std() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)


def test_running_features_are_what_the_blocks_hand_on():
    net = small_nets.net("dense", 5 + 1)
    found = small_nets.running_features(net, small_nets.digits()[1].images[:3])
    assert [maps.shape for maps in found] == [(3, 4, 4, 16 + 4 * number) for number in range(5)]


# Training


def test_the_learning_rate_rises_to_its_peak_and_ends_at_zero():
    rates = small_nets.learning_rates(0.1, 10, 50)
    assert rates.shape == (50,) and rates[9] == rates.max() == pytest.approx(0.1)
    assert np.all(np.diff(rates[:10]) > 0) and np.all(np.diff(rates[9:]) < 0) and rates[-1] == pytest.approx(0)


def test_a_training_repeats_from_its_seed_and_learns(trainer):
    runs = [trainer.run(seed=seed, epochs=3) for seed in (0, 1, 0)]
    assert runs[0][-1].loss == pytest.approx(runs[2][-1].loss, rel=0.02)  # sums of floats, in no fixed order
    assert runs[0][-1].loss != runs[1][-1].loss
    assert runs[0][-1].accuracy > 0.5 > runs[0][0].accuracy


def test_a_loss_that_is_no_number_stops_the_training(trainer):
    with pytest.raises(WorkError, match="residual_4: the loss became nan in epoch 1"):
        trainer.run(learning_rate=1e30, epochs=1)


def test_evaluation_follows_the_weights_and_agrees_with_a_single_measurement(trainer):
    _, test = small_nets.digits()
    measure = small_nets.evaluation(trainer.model, test)
    for seed in (0, 1):
        small_nets.draw(trainer.model, seed)
        assert measure() == pytest.approx(small_nets.measured(trainer.model, test), abs=1e-5)


def test_a_repeated_training_brings_the_first_weights_back():
    model, history = small_nets.trained("plain", 4, epochs=1)
    weights = model.get_weights()
    small_nets.trained("plain", 4, seed=1, epochs=1)
    again, same = small_nets.trained("plain", 4, epochs=1)
    assert again is model and same is history
    assert all(np.array_equal(a, b) for a, b in zip(weights, again.get_weights(), strict=True))


@pytest.mark.parametrize("connection", [small_nets.WEIGHTED, small_nets.DROPPED])
def test_a_fresh_weighted_net_and_one_with_drops_answer_as_the_preactivation_net(connection):
    images = small_nets.digits()[1].images[:8]
    nets = [small_nets.net(name, 8) for name in ("preactivation", connection)]
    for net in nets:
        small_nets.draw(net, 0)
    kernels = [[layer for layer in net.layers if layer.name.endswith(("_conv1", "_conv2"))] for net in nets]
    for ours, theirs in zip(*kernels, strict=True):
        theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(*(net(images, training=False) for net in nets), rtol=1e-4, atol=1e-5)
    if connection == small_nets.WEIGHTED:
        sums = [layer for layer in nets[1].layers if isinstance(layer, small_nets.WeightedSum)]
        assert [layer.shares.shape[0] for layer in sums] == [2, 3, 4]
    else:
        rates = [layer.rate for layer in nets[1].layers if isinstance(layer, layers.Dropout)]
        assert rates == pytest.approx([0.5 / 3, 1 / 3, 0.5])


def test_a_net_is_prepared_between_its_fresh_weights_and_the_first_step():
    trainer = small_nets.RepeatedTraining(small_nets.net("residual", 4, batch_norm=False))
    seen = []
    trainer.run(epochs=1, learning_rate=0.0, prepare=lambda model: seen.append(model.get_weights()[0].std()))
    assert len(seen) == 1 and seen[0] > 0
