"""The parts of the loss beside the labels: another net's answers, and the scales of the batch norms."""

import dataclasses

import keras
import numpy as np
import pytest

import resdense_keras
from resdense_keras import data
from resdense_keras.errors import RequestError
from resdense_keras.training import RECIPES, Recipe, TrainingRequest, objectives, run
from resdense_keras.training.schedules import optimizer
from resdense_keras.training.starts import start

PLAIN = dataclasses.replace(RECIPES["compare"], teacher=0.0)


def _net(seed):
    keras.utils.set_random_seed(seed)
    return resdense_keras.cifar_resnet(depth=8, width=4, classes=3, input_shape=(8, 8, 3))


@pytest.fixture(scope="module")
def nets():
    return _net(1), _net(2)


def _loss(model, recipe, teacher, images, labels, training=True):
    found = objectives.with_objective(model, recipe, teacher, steps=1)
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
    recipe = dataclasses.replace(PLAIN, sparsity=0.01)
    sparse = _loss(model, recipe, None, images, labels)
    scales = sum(np.abs(layer.gamma.numpy()).sum() for layer in model.layers if hasattr(layer, "gamma"))
    assert sparse - plain == pytest.approx(objectives.strength(recipe, 1) * scales, rel=1e-4)


@pytest.mark.parametrize("name, epochs, steps", [("fast", 4, 40), ("fast", 8, 40), ("paper-densenet", 5, 40)])
def test_a_scale_that_nothing_holds_is_moved_as_far_in_any_training(name, epochs, steps):
    """The source's own training moves a scale by 1.32 of its start; here scales start at 1."""
    recipe = dataclasses.replace(RECIPES[name], epochs=epochs, sparsity=1e-5)
    factor = objectives.strength(recipe, steps)
    scale = keras.Variable(3.0, name="gamma")  # far from zero, where the push would end
    chosen = optimizer(recipe, steps)
    for _ in range(epochs * steps):
        chosen.apply([keras.ops.convert_to_tensor(factor)], [scale])
    assert 3 - float(scale) == pytest.approx(1.32, rel=0.03)


def test_a_training_without_steps_has_the_sparsity_as_it_is():
    assert objectives.strength(dataclasses.replace(PLAIN, learning_rate=0, sparsity=1e-5), 40) == 1e-5


def test_a_fresh_net_that_is_trained_for_sparsity_has_no_scale_below_zero(resnet8):
    request = TrainingRequest(resnet8, recipe=dataclasses.replace(RECIPES["compare"], sparsity=1e-5))
    own = list(objectives.scales(start(request, data.load("digits")).model))
    keras.optimizers.SGD(1.0).apply([keras.ops.full(scale.shape, 1.5) for scale in own], own)
    assert own and not any(scale.numpy().any() for scale in own)


def test_the_sources_own_training_has_the_sources_factor_for_scales_that_begin_at_one():
    source = Recipe(160, 64, 0.1, schedule="steps", drops_at=(0.5, 0.75), sparsity=1e-5)
    assert objectives.strength(source, 782) == pytest.approx(2e-5, rel=1e-3)


def test_without_other_parts_the_net_is_trained_as_it_is(nets):
    assert objectives.with_objective(nets[0], PLAIN, nets[1], steps=1) is nets[0]


def test_a_teachers_weights_do_not_train(nets):
    model, teacher = nets
    found = objectives.with_objective(model, dataclasses.replace(PLAIN, teacher=0.5), teacher, steps=1)
    assert len(found.trainable_variables) == len(model.trainable_variables) and not teacher.trainable_variables


def test_a_teacher_without_another_net_is_refused_before_any_work(tmp_path):
    request = TrainingRequest("resnet20", recipe="slim")
    with pytest.raises(RequestError, match="another net's answers"):
        run(request, tmp_path / "run")
    assert not (tmp_path / "run").exists()
