"""The parts of the loss beside the labels: another net's answers, and the scales of the batch norms."""

import dataclasses

import keras
import numpy as np
import pytest

import resdense_keras
from resdense_keras.errors import RequestError
from resdense_keras.training import RECIPES, TrainingRequest, objectives, run

PLAIN = dataclasses.replace(RECIPES["compare"], teacher=0.0)


def _net(seed):
    keras.utils.set_random_seed(seed)
    return resdense_keras.cifar_resnet(depth=8, width=4, classes=3, input_shape=(8, 8, 3))


@pytest.fixture(scope="module")
def nets():
    return _net(1), _net(2)


def _loss(model, recipe, teacher, images, labels, training=True):
    found = objectives.with_objective(model, recipe, teacher)
    found.compile("sgd", keras.losses.CategoricalCrossentropy())
    outputs = model(images, training=False)
    return float(found.compute_loss(x=images, y=labels, y_pred=outputs, training=training))


def test_the_loss_is_the_labels_and_the_teachers_answers_in_their_shares(nets):
    model, teacher = nets
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype("float32")
    labels = np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]]
    recipe = dataclasses.replace(PLAIN, teacher=0.7, temperature=4.0)
    own, others = (np.asarray(net(images, training=False), np.float64) for net in nets)

    def softened(answers):
        powers = answers ** (1 / 4)
        return powers / powers.sum(axis=1, keepdims=True)

    of_labels = -np.mean(np.sum(labels * np.log(own), axis=1))
    of_teacher = -16 * np.mean(np.sum(softened(others) * np.log(softened(own)), axis=1))
    found = _loss(model, recipe, teacher, images, labels)
    assert found == pytest.approx(0.3 * of_labels + 0.7 * of_teacher, rel=1e-4)
    assert _loss(model, recipe, teacher, images, labels, training=False) == pytest.approx(of_labels, rel=1e-4)


def test_sparsity_adds_the_absolute_scales_of_the_batch_norms(nets):
    model, _ = nets
    images, labels = np.zeros((2, 8, 8, 3), "float32"), np.eye(3, dtype="float32")[:2]
    plain = _loss(model, PLAIN, None, images, labels)
    sparse = _loss(model, dataclasses.replace(PLAIN, sparsity=0.01), None, images, labels)
    scales = sum(np.abs(layer.gamma.numpy()).sum() for layer in model.layers if hasattr(layer, "gamma"))
    assert sparse - plain == pytest.approx(0.01 * scales, rel=1e-4)


def test_without_other_parts_the_net_is_trained_as_it_is(nets):
    assert objectives.with_objective(nets[0], PLAIN, nets[1]) is nets[0]


def test_a_teachers_weights_do_not_train(nets):
    model, teacher = nets
    found = objectives.with_objective(model, dataclasses.replace(PLAIN, teacher=0.5), teacher)
    assert len(found.trainable_variables) == len(model.trainable_variables) and not teacher.trainable_variables


def test_a_teacher_without_another_net_is_refused_before_any_work(tmp_path):
    request = TrainingRequest("resnet20", recipe="slim")
    with pytest.raises(RequestError, match="another net's answers"):
        run(request, tmp_path / "run")
    assert not (tmp_path / "run").exists()
