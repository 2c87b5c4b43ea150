"""Slimming: which channels go together, that nothing else changes where they leave, and what the command refuses."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resdense_export
import resdense_keras
from resdense_export import sources
from resdense_export.bundle import card
from resdense_export.making.slimming import candidates, latency, plan, process, repair, scores, search
from resdense_export.making.slimming.building import build
from resdense_export.making.slimming.channels import net_of
from resdense_export.making.slimming.costs import TARGETS, Counted, instructions, macs, stairs
from resdense_export.making.slimming.norms import as_maxima
from resdense_export.making.slimming.scores import Scores
from resdense_export.making.slimming.shrinking import Shape, shape_of
from resdense_export.schemes import SCHEMES
from resdense_keras import training
from resdense_keras.catalog import family
from resdense_keras.errors import RequestError
from resdense_keras.training import state

SAME = 1e-5  # of probabilities, float32


def _convolutions():
    """What a stranger's net has: depthwise convolutions, a gate of squeeze and excitation, a nested model."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.PReLU(shared_axes=(1, 2))(x)
    gate = keras.layers.GlobalAveragePooling2D()(x)
    gate = keras.layers.Reshape((1, 1, 16))(gate)
    gate = keras.layers.Conv2D(4, 1, activation="swish")(gate)
    gate = keras.layers.Conv2D(16, 1, activation="sigmoid")(gate)
    x = keras.layers.Multiply()([x, gate])
    inner = keras.Input((8, 8, 16))
    x = keras.Model(inner, keras.layers.ReLU(6)(keras.layers.Conv2D(12, 3, strides=2)(inner)), name="inside")(x)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(3)(x))
    return keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(keras.layers.Dense(10)(x)))


NETS = {
    "resnet, option A": lambda: resdense_keras.cifar_resnet(depth=8, width=8, input_shape=(8, 8, 3)),
    "resnet, option B": lambda: resdense_keras.cifar_resnet(depth=8, width=8, shortcut="B", input_shape=(8, 8, 3)),
    "resnet v2": lambda: resdense_keras.cifar_resnet(
        depth=11, width=4, variant="v2", block="bottleneck", input_shape=(8, 8, 3)
    ),
    "densenet": lambda: resdense_keras.cifar_densenet(depth=10, growth_rate=4, input_shape=(8, 8, 3)),
    "densenet, plain": lambda: resdense_keras.cifar_densenet(
        depth=7, growth_rate=4, bottleneck=False, compression=1.0, input_shape=(8, 8, 3)
    ),
    "a stranger's": _convolutions,
    "MobileNetV2": lambda: keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10),
}


@pytest.fixture(scope="module")
def nets():
    """{name: (model with statistics of a trained one, its Net)}, made once."""
    made = {}

    def get(name):
        if name not in made:
            keras.utils.set_random_seed(0)
            random, model = np.random.default_rng(0), NETS[name]()
            for weight in model.weights:
                low = weight.path.rpartition("/")[2]
                if low in ("gamma", "moving_variance"):
                    weight.assign(random.uniform(0.5, 1.5, weight.shape))
                elif low in ("beta", "moving_mean", "bias", "alpha"):
                    weight.assign(random.normal(0, 0.2, weight.shape))
            made[name] = model, net_of(model)
        return made[name]

    return get


def _images(model, count=4):
    return np.random.default_rng(1).uniform(0, 1, (count, *model.input_shape[1:])).astype("float32")


def _answers(model):
    return np.asarray(model(_images(model), training=False))


each_net = pytest.mark.parametrize("name", NETS)


@each_net
def test_nothing_removed_is_the_same_net(name, nets):
    model, net = nets(name)
    built = build(net)
    assert np.abs(_answers(built.model) - _answers(model)).max() < SAME
    assert built.model.count_params() == model.count_params()


@each_net
@settings(max_examples=2)
@given(data=st.data())
def test_channels_that_are_zero_leave_without_a_trace(name, nets, data):
    _, net = nets(name)
    shape = _some(net, data.draw(st.integers(0, 2**32 - 1)), data.draw(st.floats(0.05, 0.6)))
    zeroed = _zeroed(net, shape)
    assert np.abs(_answers(build(net, shape.keep).model) - zeroed).max() < SAME


def _some(net, seed, share):
    """The Shape of a random choice that can run."""
    random = np.random.default_rng(seed)
    free, keep = np.flatnonzero(~net.fixed), net.everything
    for group in random.permutation(free)[: int(share * len(free))]:
        trial = keep.copy()
        trial[group] = False
        if not shape_of(net, trial).broken:
            keep = trial
    return shape_of(net, keep)


def _zeroed(net, shape):
    """The answers of the whole net in which every channel that leaves is zero wherever it is made."""
    whole = build(net)
    for name, layer in whole.layers.items():
        gone = ~shape.keep[net.groups[name]] if name in shape.widths else np.ones(len(net.groups[name]), bool)
        if net.kinds[name] in ("Conv2D", "Dense"):
            layer.set_weights([np.where(gone, 0, array) for array in layer.get_weights()])
        elif net.kinds[name] == "DepthwiseConv2D":
            if layer.use_bias:
                layer.bias.assign(np.where(gone, 0, layer.bias))
        elif net.kinds[name] == "Affine" and hasattr(layer, "gamma"):
            layer.gamma.assign(np.where(gone, 0, layer.gamma))
            layer.beta.assign(np.where(gone, 0, layer.beta))
    return _answers(whole.model)


def test_channels_that_an_addition_couples_leave_together(nets):
    _, net = nets("resnet, option A")
    keep = net.everything
    keep[net.groups["stage1_block1_conv2"][:3]] = False
    widths = shape_of(net, keep).widths
    assert widths["stem_conv"] == widths["stage1_block1_add"] == 5
    assert widths["stage2_block1_conv2"] == widths["stage2_block1_add"] == 16 - 3  # option A carries them on
    assert widths["stage2_block1_conv1"] == 16  # an inner layer is coupled to nothing


def test_a_block_without_inner_channels_leaves_as_a_whole(nets):
    _, net = nets("densenet")
    keep = net.everything
    keep[net.groups["stage1_block1_conv1"]] = False
    built = build(net, keep)
    assert not [layer for layer in built.model.layers if layer.name.startswith("stage1_block1")]
    described = plan.described(net, keep)
    assert described.widths["stage1_block1_conv2"] == (4, 0) and "stage1_block1_concat" in described.removed_blocks


