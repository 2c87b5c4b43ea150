"""Slimming of nets that others wrote: what stands between their layers, what their data are, what a refusal leaves."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import yaml

import resdense_keras
from resdense_cli.commands import slim
from resdense_export import sources
from resdense_export.making.slimming import plan, process, repair
from resdense_export.making.slimming.building import build
from resdense_export.making.slimming.channels import net_of
from resdense_export.making.slimming.costs import macs
from resdense_export.making.slimming.scores import Scores
from resdense_export.making.slimming.separable import separated
from resdense_export.making.slimming.shrinking import shape_of
from resdense_keras import data, files, training
from resdense_keras.errors import RequestError
from resdense_keras.training import devices

layers = keras.layers


def net_around(middle, filters=16):
    """A net with `middle` between its first convolution and its head."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", name="stem")(image)))
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(middle(x))))


def images(count):
    return np.random.default_rng(0).uniform(0, 1, (count, 8, 8, 3)).astype("float32")


def half_of(net, layer):
    """The choice without every second channel of a layer."""
    keep, groups = net.everything, np.unique(net.groups[layer])
    assert not net.fixed[groups].any()
    keep[groups[::2]] = False
    return keep


def gated(x):
    """A residual block with a gate of squeeze and excitation."""
    y = layers.Conv2D(32, 3, padding="same", activation="relu", name="inner")(x)
    y = layers.Conv2D(32, 3, padding="same", name="last")(y)
    gate = layers.Conv2D(8, 1, activation="relu", name="squeeze")(layers.GlobalAveragePooling2D(keepdims=True)(y))
    return layers.Add()([x, layers.Multiply()([y, layers.Conv2D(32, 1, activation="sigmoid")(gate)])])


def test_a_step_is_scored_by_all_that_leaves_with_it():
    """Without the few channels of the squeeze the gate has no factor, and the whole branch leaves."""
    net = net_of(net_around(gated, 32))
    scores = Scores(net, images(60))
    keep = net.everything
    keep[net.groups["squeeze"]] = False
    shape = shape_of(net, keep)
    assert "last" not in shape.widths and scores.of(net.groups["squeeze"], whole=True) < 1e-3 * scores.of(
        np.flatnonzero(~shape.keep), whole=True
    )
    found = plan.plan(net, scores, 0.6)
    assert found.widths.get("squeeze", (8, 8))[1] or found.widths["inner"][1] < 32
    assert not found.removed_blocks


@pytest.mark.parametrize(
    "layer",
    [
        layers.SeparableConv2D(16, 3, padding="same"),
        layers.Conv2D(16, 3, groups=4),
        layers.Conv2DTranspose(16, 3, strides=2),
        layers.Conv2D(16, 3, activation=layers.ReLU()),
    ],
    ids=["separable", "grouped", "transposed", "a layer as its activation"],
)
def test_the_work_of_layers_that_are_not_cut_counts_in_the_share(layer):
    def middle(x):
        x = layers.Conv2D(16, 3, padding="same", name="before")(layer(x))
        return layers.Conv2D(16, 1)(x)

    model = net_around(middle)
    net = net_of(model)
    assert macs(net, shape_of(net, net.everything)) == resdense_keras.profile(model).macs
    found = plan.described(net, half_of(net, "before"))
    thin = build(net, found.keep).model
    assert found.macs[1] == resdense_keras.profile(thin).macs
    assert found.parameters == (model.count_params(), thin.count_params())


def test_an_addition_that_repeats_an_input_over_the_image_stays():
    def context(x):
        y = layers.Conv2D(8, 1, activation="relu", name="narrow")(layers.GlobalAveragePooling2D(keepdims=True)(x))
        return layers.Add(name="context")([x, layers.Conv2D(16, 1)(y)])

    net = net_of(net_around(context))
    assert "context" in net.uncut
    keep = net.everything
    keep[net.groups["stem"]] = False
    assert shape_of(net, keep).keep[net.groups["stem"]].all() or shape_of(net, keep).broken
    assert np.isfinite(repair.repaired(net, half_of(net, "narrow"), images(60)).predict(images(4), verbose=0)).all()


