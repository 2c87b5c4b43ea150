"""Laws of the steps: the loss fits the outputs, classes weigh what they should, the average is one, patience ends."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from resdense_keras import RequestError, data
from resdense_keras.training import Training, evaluate, fit, recipe
from resdense_keras.training.loop import balanced, is_over
from resdense_keras.training.losses import gives_probabilities

RECIPE = recipe("compare", epochs=2, batch_size=32, augment=(), label_smoothing=0.1)


def dataset(counts=(120, 60, 20), classes=3):
    """uint8 images whose brightness tells their class, so many of each."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = random.integers(0, 60, (len(labels), 8, 8, 3)) + 60 * labels[:, None, None, None]
    split = data.Split(
        labels=labels, indices=np.arange(len(labels)), image_shape=(8, 8, 3), images=pixels.astype(np.uint8)
    )
    names = tuple("abc"[:classes])
    return data.Dataset(
        spec="made", class_names=names, image_shape=(8, 8, 3), train=split, validation=split, test=split
    )


def net(classes=3, activation="softmax", last=None):
    """A user's net; the same weights each time."""
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(keras.layers.Rescaling(1 / 255)(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x)))
    x = keras.layers.Dense(classes, activation=activation)(x)
    return keras.Model(inputs, x if last is None else last(x))


@pytest.mark.parametrize(
    "model, expected",
    [
        (net(), True),
        (net(1, "sigmoid"), True),
        (net(activation=None), False),
        (net(activation=None, last=keras.layers.Softmax()), True),
        (net(activation=None, last=keras.ops.softmax), True),
        (net(last=keras.layers.Activation("linear", dtype="float32")), True),
        (net(last=keras.layers.Reshape((3,))), True),
        (net(activation="relu"), False),
    ],
)
def test_outputs_are_told_by_the_last_operation(model, expected):
    assert gives_probabilities(model) == expected
    nested = keras.Input((8, 8, 3))
    assert gives_probabilities(keras.Model(nested, model(nested))) == expected


def test_logits_and_their_probabilities_train_to_the_same_weights():
    made = dataset()
    models = [net(), net(activation=None)]
    histories = [fit(model, made, RECIPE) for model in models]
    for first, second in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-4)
    assert histories[0][-1]["val_loss"] == pytest.approx(histories[1][-1]["val_loss"], rel=1e-3)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_one_output_learns_which_of_two_classes(activation):
    made, model = dataset((90, 60), classes=2), net(1, activation)
    history = fit(model, made, replace(RECIPE, epochs=8, learning_rate=0.2))
    assert history[-1]["val_accuracy"] > 0.95
    answers = model.predict(made.train.images.astype("float32"), verbose=0)[:, 0]
    assert ((answers > (0.5 if activation else 0)) == made.train.labels).mean() > 0.95


def test_a_net_with_fewer_outputs_than_classes_is_refused_before_a_step():
    with pytest.raises(RequestError, match="a model of 2 outputs"):
        Training(net(2), dataset(), RECIPE)


def test_a_net_whose_answers_are_no_classes_is_refused_before_a_step():
    with pytest.raises(RequestError, match="softmax of one number"):
        Training(net(1), dataset(classes=2), RECIPE)
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(RequestError, match="8 x 8 x 3 numbers per image"):
        Training(keras.Model(inputs, keras.layers.Rescaling(2)(inputs)), dataset(), RECIPE)


def test_balanced_weights_have_mean_one_and_give_each_class_the_same_say():
    labels = dataset().train.labels
    weights = balanced(labels, 4)
    assert weights[labels].mean() == pytest.approx(1)
    assert np.bincount(labels, weights[labels]) == pytest.approx([len(labels) / 3] * 3)
    assert weights[3] == 0


def test_the_loss_of_a_step_counts_each_image_by_its_class():
    """Against the loss by hand, with the weights before the step: whole batch, no smoothing, momentum or decay."""
    made = dataset((40, 20, 4))
    asked = replace(RECIPE, epochs=1, batch_size=64, label_smoothing=0.0, class_weights="balanced")
    model = net()
    images, labels = made.train.images.astype("float32"), made.train.labels
    answers = keras.ops.convert_to_numpy(model(images, training=True))
    losses = -np.log(answers[np.arange(64), labels])
    record = Training(model, made, asked).run()[0]
    assert record["loss"] == pytest.approx((losses * balanced(labels, 3)[labels]).mean(), rel=1e-4)
    assert record["loss"] != pytest.approx(losses.mean(), rel=1e-2)


def test_the_average_follows_its_formula_and_is_what_is_judged():
    made, asked = dataset(), replace(RECIPE, epochs=1, ema=0.6)
    training = Training(net(), made, asked)
    by_hand, seen = training.model.get_weights(), []

    def follow(epoch, step):
        share = 1 - min(0.6, (1 + step) / (10 + step))
        for mean, now in zip(by_hand, training.model.get_weights(), strict=True):
            mean += share * (now - mean)
        seen.append(step)

    (record,) = training.run(on_step=follow)
    assert len(seen) == 7
    raw = training.model.get_weights()
    with training.judged():
        for mean, expected in zip(training.model.get_weights(), by_hand, strict=True):
            np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)
        assert record["val_accuracy"] == pytest.approx(evaluate(training.model, made.validation)["accuracy"])
    for now, before in zip(training.model.get_weights(), raw, strict=True):
        np.testing.assert_array_equal(now, before)
    assert any(np.abs(mean - now).max() > 1e-3 for mean, now in zip(by_hand, raw, strict=True))


def test_fit_leaves_the_average_in_the_model_and_a_second_seed_begins_a_new_one():
    made, model = dataset(), net()
    first = model.get_weights()
    training = Training(model, made, replace(RECIPE, epochs=1, ema=0.9))
    endings = []
    for _ in range(2):
        model.set_weights(first)
        training.run()
        with training.judged():
            endings.append(model.get_weights())
    other = net()
    fit(other, made, replace(RECIPE, epochs=1, ema=0.9))
    for one, two, three in zip(*endings, other.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
        np.testing.assert_allclose(one, three, atol=1e-5)


def test_patience_counts_epochs_without_a_better_one():
    def over(*accuracies, patience=2):
        return is_over(replace(RECIPE, patience=patience), [{"val_accuracy": found} for found in accuracies])

    assert not over() and not over(0.5) and not over(0.5, 0.5) and over(0.5, 0.5, 0.5)
    assert not over(0.5, 0.4, 0.6, 0.6) and over(0.5, 0.4, 0.6, 0.6, 0.1)
    assert not over(0.5, 0.1, 0.1, 0.1, patience=0)


def test_a_training_without_progress_ends_early_wherever_it_was_cut():
    made, asked = dataset(), replace(RECIPE, epochs=9, patience=2, learning_rate=1e-9, warmup=0.0)
    training = Training(net(), made, asked)
    history = training.run()
    assert len(history) == 3
    assert training.run(start=(2, 0), history=history[:2])[0]["epoch"] == 3
    assert training.run(start=(3, 0), history=history) == []


def test_adamw_learns_and_warns_of_the_learning_rates_of_sgd():
    made, asked = dataset(), recipe("adamw", epochs=12, batch_size=16, learning_rate=0.02, augment=())
    model = net()
    assert fit(model, made, asked)[-1]["val_accuracy"] > 0.85
    assert type(model.optimizer).__name__ == "AdamW" and model.optimizer.weight_decay == 0.05
    with pytest.warns(UserWarning, match=r"a learning rate of 0\.2 is SGD's"):
        Training(net(), made, replace(asked, learning_rate=0.2))