@each_net
def test_a_slim_net_is_read_back_by_keras_alone_and_counts_as_predicted(name, nets, tmp_path):
    _, net = nets(name)
    shape = _some(net, 7, 0.3)
    model = build(net, shape.keep, name="thin").model
    model.save(tmp_path / "thin.keras")
    again = keras.saving.load_model(tmp_path / "thin.keras")
    assert np.abs(_answers(again) - _answers(model)).max() < SAME
    described = plan.described(net, shape.keep)
    assert described.macs[1] == resdense_keras.profile(model).macs
    assert described.parameters == (nets(name)[0].count_params(), model.count_params())


def test_a_slim_net_slims_again(nets):
    _, net = nets("resnet, option A")
    once = build(net, _some(net, 3, 0.3).keep).model
    again = net_of(once)
    twice = build(again, _some(again, 4, 0.3).keep).model
    assert twice.count_params() < once.count_params() < nets("resnet, option A")[0].count_params()


def test_a_plan_is_reproducible_and_reaches_its_target(nets):
    model, net = nets("resnet, option B")
    images = _images(model, 60) * 255
    plans = [plan.plan(net, Scores(net, images), 0.6, "phone-float") for _ in range(2)]
    assert (plans[0].keep == plans[1].keep).all()
    assert plans[0].macs[1] <= 0.6 * plans[0].macs[0]
    assert plans[0].macs[0] == resdense_keras.profile(model).macs


@each_net
def test_what_is_counted_step_by_step_is_what_is_counted_at_once(name, nets):
    _, net = nets(name)
    random, now = np.random.default_rng(2), Counted(net, TARGETS["phone-int8"], shape_of(net, net.everything))
    for _ in range(6):
        left = np.flatnonzero(now.shape.keep & ~net.fixed)
        fewer = now.without(random.choice(left, min(len(left), 9), replace=False)) if len(left) else None
        if fewer:
            back = fewer.having(np.flatnonzero(now.shape.keep & ~fewer.shape.keep))
            assert back.shape.widths == now.shape.widths and (back.shape.keep == now.shape.keep).all()
            assert (back.macs, back.instructions) == pytest.approx((now.macs, now.instructions))
        now = fewer or now
        again = shape_of(net, now.shape.keep)
        assert again.widths == now.shape.widths and (again.keep == now.shape.keep).all()
        assert now.macs == macs(net, again) and now.instructions == pytest.approx(instructions(net, again, "int8"))


class _Given:
    """Scores that are given: {group: worth}."""

    def __init__(self, net, worth):
        self.worth = np.zeros(net.count)
        for layer, value in worth.items():
            self.worth[net.groups[layer]] = value

    def of(self, groups, whole=False):
        return float(self.worth[groups].sum())