@pytest.mark.parametrize("parts", [2, [4]], ids=["equal", "unequal"])
def test_a_split_is_repaired_with_more_images_than_a_batch(parts):
    def shuffled(x):
        one, other = keras.ops.split(x, parts, axis=-1)
        inner = layers.Conv2D(16, 3, padding="same", activation="relu", name="inner")(other)
        return layers.Concatenate()([one, layers.Conv2D(8, 3, padding="same")(inner)])

    net = net_of(net_around(shuffled))
    keep = half_of(net, "inner")
    before, after = build(net, keep).model, repair.repaired(net, keep, images(2 * repair.BATCH + 50))
    whole = build(net).model.predict(images(60), verbose=0)
    off = [np.abs(model.predict(images(60), verbose=0) - whole).mean() for model in (before, after)]
    assert off[1] < off[0]


@pytest.mark.parametrize("scale", [True, False])
def test_a_batch_norm_without_scale_is_repaired_as_one_with_a_scale_of_one(scale):
    def block(x):
        y = layers.Conv2D(16, 3, padding="same", activation="relu", name="inner")(x)
        y = layers.Conv2D(16, 3, padding="same", use_bias=False)(y)
        return layers.Add()([x, layers.BatchNormalization(scale=scale)(y)])

    net = net_of(net_around(block))
    keep = half_of(net, "inner")
    found = repair.repaired(net, keep, images(120)).predict(images(20), verbose=0)
    whole, before = (build(net, one).model.predict(images(20), verbose=0) for one in (net.everything, keep))
    assert np.abs(found - whole).mean() < np.abs(before - whole).mean()


@pytest.mark.parametrize(
    "scaled",
    [lambda y: 0.1 * y, layers.Rescaling(0.1), layers.Rescaling([0.1])],
    ids=["times a number", "a layer that rescales", "by a list of one number"],
)
def test_a_scaled_branch_is_repaired_and_its_channels_leave(scaled):
    def block(x):
        y = layers.Conv2D(16, 3, padding="same", activation="relu", name="inner")(x)
        return layers.Add()([x, scaled(layers.Conv2D(16, 3, padding="same", name="last")(y))])

    net = net_of(net_around(block))
    assert not net.uncut
    keep = half_of(net, "inner") & half_of(net, "last")
    found = repair.repaired(net, keep, images(120)).predict(images(20), verbose=0)
    whole, before = (build(net, one).model.predict(images(20), verbose=0) for one in (net.everything, keep))
    assert np.abs(found - whole).mean() < np.abs(before - whole).mean()


def test_a_gate_of_arithmetic_lets_channels_leave():
    """As in keras.applications' MobileNetV3."""

    def hard(x):
        gate = layers.Conv2D(16, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
        return layers.Conv2D(8, 1)(layers.Multiply()([x, layers.ReLU(6)(gate + 3.0) * (1 / 6)]))

    net = net_of(net_around(hard))
    assert not net.uncut
    assert build(net, half_of(net, "stem")).model.get_layer("stem").filters == 8
    np.testing.assert_allclose(build(net).model(images(4)), net_around(hard)(images(4)), atol=1e-6)


def test_a_number_for_each_channel_is_named_where_channels_could_have_left():
    numbers = [0.5] * 16
    for own in (
        layers.Rescaling(numbers, name="own"),
        layers.Normalization(mean=numbers, variance=numbers, name="own"),
    ):
        net = net_of(net_around(lambda x, own=own: layers.Conv2D(8, 3, name="behind")(own(x))))
        assert net.uncut == {"own": f"{type(own).__name__} has a number for each channel"}
        assert net.fixed[net.groups["stem"]].all()
        assert np.isfinite(repair.repaired(net, half_of(net, "behind"), images(60)).predict(images(4), verbose=0)).all()
    image = keras.Input((8, 8, 3))
    x = layers.Normalization(mean=[1.0, 2, 3], variance=[1.0, 2, 3])(image)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(x))
    assert not net_of(keras.Model(image, layers.Dense(10)(x))).uncut