def test_of_the_steps_that_reach_the_target_the_cheapest_is_the_last():
    """The large layer loses least for what it saves, but a step of it saves far more than was asked for."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(64, 3, padding="same", name="large")(inputs)
    x = keras.layers.Conv2D(32, 3, padding="same", name="small", strides=4)(x)
    net = net_of(keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))))
    scores = _Given(net, {"large": 0.3, "small": 0.2})
    found = plan.plan(net, scores, 0.8, "phone-int8")
    assert found.widths == {"small": (32, 16)}
    assert plan.plan(net, scores, 0.6, "phone-int8").widths["large"] != (64, 64)


def _branches(**layers):
    """(Net, its Counted, {branch: the Counted without 16 channels of it}) of branches of two convolutions, given as
    {branch: (width, stride, the second one's stride)}."""
    image, branches = keras.Input((8, 8, 3)), []
    for name, (width, own, second) in layers.items():
        x = keras.layers.Conv2D(width, 3, own, padding="same", name=name)(image)
        x = keras.layers.Conv2D(16, 3, second, padding="same", name=f"{name}_end")(x)
        branches.append(keras.layers.GlobalAveragePooling2D()(x))
    net = net_of(keras.Model(image, keras.layers.Dense(4)(keras.layers.Concatenate()(branches))))
    whole = Counted(net, TARGETS["phone-int8"], shape_of(net, net.everything))
    return net, whole, {name: whole.without(np.array(net.groups[name][:16])) for name in layers}


def _worth(**worth):
    """Worths of the branches; their ends stay."""
    return worth | {f"{name}_end": 100 for name in worth}


def test_the_last_step_is_the_cheapest_though_dearer_ones_come_before_it():
    """By loss for what is saved the order is large, middle, small; by loss alone small, large, middle."""
    net, whole, after = _branches(large=(64, 1, 2), middle=(48, 1, 1), small=(32, 2, 1))
    worth = {"large": 6 / 16, "middle": 18 / 16, "small": 5 / 16}
    prices = [16 * worth[name] / (whole.instructions - fewer.instructions) for name, fewer in after.items()]
    share = max(fewer.macs for fewer in after.values()) / whole.macs  # which each of the three reaches
    assert prices == sorted(prices)
    assert plan.plan(net, _Given(net, _worth(**worth)), share, "phone-int8").widths == {"small": (32, 16)}


def test_what_the_last_step_saves_too_much_brings_earlier_steps_back():
    net, whole, after = _branches(large=(64, 1, 1), middle=(48, 2, 1), small=(32, 2, 1))
    scores = _Given(net, _worth(small=0.01, large=0.5, middle=50))
    left = {name: fewer.macs / whole.macs for name, fewer in after.items()}
    assert left["large"] < left["small"]
    assert plan.plan(net, scores, left["small"], "phone-int8").widths == {"small": (32, 16)}
    assert plan.plan(net, scores, left["large"], "phone-int8").widths == {"large": (64, 48)}
    both = left["large"] + left["small"] - 1
    assert plan.plan(net, scores, both + 1e-6, "phone-int8").widths == {"small": (32, 16), "large": (64, 48)}


def test_of_the_candidates_that_lose_least_the_one_nearest_after_the_repair_is_taken():
    net, whole, after = _branches(large=(64, 1, 1), middle=(48, 2, 1), small=(32, 2, 1))
    scores, seen = _Given(net, _worth(small=0.2, middle=0.25, large=0.3)), []

    class Judge:
        candidates = 2

        def change(self, keep):
            seen.append(plan.described(net, keep).widths)
            return -len(seen)  # the later, the better

    share = max(fewer.macs for fewer in after.values()) / whole.macs  # which each of the three reaches
    assert plan.plan(net, scores, share, "phone-int8").widths == {"small": (32, 16)}
    assert plan.plan(net, scores, share, "phone-int8", judge=Judge()).widths == {"middle": (48, 32)}
    assert seen == [{"small": (32, 16)}, {"middle": (48, 32)}], "no more are repaired than there is time for"


@pytest.mark.slow
def test_the_candidate_that_is_nearest_after_the_repair_answers_more_images_that_it_never_saw(cifar10_file):
    """The shipped ResNet-20 at .6 of its MACs: 81.4 % of 2,000 test images without the comparison, 83.2 % with it."""
    dataset = resdense_keras.data.load(cifar10_file)
    images, test = process._scoring(dataset, 0)[:400], np.arange(2_000)
    net = net_of(resdense_keras.create("resnet20", weights="cifar10", include_preprocessing=True))
    scored, right = Scores(net, images), []
    for judge in (None, candidates.AfterRepair(net, scored, images, print)):
        slim = repair.repaired(net, plan.plan(net, scored, 0.6, judge=judge).keep, images)
        right.append(search.right(slim, dataset.test.array(test), dataset.test.labels[test]).mean())
    assert right[1] > right[0]


def test_smaller_batches_of_a_large_net_give_the_same_scores(nets, monkeypatch):
    model, net = nets("resnet, option B")
    images = _images(model, 12)
    found = Scores(net, images)
    monkeypatch.setattr(scores, "BYTES", 4 * 5 * sum(np.prod(node.shape) for node in net.nodes))
    assert scores._batch(net) == 5
    again = Scores(net, images)
    for name in ("single", "local"):
        before, after = getattr(found, name), getattr(again, name)
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-6 * before.max())


def test_the_least_valuable_channels_leave(nets):
    """Channels of no effect are worth nothing, by both measures."""
    model, net = nets("resnet, option B")
    dead = net.groups["stage2_block1_conv1"][:5]
    norm = model.get_layer("stage2_block1_bn1")
    before = norm.get_weights()
    norm.gamma.assign(np.where(np.arange(16) < 5, 0, norm.gamma))
    scores = Scores(net_of(model), _images(model, 60))
    norm.set_weights(before)
    assert scores.single[dead].max() < 1e-9 < np.median(scores.single[net.groups["stage2_block1_conv1"][5:]])
    assert scores.of(dead) < 1e-9 < scores.of(net.groups["stage2_block1_conv1"])


def test_channels_that_an_addition_joins_are_ranked_by_their_share_in_the_next_layers(nets):
    """The sum over two convolutions of squared kernel times variance; a kernel's scale says nothing."""
    model, net = nets("resnet, option B")
    images, groups = _images(model, 80), net.groups["stage2_block1_add"]
    readers = [model.get_layer(name) for name in ("stage3_block1_conv1", "stage3_block1_shortcut_conv")]
    reads = keras.Model(model.inputs, [layer.input for layer in readers]).predict(images, verbose=0)
    squares = ((layer.kernel.numpy() ** 2).sum(axis=(0, 1, 3)) for layer in readers)
    parts = [square * read.var(axis=(0, 1, 2)) for square, read in zip(squares, reads, strict=True)]
    before = readers[0].kernel.numpy()
    readers[0].kernel.assign(10 * before)
    scores = Scores(net_of(model), images)
    readers[0].kernel.assign(before)
    shares = sum(part / part.sum() for part in parts)
    np.testing.assert_allclose(scores.worth[groups], shares, rtol=1e-3)
    (own,) = [own for own in plan._sites(net, scores).values() if groups[0] in own]
    assert (own == groups[np.argsort(shares)]).all() and (own != groups[np.argsort(scores.single[groups])]).any()
    inner = net.groups["stage2_block1_conv1"]
    assert (scores.worth[inner] == scores.single[inner]).all()


def test_joined_channels_of_no_effect_leave_first(nets):
    model, net = nets("resnet, option B")
    dead = net.groups["stage2_block1_conv2"][:5]
    changed = {name: model.get_layer(name) for name in ("stage2_block1_bn2", "stage2_block1_shortcut_bn")}
    before = {name: norm.get_weights() for name, norm in changed.items()}
    for norm in changed.values():
        for weight in (norm.gamma, norm.beta):
            weight.assign(np.where(np.arange(16) < 5, 0, weight))
    scores = Scores(net_of(model), _images(model, 60))
    for name, norm in changed.items():
        norm.set_weights(before[name])
    (own,) = [own for own in plan._sites(net, scores).values() if dead[0] in own]
    assert set(own[:5]) == set(dead) and scores.worth[dead].max() == 0 < scores.worth[own[5]]


def test_the_repair_brings_the_answers_nearer(nets):
    model, net = nets("resnet, option B")
    images, keep = _images(model, 80), _some(net, 5, 0.25).keep
    whole, thin = build(net), build(net, keep)
    before = np.abs(_answers(thin.model) - _answers(model)).mean()
    repair.repair(net, whole, thin, keep, images)
    assert np.abs(_answers(thin.model) - _answers(model)).mean() < 0.7 * before


def test_the_repair_leaves_a_whole_net_alone(nets):
    model, net = nets("densenet")
    whole, same = build(net), build(net)
    repair.repair(net, whole, same, net.everything, _images(model, 20))
    assert np.abs(_answers(same.model) - _answers(model)).max() == 0


@pytest.fixture(scope="module")
def with_constants():
    """A trained DenseNet in which one norm has constant channels, one a negative scale, and one both."""
    model = resdense_keras.create("densenet_bc22_16", weights="cifar10", include_preprocessing=True)
    names = [f"stage1_block{number}_bn1" for number in (1, 2, 3)]
    for name, (far, negative) in zip(names, [(True, False), (False, True), (True, True)], strict=True):
        norm = model.get_layer(name)
        gamma, beta = norm.gamma.numpy(), norm.beta.numpy()
        gamma[1] *= -1 if negative else 1
        if far:
            gamma[2:5], beta[2:5] = [0.01, -0.01, -1e-8], [-0.5, -0.5, 0.3]
        norm.gamma.assign(gamma)
        norm.beta.assign(beta)
    return model, names


def test_only_constants_that_keep_a_norm_from_a_maximum_get_scales_of_zero_and_the_answers_stay(with_constants):
    model, (far, negative, both) = with_constants
    net = net_of(model)
    assert {name: np.flatnonzero(still).tolist() for name, still in net.constants.items()} == {far: [2, 3, 4]}
    maxima, before = _maxima(net), _maxima(net.original)
    assert maxima - before == {far} and not {negative, both} & maxima
    random = np.random.default_rng(0).integers(0, 256, (8, *model.input_shape[1:])).astype("float32")
    assert np.abs(np.asarray(build(net).model(random)) - np.asarray(model(random))).max() < SAME
    thin = plan.plan(net, Scores(net, random), 0.7)
    whole = shape_of(net, net.everything)
    for scheme, (whole_file, file) in thin.instructions.items():
        assert whole_file == instructions(net.original, whole, scheme) > instructions(net, whole, scheme) > file
    less = plan.plan(net, Scores(net, random), 0.8, of="instructions").instructions["int8"]
    assert less[1] <= 0.8 * less[0]  # of the net as it is


def _maxima(net):
    return as_maxima(net.exported, net.kinds)


def test_the_scales_of_a_norm_that_is_a_maximum_stay_at_or_above_zero_in_the_training(with_constants, tmp_path):
    """Without it, more than half of the maxima of a DenseNet-BC-100-12 were lost in its training."""
    model, (_, negative, _) = with_constants
    net = net_of(model)
    build(net).model.save(tmp_path / "net.keras")
    made = keras.saving.load_model(tmp_path / "net.keras")
    norms = [made.get_layer(name) for name in (*_maxima(net), negative)]
    scales = [norm.gamma for norm in norms]
    keras.optimizers.SGD(1.0).apply([keras.ops.full(scale.shape, 0.9) for scale in scales], scales)
    *lowest, other = (scale.numpy().min() for scale in scales)
    assert set(lowest) == {0} and other < 0


def test_two_norms_that_are_one_in_the_file_keep_the_signs_of_their_scales():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Concatenate()(
        [keras.layers.Conv2D(4, 1)(inputs), keras.layers.Conv2D(4, 3, padding="same")(inputs)]
    )
    norms = [keras.layers.BatchNormalization() for _ in range(2)]
    for norm in norms:
        x = norm(x)
        norm.gamma.assign(-np.ones(8))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(keras.layers.ReLU()(x)))
    net = net_of(model)
    assert _maxima(net) == {norms[0].name}
    assert all(build(net).model.get_layer(norm.name).gamma_constraint is None for norm in norms)


def test_batch_norms_after_the_repair_have_the_statistics_of_what_they_read(nets):
    """So that the first training step, which uses the batch's statistics, does not jump."""
    model, net = nets("resnet, option B")
    images, keep = _images(model, 80), _some(net, 5, 0.25).keep
    thin = build(net, keep)
    repair.repair(net, build(net), thin, keep, images)
    trained = np.asarray(thin.model(images, training=True))
    assert np.abs(trained - np.asarray(thin.model(images, training=False))).max() < 1e-2


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1, float("nan"), float("inf"), True, "half"])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(RequestError, match="above 0 and below 1"):
        process.SlimRequest(share)


@pytest.mark.parametrize("given", [{}, {"macs": 0.5, "latency": 0.5}, {"latency": 0.5, "max_drop": 1}])
def test_exactly_one_target_says_how_small_the_net_is_to_be(given):
    with pytest.raises(RequestError, match="one of --macs, --latency, --max-drop must say"):
        process.SlimRequest(**given)


@pytest.mark.parametrize("points", [0, -1, 100, float("nan"), True, "half"])
def test_points_that_no_net_can_lose_are_refused(points):
    with pytest.raises(RequestError, match="--max-drop .* above 0 and below 100"):
        process.SlimRequest(max_drop=points)


@pytest.mark.parametrize("target", TARGETS)
def test_a_share_of_latency_is_one_of_the_targets_instructions(target, nets):
    _, net = nets("resnet, option B")
    worth = {name: number for number, name in enumerate(net.groups) if net.kinds[name] == "Conv2D"}
    found = plan.plan(net, _Given(net, worth), 0.7, target, "instructions")
    before, after = found.instructions[TARGETS[target].scheme]
    assert 0.4 * before < after <= 0.7 * before


def test_a_share_of_latency_holds_as_measured_and_no_plan_that_was_tried_is_nearer(nets):
    """Measured in bytes here, which fall faster than the instructions that the table predicts."""
    model, net = nets("resnet, option B")
    images, said = _images(model, 80), []
    scores = Scores(net, images)
    _, found = latency.plan_within(net, scores, images, 0.7, "phone-float", _bytes, said.append)
    tried = [float(line.split()[-2]) for line in said]
    assert found == {"by": "counted", "scheme": "fp32", "share": found["share"], "plans": len(tried)}
    assert found["share"] == pytest.approx(max(share for share in tried if share <= 0.7), abs=1e-3)
    assert tried[0] < found["share"] - 0.05  # a plan by prediction would have been needlessly small


def _bytes(path):
    return path.stat().st_size


def test_a_share_of_latency_that_no_plan_has_names_the_fastest(nets):
    model, net = nets("resnet, option B")
    images = _images(model, 80)
    with pytest.raises(
        RequestError, match=r"--latency 0.9 .* takes 1.000 of the original's latency \(counted\)"
    ) as refused:
        latency.plan_within(net, Scores(net, images), images, 0.9, "phone-float", lambda path: 7.0, print)
    assert refused.value.hint == "limit the multiply-adds: --macs 0.9 without --count"