def test_each_layer_that_keeps_the_channels_of_another_is_named():
    def two(x):
        x = layers.Conv2D(16, 3, name="cut")(x)
        return layers.Add()([layers.Lambda(keras.ops.sin, name=name)(x) for name in ("one", "other")])

    assert list(net_of(net_around(two)).uncut) == ["one", "other"]


class Turned(layers.Layer):
    """Augments, and its `call` does not know of training."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.flip = layers.RandomFlip()

    def call(self, inputs):
        return self.flip(inputs)


SIMPLE = {
    "a function of keras.ops": lambda x: x * keras.ops.sigmoid(x),
    "a mean by keras.ops": lambda x: x * keras.ops.mean(x, axis=[1, 2], keepdims=True),
    "a layer that crops": lambda x: layers.Cropping2D(1)(x),
    "a separable convolution": lambda x: layers.SeparableConv2D(24, 3, depth_multiplier=2, activation="relu")(x),
    "two strided ones": lambda x: layers.SeparableConv2D(24, 3, use_bias=False)(layers.SeparableConv2D(20, 3, 2)(x)),
}


@pytest.mark.parametrize("kind", SIMPLE)
def test_channels_leave_through_what_keeps_them_apart(kind):
    model = net_around(lambda x: layers.Conv2D(12, 1, name="behind")(SIMPLE[kind](x)))
    taken_apart = separated(model)
    assert (taken_apart is model) == ("separable" not in kind and "strided" not in kind)
    np.testing.assert_allclose(taken_apart(images(4)), model(images(4)), atol=1e-6)
    net = net_of(taken_apart)
    assert not net.uncut
    keep = half_of(net, "stem") & half_of(net, "behind")
    found = repair.repaired(net, keep, images(120))
    assert found.get_layer("stem").filters == 8
    described = plan.described(net, keep)
    assert described.macs == (resdense_keras.profile(model).macs, resdense_keras.profile(found).macs)
    assert described.parameters == (model.count_params(), found.count_params())
    thin, whole = build(net, keep).model, model(images(20))
    assert np.abs(found(images(20)) - whole).mean() < np.abs(thin(images(20)) - whole).mean()


def test_a_softmax_inside_a_net_is_named():
    def attended(x):
        return layers.Multiply()([x, layers.Conv2D(16, 1, activation="softmax", name="gate")(x)])

    net = net_of(net_around(attended))
    assert list(net.uncut.values()) == ["softmax looks at all channels at once"]
    image = keras.Input((4,))
    ends = layers.Activation("linear", dtype="float32")(layers.Dense(3, "softmax")(image))
    assert not net_of(keras.Model(image, ends)).uncut


def test_layers_that_were_frozen_are_trained():
    model = net_around(lambda x: layers.Conv2D(16, 1, name="cut")(x))
    for layer in model.layers[:-1]:
        layer.trainable = False
    net = net_of(model)
    found = repair.repaired(net, half_of(net, "cut"), images(60))
    assert len(found.trainable_weights) == 2 + 2 and not found.get_layer("stem").trainable
    found = repair.repaired(net, half_of(net, "stem"), images(60))
    assert len(found.trainable_weights) == 2 + 2 + 2 + 2  # kernels, biases, and a norm's scale and shift


def test_an_activation_of_one_s_own_with_a_name_of_keras_is_refused():
    def gelu(x):
        return 2 * x

    def cut(x):
        return layers.Conv2D(16, 1, name="cut")(layers.Conv2D(16, 1, activation=gelu)(x))

    with pytest.raises(RequestError, match="Keras would load its own gelu"):
        build(net_of(net_around(cut)))


def twice(layer):
    return lambda x: layer(layer(x))


def inside(function):
    image = keras.Input((8, 8, 16))
    return keras.Model(image, function(layers.Conv2D(16, 1)(image)))


def standardised(x):
    deviation = keras.ops.sqrt(keras.ops.mean(keras.ops.square(x), axis=[1, 2, 3]))
    return x / keras.ops.reshape(deviation, (-1, 1, 1, 1))


def at_two_sizes(x):
    separable, mean = layers.SeparableConv2D(16, 3, padding="same"), layers.GlobalAveragePooling2D(keepdims=True)
    return layers.Add()([mean(separable(x)), mean(separable(layers.MaxPooling2D()(x)))])


class Fivefold(keras.Model):
    """A graph with a `call` of its own."""

    def __init__(self):
        image = keras.Input((8, 8, 16))
        super().__init__(image, layers.SeparableConv2D(16, 3, padding="same")(image))

    @classmethod
    def from_config(cls, config):
        return cls()

    def call(self, inputs):
        return 5 * super().call(inputs)


AROUND = {
    "a bound for each channel": lambda x: keras.ops.maximum(x, np.linspace(-1, 1, 16, dtype="float32")),
    "a number for each place": lambda x: x * np.ones((8, 8, 16), "float32"),
    "a function in a model that is called twice": lambda x: twice(inside(keras.ops.silu))(x),
    "a separable convolution at two sizes": at_two_sizes,
    "numbers without channels": standardised,
    "a mean over channels": lambda x: layers.Reshape((8, 8, 1))(keras.ops.average(x, axis=-1)) * x,
    "a graph with a call of its own": lambda x: Fivefold()(x),
}


@pytest.mark.parametrize("kind", AROUND)
def test_what_looks_like_a_known_layer_and_is_none_is_slimmed_around(kind):
    model = net_around(lambda x: layers.Conv2D(8, 1)(layers.Conv2D(16, 1, name="behind")(AROUND[kind](x))))
    net = net_of(separated(model))
    assert net.uncut and net.fixed[net.groups["stem"]].all()
    np.testing.assert_allclose(build(net).model(images(4)), model(images(4)), atol=1e-5)
    found = repair.repaired(net, half_of(net, "behind"), images(60))
    assert found.get_layer("behind").filters == 8 and np.isfinite(found(images(4))).all()


def test_augmentation_inside_a_net_takes_no_part():
    def net(*front):
        keras.utils.set_random_seed(0)
        image = x = keras.Input((8, 8, 3))
        for layer in front:
            x = layer(x)
        x = layers.Conv2D(16, 3, activation="relu", name="inner")(x)
        return net_of(keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(x)))))

    augmented, plain = net(layers.RandomRotation(0.3), Turned()), net()
    assert not augmented.uncut
    first, second = (Scores(one, images(60)) for one in (augmented, plain))
    keep = half_of(augmented, "inner")
    left, same = np.flatnonzero(~keep), np.flatnonzero(~half_of(plain, "inner"))
    assert first.of(left) == pytest.approx(second.of(same), rel=1e-4)
    found, expected = (
        repair.repaired(one, half_of(one, "inner"), images(120)).predict(images(9), verbose=0)
        for one in (augmented, plain)
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_layer_without_bias_keeps_the_means_of_its_outputs_though_only_the_values_of_its_inputs_changed():
    def middle(x):
        x = layers.Conv2D(16, 1, activation="relu", name="inner")(x)
        x = layers.Conv2D(16, 1, activation="relu", use_bias=False)(x)
        return layers.Conv2D(12, 1, use_bias=False)(x)

    net = net_of(net_around(middle))
    keep = half_of(net, "inner")
    means = []
    for model in (build(net).model, repair.repaired(net, keep, images(200))):
        pooled = keras.Model(model.inputs, model.layers[-1].input)
        means.append(pooled.predict(images(200), verbose=0).mean(axis=0))
    np.testing.assert_allclose(means[1], means[0], atol=1e-4)


def test_a_layer_that_only_lost_outputs_computes_what_is_left_as_before():
    """Also beside a branch that left: what such a layer reads is whole, and it may have no bias to make up for more."""

    def middle(x):
        branch = layers.Conv2D(16, 1, name="inner", activation="relu")(x)
        branch = layers.Conv2D(12, 1)(branch)
        shortcut = layers.Conv2D(12, 1, use_bias=False, name="shortcut")(x)
        return layers.Conv2D(8, 1)(layers.Add()([branch, shortcut]))

    net = net_of(net_around(middle))
    keep = half_of(net, "shortcut")
    keep[net.groups["inner"]] = False
    kernels = [
        model.get_layer("shortcut").kernel for model in (build(net).model, repair.repaired(net, keep, images(90)))
    ]
    np.testing.assert_array_equal(kernels[1], np.asarray(kernels[0])[..., keep[net.groups["shortcut"]]])


def test_a_norm_is_measured_again_though_one_of_its_channels_is_always_zero():
    def middle(x):
        x = layers.Conv2D(16, 1, activation="relu", name="inner")(x)
        x = layers.BatchNormalization(name="norm")(layers.Conv2D(16, 1, activation="relu", name="dead")(x))
        return layers.Conv2D(8, 1)(x)

    model = net_around(middle)
    kernel, bias = model.get_layer("dead").get_weights()
    model.get_layer("dead").set_weights([kernel, bias - 1000 * (np.arange(16) == 0)])
    net = net_of(model)
    norm = repair.repaired(net, half_of(net, "inner"), images(120)).get_layer("norm")
    assert norm.moving_mean[0] == 0 and norm.moving_variance[0] == 1  # as they were
    assert np.all(np.asarray(norm.moving_variance)[1:] < 0.9)


def test_a_layer_without_weights_may_have_several_places():
    relu, pool = layers.ReLU(), layers.MaxPooling2D(2)

    def twice(x):
        x = pool(relu(layers.Conv2D(24, 3, padding="same", name="wide")(x)))
        return pool(relu(layers.Conv2D(12, 3, padding="same", name="narrow")(x)))

    model = net_around(twice)
    net = net_of(model)
    assert not net.uncut
    keep = half_of(net, "wide") & half_of(net, "narrow")
    thin = build(net, keep).model
    assert thin.get_layer("wide").filters == 12 and thin.get_layer("narrow").filters == 6
    assert plan.described(net, keep).macs[1] == resdense_keras.profile(thin).macs


def test_a_layer_with_weights_in_several_places_counts_its_parameters_once():
    shared = layers.Conv2D(16, 3, padding="same")
    model = net_around(lambda x: layers.Conv2D(8, 3, name="cut")(shared(shared(x))))
    net = net_of(model)
    keep = half_of(net, "cut")
    assert plan.described(net, keep).parameters == (model.count_params(), build(net, keep).model.count_params())


def test_first_values_of_the_old_width_are_no_hindrance():
    start = keras.initializers.Constant(np.arange(12.0))
    net = net_of(net_around(lambda x: layers.Conv2D(12, 3, bias_initializer=start, name="cut")(x)))
    built = build(net, half_of(net, "cut"))
    np.testing.assert_array_equal(built.model.get_layer("cut").bias, np.arange(1.0, 12, 2))


def test_few_rows_and_many_are_solved_to_the_same_weights():
    """The ridge regression has two forms; the smaller system is solved."""
    random = np.random.default_rng(0)
    rows, goals = random.normal(size=(40, 39)).astype("float32"), random.normal(size=(40, 5)).astype("float32")
    wide = np.concatenate([rows, np.zeros((40, 2), "float32")], axis=1)  # inputs that are always 0 change the form only
    strength = repair.RIDGE * float(np.square(rows).sum())
    expected = np.linalg.solve(rows.T @ rows + strength / 39 * np.eye(39), rows.T @ goals)
    np.testing.assert_allclose(repair._ridge(rows, goals), expected, atol=1e-3)
    expected = np.linalg.solve(rows.T @ rows + strength / 41 * np.eye(39), rows.T @ goals)
    np.testing.assert_allclose(repair._ridge(wide, goals)[:39], expected, atol=1e-3)


def test_whether_a_net_guesses_does_not_hang_on_the_share_of_its_commonest_class():
    labels = np.array([0] * 490 + [1] * 10)
    assert not process._guessed(labels == labels, labels)  # all right
    assert process._guessed(labels == 0, labels)  # always the commonest
    assert not process._guessed(np.zeros(9, bool), np.zeros(9, int))  # of one class nobody can tell
    labels = np.arange(500) % 10
    random = np.random.default_rng(0)
    assert process._guessed(random.integers(0, 10, 500) == labels, labels)
    assert not process._guessed(random.uniform(size=500) < 0.2, labels)


@pytest.fixture
def digits_run(tmp_path, monkeypatch):
    """(sources.Net, a function of a SlimRequest and data that begins a run of it, its folder); few images score."""
    monkeypatch.setattr(process, "IMAGES", 60)
    model = resdense_keras.create("resnet20_digits", weights="digits", include_preprocessing=True)
    net, out = sources.Net("resnet20_digits", model, "unknown"), tmp_path / "run"

    def begin(asked, spec="digits", resume=False):
        request = process.training_request(net, spec, asked, recipe=training.recipe("slim", epochs=1))
        return process.slim(net, asked, request, out, resume=resume)

    return net, begin, out


class Begun(Exception):
    """The training would begin now."""


@pytest.mark.slow
def test_a_refused_plan_leaves_the_folder_free_for_the_next_call(digits_run, monkeypatch):
    _, begin, out = digits_run
    with pytest.raises(RequestError, match="the smallest that can be"):
        begin(process.SlimRequest(macs=1e-6))

    def run(*arguments, **settings):
        raise Begun

    monkeypatch.setattr(training, "run", run)
    with pytest.raises(Begun):
        begin(process.SlimRequest(macs=0.7))
    assert (out / "checkpoints/slim.keras").is_file()


@pytest.mark.slow
def test_a_plan_goes_on_only_with_the_data_that_it_was_made_from(digits_run, monkeypatch, tmp_path):
    _, begin, out = digits_run
    dataset = data.load("digits")
    arrays = [dataset.train.array(), dataset.train.labels, dataset.test.array(), dataset.test.labels]
    arrays[0] = arrays[0] ^ 1  # so little that the net still answers rightly
    np.savez(tmp_path / "others.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays, strict=True)))

    def stopped(*arguments, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(process, "repaired", stopped)
        with pytest.raises(KeyboardInterrupt):
            begin(process.SlimRequest(macs=0.7))
    with pytest.raises(RequestError, match="the data have changed since"):
        begin(process.SlimRequest(macs=0.7), str(tmp_path / "others.npz"), resume=True)
    assert not (out / "checkpoints/slim.keras").exists()
    with monkeypatch.context() as patch:
        patch.setattr(training, "run", stopped)
        with pytest.raises(KeyboardInterrupt):  # before the training has a state that knows its data
            begin(process.SlimRequest(macs=0.7), resume=True)
    with pytest.raises(RequestError, match="the data have changed since"):
        begin(process.SlimRequest(macs=0.7), str(tmp_path / "others.npz"), resume=True)
    config = training.read_config(out / "config.yaml") | {"data": str(tmp_path / "others.npz")}
    with pytest.raises(RequestError, match="the data have changed since"):  # `train RUN/config.yaml`
        training.run(training.TrainingRequest.from_config(config), out, resume=True)


@pytest.mark.parametrize("width", [16, 32])
def test_a_share_that_no_stair_reaches_names_what_can_be_asked_for(width):
    net = net_of(net_around(lambda x: layers.Conv2D(16, 1)(x), width))
    with pytest.raises(RequestError, match="the smallest that can be reached") as refused:
        plan.plan(net, Scores(net, images(50)), 0.01)
    assert "pass --for macs, which removes single channels and may reach less" in refused.value.hint
    assert ("ask for --macs 0." in refused.value.hint) == (width == 32) and "--macs 1 " not in refused.value.hint


@pytest.mark.parametrize(("spec", "resize"), [("d.npz", "crop"), (".", "stretch")])
def test_photos_are_resized_as_in_the_net_s_training_and_arrays_are_not(spec, resize):
    net = sources.Net("tiny", net_around(lambda x: x), "unknown", resize="stretch")
    asked = process.SlimRequest(macs=0.5)
    request = slim._request(net, spec, asked, "slim", 0, False, None, "fail", None, devices.choose(None))
    assert request.resize == resize


def test_the_folder_of_an_ordinary_training_is_refused(tmp_path):
    files.write_text(tmp_path / "config.yaml", yaml.safe_dump(training.TrainingRequest(model="resnet20").as_config()))
    net = sources.Net("tiny", net_around(lambda x: x), "unknown")
    with pytest.raises(RequestError, match="holds another run: .*it was not made by `resdense slim`"):
        process._check_place(tmp_path, process.training_request(net, "digits", process.SlimRequest(macs=0.5)), True)


def test_a_plan_by_counted_instructions_does_not_go_on_as_one_by_times(tmp_path):
    net = sources.Net("tiny", net_around(lambda x: x), "unknown")
    counted, timed = (
        process.training_request(net, "digits", process.SlimRequest(latency=0.5, counted=by)) for by in (True, None)
    )
    files.write_text(tmp_path / "config.yaml", yaml.safe_dump(counted.as_config()))
    process._check_place(tmp_path, counted, True)
    with pytest.raises(RequestError, match="counted is True there and None here"):
        process._check_place(tmp_path, timed, True)


def test_a_file_in_the_place_of_the_run_is_refused_before_the_work(tmp_path):
    files.write_text(tmp_path / "run", "mine")
    net = sources.Net("tiny", net_around(lambda x: x), "unknown")
    with pytest.raises(RequestError, match="run is a file"):
        process._check_place(
            tmp_path / "run", process.training_request(net, "digits", process.SlimRequest(macs=0.5)), False
        )


def test_a_plan_whose_numbers_mean_other_channels_does_not_go_on(tmp_path):
    net = net_of(net_around(lambda x: layers.Conv2D(12, 1, name="cut")(x)))
    one, other = (np.flatnonzero(half_of(net, name)).tolist() for name in ("stem", "cut"))
    found = plan.described(net, half_of(net, "stem"))
    files.write_json(tmp_path / "slim.json", {"widths": found.widths})
    assert process._plan_there(tmp_path, {"keep": one}, net).macs == found.macs
    for keep in (other, [*one, net.count]):
        with pytest.raises(RequestError, match="made by another version"):
            process._plan_there(tmp_path, {"keep": keep}, net)


def test_until_the_training_has_begun_it_may_be_another_one(tmp_path):
    net = sources.Net("tiny", net_around(lambda x: x), "unknown")

    def asked(batch_size, **size):
        return process.training_request(
            net, "digits", process.SlimRequest(**size), training.recipe("slim", batch_size=batch_size)
        )

    files.write_text(tmp_path / "config.yaml", yaml.safe_dump(asked(128, macs=0.5).as_config()))
    process._check_place(tmp_path, asked(64, macs=0.5), True)  # after a memory that was full
    with pytest.raises(RequestError, match="macs is 0.5 there and 0.6 here"):
        process._check_place(tmp_path, asked(64, macs=0.6), True)
    files.write_text(tmp_path / "checkpoints" / "state.safetensors", "begun")
    with pytest.raises(RequestError, match="batch_size"):
        process._check_place(tmp_path, asked(64, macs=0.5), True)


def test_data_with_the_classes_in_another_order_are_refused(digits_run):
    net, _, _ = digits_run
    dataset = data.load("digits")
    swapped = dataclasses.replace(dataset, class_names=("1", "0", *"23456789"))
    with pytest.raises(RequestError, match=r"class 0 is '0' for the model and '1'") as refused:
        process._check_data(swapped, dataclasses.replace(net, class_names=tuple("0123456789")))
    assert "--labels" not in refused.value.hint


def test_a_net_that_chooses_no_class_is_refused_before_it_is_planned():
    image = keras.Input((8, 8, 3))
    net = sources.Net("masks", keras.Model(image, layers.Conv2D(4, 1)(image)), "unknown")
    with pytest.raises(RequestError, match="slim takes nets that choose one class"):
        process.show(net, None, process.SlimRequest(macs=0.5), images=images(50))


def bars(count, channels):
    """Noise with a bright bar across (class 1) or along (class 0), as uint8."""
    random, labels = np.random.default_rng(0), np.arange(count) % 2
    found = random.uniform(0, 100, (count, 12, 12, channels))
    for image, across, place in zip(found, labels, random.integers(0, 10, count), strict=True):
        rows = image if across else image.swapaxes(0, 1)
        rows[place : place + 2] += 120
    return found.astype("uint8"), labels


def in_folders(found, labels, folder):
    from PIL import Image

    for number, (image, label) in enumerate(zip(found, labels, strict=True)):
        place = folder / ("train" if number < 180 else "test") / ("0 along", "1 across")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{number}.png")
    return folder


def in_arrays(found, labels, folder):
    arrays = {"x_train": found[:180], "y_train": labels[:180], "x_test": found[180:], "y_test": labels[180:]}
    np.savez(folder / "bars.npz", **arrays)
    return folder / "bars.npz"


def test_batch_norms_that_have_not_settled_are_told_from_a_net_that_is_untrained(tmp_path):
    found, labels = bars(240, 1)
    image = keras.Input((12, 12, 1))
    keras.utils.set_random_seed(0)
    norm = layers.BatchNormalization()
    x = layers.ReLU()(norm(layers.Conv2D(16, 3, use_bias=False)(image)))
    model = keras.Model(image, layers.Dense(2, "softmax")(layers.GlobalMaxPooling2D()(x)))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(found[:180], labels[:180], epochs=8, batch_size=30, verbose=0)
    norm.moving_mean.assign(norm.moving_mean + 1e4)  # still so far off that no ReLU passes anything
    dataset = data.load(str(in_arrays(found, labels, tmp_path)))
    net = sources.Net("tiny", model, "unknown")
    with pytest.raises(RequestError, match="moving statistics of its batch norms have not settled"):
        process._check_trained(model, dataset, net)


def test_photos_of_another_shape_get_a_warning_only_where_no_resizing_was_asked_for(tmp_path, capsys):
    found, labels = bars(240, 1)
    folder = in_folders(found[:, :, :9], labels, tmp_path / "photos")
    image = keras.Input((12, 12, 1))
    guessing = layers.Dense(2, "softmax", kernel_initializer="zeros")  # so it is refused after the look at the photos
    net = sources.Net("tiny", keras.Model(image, guessing(layers.Flatten()(layers.Conv2D(32, 3)(image)))), "unknown")
    asked, said = process.SlimRequest(macs=0.5), []
    for resize in ("crop", None):
        request = process.training_request(net, str(folder), asked, resize=resize or "crop")
        with pytest.raises(RequestError, match="no more than guessing would"):
            process.slim(net, asked, request, tmp_path / "run", resize=resize)
        said.append("photos such as" in capsys.readouterr().err)
    assert said == [False, True]


def pooled(units, activation=None):
    return lambda x: layers.Dense(units, activation)(layers.GlobalMaxPooling2D()(x))


def flattened(x):
    return layers.Dense(2)(layers.Dense(24, "relu", name="hidden")(layers.Flatten()(layers.MaxPooling2D(2)(x))))


KINDS = {
    "one sigmoid, computed in float16": (pooled(1, "sigmoid"), 3, in_arrays, "mixed_float16"),
    "logits behind a Flatten": (flattened, 3, in_arrays, "float32"),
    "grey photos in folders": (pooled(2, "softmax"), 1, in_folders, "float32"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_net_and_data_is_slimmed_trained_and_judged(kind, resdense, tmp_path):
    head, channels, stored, policy = KINDS[kind]
    found, labels = bars(240, channels)
    image = keras.Input((12, 12, channels))
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        x = layers.RandomTranslation(0.1, 0.1)(layers.Rescaling(1 / 255)(image))
        for filters in (16, 24):
            x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, use_bias=False)(x)))
        model = keras.Model(image, head(x))
    finally:
        keras.config.set_dtype_policy("float32")
    loss = (
        keras.losses.SparseCategoricalCrossentropy(from_logits=head is flattened)
        if model.output_shape[-1] > 1
        else "binary_crossentropy"
    )
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(found[:180], labels[:180], epochs=12, batch_size=30, verbose=0)
    model.save("net.keras")
    data = stored(found, labels, tmp_path)
    run = ("--macs", "0.5", "--for", "macs", "--epochs", "2", "--out", "run")
    code, _, errors = resdense("slim", "net.keras", "--data", data, *run)
    assert code == 0, errors
    whole, tuned = (
        json.loads(resdense("eval", file, "--data", data, "--json")[1])["accuracy"]
        for file in ("net.keras", "run/model.keras")
    )
    assert whole > 0.85 and tuned > whole - 0.1