@pytest.mark.parametrize(
    ("channels", "message", "hint"),
    [
        (32, "is expected to lose [0-9.]+ points", "--max-drop [0-9.]+ or more"),
        (8, "even 96.9% .* cannot be", "pass --for macs"),
    ],
)
def test_points_that_no_plan_keeps_name_what_was_found(channels, message, hint):
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(channels, 3, activation="relu")(image))
    model = keras.Model(image, keras.layers.Dense(10)(x))
    images = _images(model, 80)
    model.layers[-1].bias.assign(-np.mean(model(images), axis=0))  # so that the answers differ
    labels = np.argmax(model(images), axis=-1)
    net = net_of(model)
    with pytest.raises(RequestError, match=message) as refused:
        search.smallest(net, Scores(net, images), images, (images, labels), 1e-9, "phone-float", 8, print)
    assert re.search(hint, refused.value.hint) and "--epochs" not in refused.value.hint


def test_more_epochs_are_named_where_they_are_expected_to_be_enough():
    hints = [search._longer(1.0, points, epochs) for points, epochs in ((0.96, 8), (0.7, 1), (0.9, 8), (0.99, 16))]
    assert hints == [", or train for --epochs 16", ", or train for --epochs 3", "", ""]


def test_what_a_training_is_expected_to_leave_is_the_most_that_it_left_in_the_stored_rows():
    losses = {}  # of the seeds of one request together
    for row in _stored("slim"):
        # max_drop is asked for by what is tested here
        if "max_drop" not in row and row.get("recipe", "slim") == "slim":
            request = row["epochs"], row["net"], row["for"], row.get("macs"), row.get("latency")
            after, before = (row["accuracy"]["whole"] - row["accuracy"][which] for which in ("slim", "repaired"))
            losses.setdefault(request, []).append((after, before))
    families = {}
    for (epochs, net, *_), seeds in losses.items():
        families.setdefault(family(net.removesuffix("_shipped")), []).append(
            (epochs, np.divide(*np.sum(seeds, axis=0)))
        )
    for epochs in {request[0] for request in losses}:
        most = 0
        for rows in families.values():  # one without so long a row counts with its longest
            enough = min(epochs, max(known for known, _ in rows))
            most = max(most, *(share for known, share in rows if known >= enough))
        assert search.kept(epochs) == pytest.approx(most, abs=0.005), epochs
    assert search.kept(1) == search.kept(2) > search.kept(7) == search.kept(15) > search.kept(16) == search.kept(30)


def test_recipes_were_compared_on_the_same_repaired_nets():
    same = {}
    for row in _stored("slim"):
        asked = row["net"], row["for"], row.get("macs"), row.get("latency"), row["seed"]
        start = row["plan"]["widths"], row["accuracy"]["repaired"]
        same.setdefault(asked, []).append((row.get("recipe", "slim"), *start))
    compared = [rows for rows in same.values() if len({recipe for recipe, *_ in rows}) > 1]
    for (_, *first), *others in compared:
        assert all(other == first for _, *other in others)
    assert compared


def test_a_target_out_of_reach_names_the_smallest_that_can(nets):
    model, net = nets("a stranger's")
    with pytest.raises(RequestError, match="the smallest that can be reached is 0"):
        plan.plan(net, Scores(net, _images(model, 50)), 0.001, "macs")


def test_an_unknown_target_names_the_known_ones():
    with pytest.raises(RequestError, match="phone-int8"):
        process.SlimRequest(0.5, "phone")


def test_stairs_rise_and_go_on_beyond_the_table():
    for scheme, stair in (("fp32", 8), ("int8", 16)):
        steps = [stairs(scheme, "conv3 out", width) for width in range(stair, 200, stair)]
        assert all(low < high for low, high in itertools.pairwise(steps)), scheme
    assert TARGETS["phone-int8"].stair == 16 and TARGETS["phone-float"].stair == 8


@pytest.mark.parametrize("scheme", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["resnet, option A", "resnet, option B", "MobileNetV2"])
def test_a_net_costs_what_it_costs_after_the_rewrites_of_the_export(name, scheme, nets):
    model, net = nets(name)
    rewritten = net_of(resdense_export.rewrite(model, SCHEMES[scheme].graph))
    before, after = (instructions(one, shape_of(one, one.everything), scheme) for one in (net, rewritten))
    assert before == pytest.approx(after, rel=0.02)


def test_a_rectifier_whose_addition_lost_its_branch_is_counted(nets):
    """It stands alone in the file, behind another one."""
    _, net = nets("resnet, option B")
    keep = net.everything
    keep[net.groups["stage1_block1_conv1"]] = False
    thin = shape_of(net, keep)
    (rectifier,) = (node for node in net.nodes if node.inputs == ("stage1_block1_add",))
    assert "stage1_block1_conv2" not in thin.widths and rectifier.name in thin.widths
    for scheme in ("fp32", "int8"):
        alone = net.exported[SCHEMES[scheme].graph][rectifier.name].places * stairs(scheme, "maximum", 8)
        counted = (instructions(net, shape, scheme) for shape in (shape_of(net, net.everything), thin))
        branch = sum(_alone(net, name, scheme) for name in ("conv1", "conv2", "add"))
        assert next(counted) - next(counted) == pytest.approx(branch - alone)


def _alone(net, part, scheme):
    """Instructions of one layer of the first block."""
    whole = shape_of(net, net.everything)
    others = {name: width for name, width in whole.widths.items() if name != f"stage1_block1_{part}"}
    return instructions(net, whole, scheme) - instructions(net, Shape(whole.keep, others), scheme)


def test_what_a_node_is_in_a_file_stands_with_it():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2)(keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(inputs))
    x = keras.layers.BatchNormalization(name="folds")(x)
    x = keras.layers.Conv2D(4, 1, name="moves")(keras.layers.Activation("silu", name="gate")(x))
    x = keras.layers.AveragePooling2D(2, name="pool")(x)
    net = net_of(keras.Model(inputs, keras.layers.Conv2D(6, 3, groups=2, name="grouped")(x)))
    floating, integers = (net.exported[graph] for graph in ("float", "int8"))
    assert "folds" not in floating and floating["moves"].places == 16 == net.by_name["moves"].shape[0] ** 2 // 4
    assert floating["gate"].kind == "silu" and floating["grouped"].groups == 2
    assert (floating["pool"].kind, integers["pool"].kind) == ("AveragePooling2D", "DepthwiseConv2D")


@pytest.mark.parametrize("name, weights", [("resnet20", None), ("densenet_bc22_16", "cifar10")])
def test_predicted_shares_of_instructions_are_near_those_that_were_counted(name, weights):
    """Which norms fold depends on a DenseNet's weights; all of a ResNet's do."""
    net = net_of(resdense_keras.create(name, weights=weights, include_preprocessing=True))
    whole, rows = shape_of(net, net.everything), [row for row in _stored("slim") if row["net"] == name]
    for row in rows:
        thin = _shape_of_widths(net, row["plan"]["widths"])
        assert macs(net, thin) == row["plan"]["macs"][1]
        for scheme, (before, after) in row["instructions"].items():
            predicted = instructions(net, thin, scheme) / instructions(net.original, whole, scheme)
            assert predicted == pytest.approx(after / before, rel=0.02)
    assert len(rows) > 1


def _stored(name):
    return json.loads((Path(__file__).parents[3] / "benchmarks" / "results" / f"{name}.json").read_text())


def _shape_of_widths(net, widths):
    """The Shape of some groups with {layer: (before, after)} channels; costs are the same for all such groups."""
    keep = net.everything
    for layer, (_, after) in widths.items():
        own = net.groups[layer]
        if after or len(net.born[int(own[0])]) == 1:  # others make the channels of a block's last layer too
            keep[own[after:]] = False
    return shape_of(net, keep)


def test_foreign_nets_were_planned_in_a_minute_and_counted_as_predicted():
    """What benchmarks/slim_foreign.py stored; test_slimming_foreign.py runs it."""
    rows = _stored("slim_foreign")
    assert len(rows) == 4
    for row in rows:
        assert row["wall"]["plan"] < 60 and row["thin"]["macs"] == row["macs"][1] <= 0.5 * row["macs"][0]
        for scheme, (whole, thin) in row["instructions"].items():
            before, after = row["predicted"]["instructions"][scheme]
            assert thin / whole == pytest.approx(after / before, rel=0.05)


def test_a_smaller_net_takes_fewer_instructions(nets):
    _, net = nets("densenet")
    thin, whole = _some(net, 1, 0.5), shape_of(net, net.everything)
    for scheme in ("fp32", "int8"):
        assert instructions(net, thin, scheme) < instructions(net, whole, scheme)
    assert macs(net, thin) < macs(net, whole)


@pytest.mark.parametrize(
    "middle",
    [
        keras.layers.Conv2D(8, 3, groups=2, name="unknown"),
        keras.layers.SeparableConv2D(12, 3, name="unknown"),  # two nodes of the export's graph
        keras.layers.Conv2DTranspose(8, 3, name="unknown"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_that_slimming_does_not_know_is_slimmed_around_and_named(middle):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(6, 3)(middle(keras.layers.Conv2D(8, 3)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x)))
    net = net_of(model)
    assert list(net.uncut) == ["unknown"] and (~net.fixed).sum() == 6
    keep = net.everything
    keep[np.flatnonzero(~net.fixed)[:2]] = False
    thin, images = build(net, keep).model, _images(model)
    np.testing.assert_allclose(build(net).model(images), model(images), atol=1e-6)
    assert thin.get_layer("unknown").count_params() == middle.count_params() and thin(images).shape == (len(images), 4)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_layer_that_is_called_twice_stays(trainable):
    inputs = keras.Input((8, 8, 4))
    twice = keras.layers.Conv2D(4, 3, padding="same", name="twice", trainable=trainable)
    x = keras.layers.Add()([twice(twice(inputs)), inputs])
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    net = net_of(model)
    assert net.fixed.all() and "twice" in net.uncut


# The command


def _two_colours(count):
    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).uniform(0, 90, (count, 8, 8, 3))
    images = (noise + 120 * (labels[:, None, None, None] == [0, 0, 1])).astype("uint8")
    images[labels == 0] = images[labels == 0][..., ::-1]
    return images, labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(model.keras of a small trained net, .npz that it was trained on): two classes told apart by their colour."""
    folder = tmp_path_factory.mktemp("trained")
    images, labels = _two_colours(240)
    np.savez(folder / "d.npz", x_train=images[:180], y_train=labels[:180], x_test=images[180:], y_test=labels[180:])
    keras.utils.set_random_seed(0)
    model = resdense_keras.cifar_resnet(
        depth=8, width=8, shortcut="B", classes=2, input_shape=(8, 8, 3), include_preprocessing=True, name="tiny"
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images[:180], labels[:180], epochs=8, batch_size=30, verbose=0)
    assert model.evaluate(images[180:], labels[180:], verbose=0)[1] > 0.9
    model.save(folder / "tiny.keras")
    return folder / "tiny.keras", folder / "d.npz"


@pytest.mark.slow
def test_slim_makes_a_run_that_goes_on_after_a_stop_in_the_repair_and_evaluates(trained, resdense, monkeypatch):
    model, data = trained
    command = ("slim", model, "--data", data, "--macs", "0.6", "--for", "macs", "--epochs", "1", "--out", "run")
    with monkeypatch.context() as patch:
        patch.setattr(process, "repaired", _interrupted)
        assert resdense(*command)[0] == 130
    assert resdense(*command)[0] == 2  # without --resume
    code, said, errors = resdense(*command, "--resume")
    assert (code, said.strip()) == (0, "run") and "continuing with the plan in slim.json" in errors
    found = json.loads(Path("run/slim.json").read_text())
    assert found["macs"][1] <= 0.6 * found["macs"][0] and found["from"] == "tiny"
    slim = keras.saving.load_model("run/model.keras")
    assert slim.name == f"tiny_slim{round(100 * found['macs'][1] / found['macs'][0])}"
    assert resdense_keras.profile(slim).macs == found["macs"][1]
    code, said, _ = resdense("eval", "run/model.keras", "--data", data, "--json")
    assert code == 0 and json.loads(said)["accuracy"] > 0.9
    _exports_with_every_scheme_and_says_what_left(resdense, data, found, model)
    assert "is finished" in resdense(*command, "--resume")[2]
    code, _, errors = resdense("slim", model, "--data", data, "--macs", "0.7", "--out", "run", "--resume")
    assert code == 2 and "holds another run: macs is 0.6 there and 0.7 here" in errors
    code, _, errors = resdense("train", "run/config.yaml", "--epochs", "2", "--out", "run", "--resume")
    assert code == 2 and "run `resdense slim` again with more --epochs and another --out" in errors


def test_a_slim_net_is_trained_only_by_labels_where_the_recipe_has_no_teacher(trained, resdense):
    model, data = Path("tiny (1) \u00fc.keras").absolute(), trained[1]  # as a browser names a second download
    shutil.copy(trained[0], model)
    command = ("slim", model, "--data", data, "--macs", "0.6", "--for", "macs", "--out", "run")
    code, said, errors = resdense(*command, "--recipe", "fast")
    assert (code, said.strip()) == (0, "run"), errors
    config = training.read_config("run/config.yaml")
    assert training.Recipe(**config["recipe"]) == training.recipe("fast")  # its number of epochs too
    assert Path("run/checkpoints/whole.keras").is_file() and not Path("run/checkpoints/teacher.keras").exists()
    slimmed = sources.model(Path("run/model.keras")).slimmed
    assert "trained for 1 epoch on labels only." in card._slimmed(slimmed | {"epochs": 1})[1]
    assert "A training on labels only followed" in card._slimmed(slimmed | {"epochs": 0})[1]
    assert "is finished" in resdense(*command, "--recipe", "run/config.yaml", "--resume")[2]
    code, _, errors = resdense(*command, "--resume")
    assert code == 2 and "teacher is 0.0 there and 0.9 here" in errors and "`--recipe run/config.yaml`" in errors


def test_a_recipe_of_a_file_has_the_teacher_that_the_file_says_and_its_patience_ends_the_training(trained, resdense):
    model, data = trained
    Path("mine.yaml").write_text("base: slim\nteacher: 0.5\nepochs: 9\npatience: 1\nlearning_rate: 0\n")
    command = ("slim", model, "--data", data, "--macs", "0.6", "--for", "macs", "--out", "run", "--recipe", "mine.yaml")
    code, _, errors = resdense(*command)
    assert code == 0 and "the training ends here" in errors, errors
    assert training.read_config("run/config.yaml")["recipe"]["teacher"] == 0.5
    assert Path("run/checkpoints/teacher.keras").is_file()
    Path("run/checkpoints/best-0000.safetensors").unlink(missing_ok=True)  # which says that no epoch was better
    assert sources.model(Path("run/model.keras")).slimmed["epochs"] == 2


def test_an_original_that_is_often_wrong_on_training_images_gets_a_word_about_recipes(trained, resdense, monkeypatch):
    model, data = trained
    monkeypatch.setattr(process, "_planned", _interrupted)
    command = ("slim", model, "--data", data, "--macs", "0.6", "--for", "macs", "--out", "run")
    assert "may lose less" not in resdense(*command)[2]
    monkeypatch.setattr(process, "FITTED", 1.01)
    errors = resdense(*command)[2]
    assert re.search(r"tiny answers (9\d|100)\.\d% of 1[67]\d training images rightly; .*`--recipe fast`", errors)
    assert "may lose less" not in resdense(*command, "--recipe", "fast")[2]


def _interrupted(*arguments, **settings):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_training_that_makes_a_net_worse_leaves_the_repaired_one(trained, tmp_path):
    """With a learning rate that destroys it: model.keras is the net before the training, and the card says so."""
    model, data = trained
    net, asked = sources.model(model), process.SlimRequest(0.6, "macs")
    recipe = training.recipe("slim", epochs=2, learning_rate=3.0, warmup=0.0)
    said, out = [], tmp_path / "run"
    process.slim(net, asked, process.training_request(net, str(data), asked, recipe=recipe), out, tell=said.append)
    kept, before = (keras.saving.load_model(out / name) for name in ("model.keras", "checkpoints/slim.keras"))
    for one, other in zip(kept.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(line.startswith("best on held-out training images: the net before the training") for line in said)
    slimmed = sources.model(out / "model.keras").slimmed
    assert slimmed["epochs"] == 0 and "so the net is kept as it was" in card._slimmed(slimmed)[1]
    assert (
        "trained for 1 epoch on the original net's answers (90% of the loss"
        in card._slimmed(slimmed | {"epochs": 1})[1]
    )


@pytest.mark.slow
def test_a_net_that_knows_the_held_out_images_does_not_hinder_the_training(trained, tmp_path):
    """2,000 images, which the whole net answers rightly, held out or not: the best epoch is kept, however it is."""
    images, labels = _two_colours(2_000)
    np.savez(tmp_path / "d.npz", x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])
    net, asked, said, out = sources.model(trained[0]), process.SlimRequest(0.6, "macs"), [], tmp_path / "run"
    recipe = training.recipe("slim", epochs=1, learning_rate=3.0, warmup=0.0)
    request = process.training_request(net, str(tmp_path / "d.npz"), asked, recipe=recipe)
    process.slim(net, asked, request, out, tell=said.append)
    assert any("probably trained on them too" in line for line in said)
    assert any(line.startswith("best on held-out training images: epoch 1") for line in said)


def _exports_with_every_scheme_and_says_what_left(resdense, data, made, model):
    """Schemes that train and those that do not, a budget, the card, and both nets in one report."""
    schemes = "fp32,fp16,dynamic,int8,qat,pruned"
    code, said, errors = resdense(
        "export", "run/model.keras", "--data", data, "--schemes", schemes, "--budget", "1", "--out", "slim", "--json"
    )
    assert code == 0, errors
    (net,) = json.loads(said)["models"]
    assert [export["scheme"] for export in net["exports"]] == schemes.split(",")
    assert net["slim"]["from"] == "tiny" and net["slim"]["macs"] == made["macs"] and net["slim"]["epochs"] in (0, 1)
    card = Path("slim/MODEL_CARD.md").read_text()
    assert f"{made['macs'][1]:,} of {made['macs'][0]:,}" in card
    assert f"solved again on {made['repaired']}" in card
    assert resdense("export", model, "--data", data, "--schemes", "fp32,int8", "--out", "whole")[0] == 0
    code, said, errors = resdense("report", "whole", "slim", "--out", "both", "--json")
    assert code == 0, errors
    assert [one["name"] for one in json.loads(said)["models"]] == ["tiny", net["name"]]
    page = Path("both/report.html").read_text()
    assert f"tiny → {net['name']}" in page and "paired" in page


@pytest.mark.slow
def test_fewer_points_to_lose_leave_a_larger_net(resdense):
    """`--max-drop` finds by bisection what it is asked for; what no net keeps is said to be out of reach."""
    found = {}
    for points in (10, 1):
        given = ("--weights", "digits", "--data", "digits", "--max-drop", points, "--show", "--json")
        code, said, errors = resdense("slim", "resnet20_digits", *given)
        assert code == 0 and errors.count("trial: ") >= 3, errors
        found[points] = json.loads(said)
        assert found[points]["target"] == {"max_drop": points, "target": "phone-int8"}
    assert found[10]["macs"][1] < found[1]["macs"][1] < found[1]["macs"][0]


def test_show_plans_an_untrained_net_as_json_and_writes_nothing(resdense, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "TOLD", 0)
    monkeypatch.setattr(scores, "BATCH", 40)
    code, said, errors = resdense(
        "slim", "resnet20", "--set", "width=4", "--set", "input_shape=[16,16,3]", "--macs", "0.6", "--for", "macs",
        "--show", "--json",
    )  # fmt: skip
    assert code == 0, errors
    found = json.loads(said)
    assert found["macs"][1] <= 0.6 * found["macs"][0] and not list(tmp_path.iterdir())
    assert "64 generated images rank the channels" in errors
    assert "scores: 40 of 64 images" in errors and re.search("plan: at [67].*% of the MACs", errors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "digits", "--out", "o"), "--macs 0.5"),
        (("--macs", "0.5", "--out", "o"), "--data SPEC is missing"),
        (("--macs", "0.5", "--data", "digits"), "--out RUN is missing"),
        (("--macs", "1.5", "--data", "digits", "--out", "o"), "--macs 1.5 was given"),
        (("--macs", "0", "--data", "digits", "--out", "o"), "--macs 0.0 was given"),
        (("--macs", "nan", "--data", "digits", "--out", "o"), "--macs nan was given"),
        (("--macs", "0.5", "--data", "digits", "--out", "o", "--for", "gpu"), "phone-int8"),
        (("--macs", "0.5", "--latency", "0.5", "--data", "digits", "--out", "o"), "--macs 0.5 and --latency 0.5"),
        (("--latency", "2", "--data", "digits", "--out", "o"), "--latency 2.0 was given"),
        (("--macs", "0.5", "--count", "true", "--data", "digits", "--out", "o"), "--count was given without --latency"),
        (("--max-drop", "0", "--data", "digits", "--out", "o"), "--max-drop 0.0 was given"),
        (("--max-drop", "1", "--show"), "--max-drop was given without --data"),
        (("--macs", "0.5", "--data", "digits", "--out", "o", "--json"), "--json was given without --show"),
        (("--macs", "0.5", "--data", "digits", "--out", "o", "--recipe", "labels"), "unknown recipe 'labels'"),
        (
            ("--macs", "0.5", "--data", "digits", "--out", "o", "--recipe", "paper"),
            "take paper-resnet or paper-densenet",
        ),
        (("--macs", "0.5", "--data", "digits", "--out", "o"), "untrained"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(arguments, message, resdense, tmp_path):
    code, said, errors = resdense("slim", "resnet20", *arguments)
    assert (code, said) == (2, "") and message in errors and "hint:" in errors
    assert not list(tmp_path.iterdir())


def test_a_net_that_guesses_is_refused(trained, resdense, tmp_path):
    model = keras.saving.load_model(trained[0])
    for weight in model.weights:
        if weight.path.endswith("kernel"):
            weight.assign(np.zeros(weight.shape))
    model.save(tmp_path / "fresh.keras")
    for flags in (("--macs", "0.5", "--out", "o"), ("--max-drop", "1", "--show")):  # whose trials would lose nothing
        code, _, errors = resdense("slim", "fresh.keras", "--data", trained[1], *flags)
        assert code == 2 and "untrained" in errors and not (tmp_path / "o").exists()


def test_an_exported_file_is_refused_in_words(resdense, tmp_path):
    (tmp_path / "net-qat.tflite").write_bytes(b"TFL3")
    code, _, errors = resdense("slim", "net-qat.tflite", "--data", "digits", "--macs", "0.5", "--out", "o")
    assert code == 2 and "slim comes before export" in errors


@pytest.mark.slow
def test_a_run_that_is_killed_in_the_repair_and_in_the_training_goes_on_to_the_same_net(trained, tmp_path):
    """SIGKILL of the process, in the repair and in the training, against a run that nobody stopped.

    The last state is compared too, because model.keras may be the net before the training.
    """
    model, data = trained
    command = [sys.executable, "-m", "resdense_cli", "slim", str(model), "--data", str(data), "--macs", "0.6", "--for",
               "macs", "--epochs", "40", "--deterministic", "--save-seconds", "0", "--resume", "--out"]  # fmt: skip

    def killed(when):
        with subprocess.Popen([*command, "killed"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr:
                if line.startswith(when):
                    process.kill()
                    return
            raise AssertionError(f"the run ended before {when!r}")

    for when in ("repair:", "epoch 9 of"):
        killed(when)
        assert not (tmp_path / "killed" / "manifest.json").exists()
    for out in ("killed", "whole"):
        subprocess.run([*command, out], cwd=tmp_path, check=True, capture_output=True)
    first, second = (keras.saving.load_model(tmp_path / out / "model.keras") for out in ("killed", "whole"))
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    folder = tmp_path / "whole" / "checkpoints"
    whole, teacher = (keras.saving.load_model(folder / f"{name}.keras") for name in ("whole", "teacher"))
    assert np.abs(_answers(teacher) - _answers(whole)).max() < SAME and len(teacher.layers) < len(whole.layers)
    (folder / "teacher.keras").unlink()
    manifest = tmp_path / "whole" / "manifest.json"
    manifest.unlink()
    refused = subprocess.run([*command, "whole"], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode and "teacher.keras cannot be read" in refused.stderr
    states = [state.load(tmp_path / out / "checkpoints" / "state.safetensors")[0] for out in ("killed", "whole")]
    assert states[0].keys() == states[1].keys()
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name])
    assert (tmp_path / "killed/slim.json").read_text() == (tmp_path / "whole/slim.json").read_text()
