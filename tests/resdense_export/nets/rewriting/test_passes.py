"""Every pass alone leaves every net as it is, to the last digits of float64, and does what it promises."""

from collections import Counter

import keras
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from keras import layers, ops

from resdense_export.nets.emitting import emit
from resdense_export.nets.reading import read
from resdense_export.nets.rewriting import GRAPHS, apply, rewrite

from .conftest import EXACT, NETS, largest_difference, policy, randomize

PASSES = {change.__name__: change for passes in GRAPHS.values() for change in passes}
EXPECTED_CHANGES = {  # in the net of patterns
    "drop_identities": 3,
    "fuse_padding": 2,
    "finite_padding": 2,
    "delegate_strides": 2,
    "fold_back": 4,
    "fold_forward": 1,
    "pool_first": 1,
    "balance": 3,
    "zero_bounds": 0,
    "as_maximum": 0,
    "as_depthwise": 6,
    "plain_rectifiers": 0,
    "pool_as_depthwise": 1,
    "split_kernels": 0,
    "image_rows": 0,
}


def through(nodes, change):
    done = change(nodes)
    return emit(done.nodes, "changed"), done


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("change", PASSES)
def test_each_pass_alone_is_exact(change, net, nets64):
    model, _ = through(read(nets64[net]), PASSES[change])
    assert largest_difference(nets64[net], model) <= EXACT["float64"]


@pytest.mark.parametrize("change", PASSES)
def test_each_pass_finds_its_patterns_and_names_what_it_left(change, nets64):
    _, done = through(read(nets64["patterns"]), PASSES[change])
    assert len(done.changed) == EXPECTED_CHANGES[change], (done.changed, done.kept)
    assert all(why for why in done.kept.values())


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_all_passes_together_are_exact(graph, net, nets64):
    rewritten = rewrite(nets64[net], graph)
    assert rewritten is not nets64[net]
    assert largest_difference(nets64[net], rewritten) <= EXACT["float64"]


@pytest.mark.parametrize("net", NETS)
def test_float32_stays_within_its_rounding(net):
    model = randomize(NETS[net]())
    assert largest_difference(model, rewrite(model)) <= EXACT["float32"]


def kinds(model, graph="float"):
    nodes = read(model)
    for change in GRAPHS[graph]:
        nodes = change(nodes).nodes
    return Counter(node.kind for node in nodes)


@pytest.mark.parametrize("net", NETS)
def test_no_batch_norm_is_left_on_an_image(net, nets64):
    rewritten = rewrite(nets64[net])
    left = [layer.name for layer in rewritten.layers if isinstance(layer, layers.BatchNormalization | layers.Dropout)]
    assert left == []


def test_densenet_keeps_one_operator_for_each_norm_behind_a_concatenation(nets64):
    # 3 blocks of 2 bottlenecks: the norm between its two convolutions folds, the first one and each transition's stay.
    norms = 3 * 2 + 2 + 1
    for graph, poolings in (("float", 0), ("int8", 2)):  # int8's average poolings are depthwise too
        found = kinds(nets64["densenet-bc"], graph)
        assert found["Maximum"] + found["DepthwiseConv2D"] == norms + poolings


@pytest.mark.parametrize("graph", ["float", "int8"])
@pytest.mark.parametrize("net", ["densenet-bc", "v2"])
def test_norms_of_positive_scale_become_maxima_where_nothing_pads(net, graph):
    with policy("float64"):
        model = randomize(NETS[net](), negative=0)
    assert largest_difference(model, rewrite(model, graph)) <= EXACT["float64"]
    found = kinds(model, graph)
    # DenseNet-BC: 2 layers a block, 2 transitions, the head. V2: the first norm stands behind the stem's pool; behind
    # sums nothing is left of one.
    assert (found["Maximum"], found["Affine"]) == ({"densenet-bc": 3 * 2 + 2 + 1, "v2": 1}[net], 1)
    assert found["DepthwiseConv2D"] == ({"densenet-bc": 2, "v2": 0}[net] if graph == "int8" else 0)  # int8's poolings


def test_channels_of_scale_zero_are_constants_beside_a_maximum():
    with policy("float64"):
        model = randomize(NETS["densenet-bc"](), negative=0)
    before, norms = kinds(model), [x for x in model.layers if isinstance(x, layers.BatchNormalization)]
    for norm in norms:  # of the zeros half get a shift above zero, half one below it
        norm.gamma.assign(np.where(np.arange(norm.gamma.shape[0]) % 3, norm.gamma, 0))
        norm.beta.assign(np.abs(norm.beta) * np.where(np.arange(norm.beta.shape[0]) % 2, 1, -1))
    assert kinds(model) == before and before["Maximum"] > 1
    assert largest_difference(model, rewrite(model)) <= EXACT["float64"]


@pytest.mark.parametrize("graph", ["trained", "trained-int8"])
def test_what_is_trained_on_has_no_maxima(graph):
    """Nothing but what tf_keras and its tools have: every norm folds or is a depthwise convolution."""
    assert not {"Maximum", "Carried"} & set(kinds(randomize(NETS["densenet-bc"](), negative=0), graph))


def preactivation(norm, **options):
    """Two pre-activation blocks behind a stem, the second with an identity shortcut."""
    with policy("float64"):
        inputs = keras.Input((8, 8, 3))
        stem = layers.Conv2D(8, 1)(inputs)
        x = layers.Add()([layers.Conv2D(8, 1)(stem), layers.Conv2D(8, 3, padding="same")(stem)])
        y = layers.ReLU()(layers.BatchNormalization(name=norm)(x))
        x = layers.Add()([layers.MaxPooling2D(1, strides=2)(x), layers.Conv2D(8, 3, strides=2, padding="same")(y)])
        x = layers.ReLU()(layers.BatchNormalization(name="head")(x))
        return randomize(keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x))), **options)


def test_norms_behind_sums_leave_their_relu_alone_even_before_a_padded_convolution():
    model = preactivation("norm", negative=0)
    done = PASSES["zero_bounds"](read(model))
    assert set(done.changed) == {"norm", "head"}
    assert largest_difference(model, emit(done.nodes)) <= EXACT["float64"]
    found = kinds(model)
    assert (found["Affine"], found["Maximum"], found["DepthwiseConv2D"]) == (0, 0, 1)  # the shortcut's stride


@pytest.mark.parametrize("shift, changed", [(-0.3, {"norm", "head"}), (0.3, {"head"})])
def test_a_channel_of_scale_zero_passes_a_padded_convolution_where_it_is_zero(shift, changed):
    model = preactivation("norm", negative=0)
    norm, third = model.get_layer("norm"), np.arange(8) == 3
    norm.gamma.assign(np.where(third, 0, norm.gamma))
    norm.beta.assign(np.where(third, shift, norm.beta))
    done = PASSES["zero_bounds"](read(model))
    assert set(done.changed) == changed
    assert largest_difference(model, emit(done.nodes)) <= EXACT["float64"]


@pytest.mark.parametrize("far", ["negative", "distant", "silent"])
def test_norm_whose_shift_would_spoil_the_sum_or_a_bias_stays(far):
    model = preactivation("norm", negative=0)
    norm = model.get_layer("norm")
    if far == "negative":
        norm.gamma.assign(np.where(np.arange(8) == 3, -1.0, 1.0))
    elif far == "distant":
        norm.beta.assign(np.where(np.arange(8) == 3, 20.0, 0.0))
    else:
        for layer in model.layers[2:4]:
            layer.kernel.assign(np.array(layer.kernel) * (np.arange(8) != 3))
    done = PASSES["zero_bounds"](read(model))
    assert set(done.changed) == {"head"} and done.kept["norm"]


def test_balanced_channels_have_the_deviation_and_the_mean_that_their_norm_learned():
    with policy("float64"):
        inputs = keras.Input((6, 6, 3))
        x = layers.Concatenate()([layers.Conv2D(4, 1)(inputs), layers.Conv2D(2, 1, use_bias=False)(inputs)])
        ends = [layers.ReLU()(layers.BatchNormalization()(x)) for _ in range(2)]
        model = randomize(keras.Model(inputs, [layers.Conv2D(2, 3, padding="same")(end) for end in ends]))
    done = PASSES["balance"](read(model))
    first = next(node for node in done.nodes if node.kind == "Affine")
    np.testing.assert_allclose(first.weights["mean"], 0, atol=1e-12)
    np.testing.assert_allclose(first.weights["deviation"], 1)
    assert largest_difference(model, emit(done.nodes)) <= EXACT["float64"]


def test_resnet_v1_becomes_convolutions_alone(nets64):
    found = kinds(nets64["v1, option A"])
    assert (found["Conv2D"], found["DepthwiseConv2D"], found["Affine"]) == (7 + 2, 0, 1)  # 2 shortcuts, the mean's ADD


def test_scale_of_the_input_goes_into_the_first_convolution_and_the_mean_stays(nets64):
    (mean,) = (node for node in read(rewrite(nets64["v1.5"])) if node.kind == "Affine")
    assert (mean.weights["scale"] == 1).all() and (mean.weights["shift"] < 0).all()


def test_source_model_is_left_as_it_was(nets64):
    model = nets64["densenet-bc"]
    before = [np.array(weight) for weight in model.get_weights()], [layer.name for layer in model.layers]
    rewrite(model)
    assert all((a == b).all() for a, b in zip(before[0], model.get_weights(), strict=True))
    assert before[1] == [layer.name for layer in model.layers]
    assert all(len(layer._inbound_nodes) == 1 for layer in model.layers)


def test_norm_that_feeds_two_convolutions_folds_into_both_or_not_at_all():
    def net(padding):
        inputs = keras.Input((6, 6, 4))
        x = layers.BatchNormalization()(inputs)
        pair = [layers.Conv2D(3, 3, padding=padding)(x), layers.Conv2D(3, 3, padding="valid")(x)]
        return randomize(keras.Model(inputs, [layers.GlobalAveragePooling2D()(part) for part in pair]))

    with policy("float64"):
        valid, same = net("valid"), net("same")
    assert largest_difference(valid, rewrite(valid)) <= EXACT["float64"]
    assert largest_difference(same, rewrite(same)) <= EXACT["float64"]
    assert (kinds(valid)["Affine"], kinds(same)["Affine"]) == (0, 1)  # the zeros at the border stand behind the shift


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize(
    ("width", "kernel", "stride", "padding"),
    [(16, 7, 2, (3, 3)), (17, 7, 2, (3, 3)), (18, 5, 2, (2, 1)), (16, 8, 2, (3, 4)), (17, 4, 4, (1, 2)), (16, 8, 3, 2)],
)
def test_stem_of_an_image_reads_whole_rows(width, kernel, stride, padding, mean):
    """As many pixels at once as it steps over: exact, for any size, and one pad and one shift of rows."""
    ends = padding if isinstance(padding, tuple) else (padding, padding)
    with policy("float64"):
        inputs = keras.Input((15, width, 3))
        x = layers.Rescaling(0.02, offset=[-1, -2, -3])(inputs) if mean else inputs
        x = layers.ZeroPadding2D(((2, 3), ends))(x)
        model = randomize(keras.Model(inputs, layers.Conv2D(4, kernel, strides=stride)(x)))
    rewritten = rewrite(model)
    assert largest_difference(model, rewritten) <= EXACT["float64"]
    found = kinds(model)
    assert (found["Reshape"], found["RowPadding"], found["ZeroPadding2D"], found["Affine"]) == (2, 1, 0, int(mean))
    (convolution,) = (layer for layer in rewritten.layers if isinstance(layer, layers.Conv2D))
    assert convolution.strides == (stride, 1) and convolution.input.shape[-1] == 3 * stride


@pytest.mark.parametrize(
    ("kernel", "stride", "channels", "why"),
    [(7, 1, 3, "does not step"), (3, 2, 3, "would grow"), (7, 2, 8, None)],
)
def test_stem_that_rows_would_not_help_is_left(kernel, stride, channels, why):
    inputs = keras.Input((16, 16, channels))
    x = layers.Conv2D(4, kernel, strides=stride, name="stem")(layers.ZeroPadding2D(3)(inputs))
    done = PASSES["image_rows"](read(keras.Model(inputs, x)))
    assert done.changed == () and (why is None or why in done.kept["stem"])


def test_stem_whose_padding_is_read_elsewhere_is_left():
    inputs = keras.Input((16, 16, 3))
    x = layers.ZeroPadding2D(3)(inputs)
    ends = [layers.Conv2D(4, 7, strides=2, name=name)(x) for name in ("one", "two")]
    done = PASSES["image_rows"](read(keras.Model(inputs, ends)))
    assert done.changed == () and set(done.kept) == {"one", "two"}


def test_norm_that_all_but_switched_a_channel_off_keeps_its_scale_before_a_padded_convolution():
    """beta / gamma is where the channel would stand, in deviations, and all channels share one 8-bit range."""
    with policy("float64"):
        inputs = keras.Input((6, 6, 4))
        norm = layers.BatchNormalization(name="norm")
        x = norm(layers.Conv2D(4, 1, activation="relu")(inputs))
        model = randomize(keras.Model(inputs, layers.Conv2D(3, 3, padding="same")(x)), negative=0)
    for gamma, changed in ((0.05 / 9, ("norm",)), (0.05 / 11, ())):
        norm.gamma.assign([1, 1, 1, gamma]), norm.beta.assign([0.5, -0.5, 0, 0.05])
        done = PASSES["fold_forward"](read(model))
        assert done.changed == changed and ("11 deviations" in done.kept.get("norm", "")) == (not changed)
        assert largest_difference(model, rewrite(model)) <= EXACT["float64"]


def test_nodes_that_a_pass_adds_take_no_name_of_the_net():
    with policy("float64"):
        inputs = keras.Input((16, 16, 3))
        x = layers.ZeroPadding2D(3)(inputs)
        x = layers.Conv2D(4, 7, strides=2, name="stem")(x)
        x = layers.Conv2D(4, 3, name="stem_rows")(x)
        model = randomize(keras.Model(inputs, layers.Conv2D(4, 3, name="stem_pixels")(x)))
    assert largest_difference(model, rewrite(model)) <= EXACT["float64"]


# Random nets


@st.composite
def random_nets(draw):
    """A model of five to twelve layers in float64, each reading any earlier one whose shape fits."""
    inputs = keras.Input((draw(st.integers(7, 10)), draw(st.integers(7, 10)), 3))
    made = [inputs]
    for _ in range(draw(st.integers(5, 12))):
        x = draw(st.sampled_from(made[-3:]))
        made.append(draw(st.sampled_from([step for step, fits in STEPS if fits(x)]))(draw, x, made))
    x = layers.GlobalAveragePooling2D()(made[-1])
    return randomize(keras.Model(inputs, layers.Dense(3)(x)), draw(st.integers(0, 99)))


def conv(draw, x, made):
    kernel = draw(st.sampled_from([1, 2, 3]))
    settings = {"padding": draw(st.sampled_from(["same", "valid"])), "strides": draw(st.sampled_from([1, 2]))}
    activation = draw(st.sampled_from([None, None, "relu", "silu"]))
    x = layers.ZeroPadding2D(draw(st.integers(1, 2)))(x) if draw(st.booleans()) else x
    return layers.Conv2D(4, kernel, use_bias=draw(st.booleans()), activation=activation, **settings)(x)


def depthwise(draw, x, made):
    return layers.DepthwiseConv2D(3, padding="same", depth_multiplier=draw(st.integers(1, 2)))(x)


def lowest_padding(draw, x, made):
    x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=float("-inf"))
    return layers.MaxPooling2D(draw(st.integers(2, 3)), strides=draw(st.integers(1, 2)))(x)


def lowest_then_pooled(widths, front, size=7, **pooling):
    with policy("float64"):
        x = inputs = keras.Input((size, size, 2))
        x = layers.ReLU()(layers.Conv2D(3, 1)(x)) if front == "relu" else x
        x = ops.pad(x, ((0, 0), widths, widths, (0, 0)), constant_values=-1e30)
        return randomize(keras.Model(inputs, layers.MaxPooling2D(**pooling)(x)))


@pytest.mark.parametrize("front", ["relu", None])
@pytest.mark.parametrize(
    ("widths", "pooling"),
    [
        ((1, 1), {"pool_size": 2, "strides": 1, "padding": "same"}),
        ((0, 1), {"pool_size": 3, "strides": 1, "padding": "same"}),
        ((1, 1), {"pool_size": 3, "strides": 2, "padding": "same"}),
        ((1, 1), {"pool_size": 3, "strides": 2}),
        ((0, 2), {"pool_size": 4, "strides": 3}),
        ((2, 2), {"pool_size": 2, "strides": 1}),
        ((3, 3), {"pool_size": 6, "strides": 1, "size": 2}),
    ],
)
def test_lowest_padding_is_replaced_only_where_each_window_keeps_its_maximum(widths, pooling, front):
    model = lowest_then_pooled(widths, front, **pooling)
    done = PASSES["finite_padding"](read(model))
    assert largest_difference(model, emit(done.nodes)) <= EXACT["float64"]
    plain = "padding" not in pooling and "size" not in pooling and pooling["pool_size"] > max(widths)
    assert bool(done.changed) or not plain


def join(draw, x, made):
    same = [other for other in made if other.shape == x.shape]
    near = [other for other in made if other.shape[:3] == x.shape[:3]]
    if draw(st.booleans()):
        return layers.Add()([x, draw(st.sampled_from(same))])
    return layers.Concatenate()([x, draw(st.sampled_from(near))])


def always(x):
    return True


def at_least_3(x):
    return min(x.shape[1:3]) >= 3


STEPS = [
    (conv, at_least_3),
    (depthwise, always),
    (lowest_padding, at_least_3),
    (join, always),
    (join, always),
    (lambda draw, x, made: layers.BatchNormalization(scale=draw(st.booleans()))(x), always),
    (lambda draw, x, made: layers.BatchNormalization(epsilon=0.01)(x), always),
    (lambda draw, x, made: layers.ReLU(max_value=draw(st.sampled_from([None, 6])))(x), always),
    (lambda draw, x, made: layers.Rescaling(0.1, offset=-1)(x), always),
    (lambda draw, x, made: layers.Dropout(0.5)(x), always),
    (lambda draw, x, made: layers.AveragePooling2D(2, padding=draw(st.sampled_from(["same", "valid"])))(x), at_least_3),
    (lambda draw, x, made: layers.MaxPooling2D(1, strides=2)(x), at_least_3),
    (lambda draw, x, made: ops.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (1, 2))), at_least_3),
    (lambda draw, x, made: ops.tanh(x), always),
]


@settings(max_examples=25, phases=[Phase.generate])  # shrinking a net takes minutes and helps little
@given(data=st.data(), graph=st.sampled_from(list(GRAPHS)))
def test_random_net_keeps_its_outputs_through_every_pass(data, graph):
    with policy("float64"):
        model = data.draw(random_nets())
    nodes = apply(read(model), GRAPHS[graph])
    assert largest_difference(model, emit(nodes)) <= EXACT["float64"], [
        (node.kind, node.inputs) for node in read(model)
    ]


def wide(make, shape=(15, 12, 6), **options):
    """A net of one layer, that `make` makes, with random weights, in float64."""
    with policy("float64"):
        inputs = keras.Input(shape)
        model = keras.Model(inputs, make(**options)(inputs))
        model.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in model.get_weights()])
        return model


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(
    ("size", "bands"), [((7, 7), 3), ((9, 9), 5), ((6, 5), 2), ((3, 12), 2), ((11, 1), 0), ((5, 5), 0)]
)
def test_a_large_depthwise_kernel_is_the_sum_of_its_bands_of_rows(size, bands, strides, padding):
    model = wide(layers.DepthwiseConv2D, kernel_size=size, strides=strides, padding=padding, depth_multiplier=2)
    rewritten = rewrite(model)
    assert largest_difference(model, rewritten) <= EXACT["float64"]
    found = kinds(model)
    assert found["Cropping2D"] == bands and found["DepthwiseConv2D"] == max(bands, 1)
    assert all(np.prod(layer.kernel_size) <= 25 for layer in rewritten.layers if hasattr(layer, "kernel_size"))


def test_bands_of_an_open_image_size_need_no_padding():
    for padding, bands in (("valid", 3), ("same", 0)):
        model = wide(layers.DepthwiseConv2D, (None, None, 3), kernel_size=7, padding=padding)
        assert kinds(model)["Cropping2D"] == bands
    images = np.random.default_rng(0).normal(size=(1, 9, 14, 3))
    model = wide(layers.DepthwiseConv2D, (None, None, 3), kernel_size=7)
    assert np.asarray(rewrite(model)(images)) == pytest.approx(np.asarray(model(images)), abs=1e-9)


def test_what_cannot_be_split_is_named():
    for options, why in (({"kernel_size": 7, "dilation_rate": 2}, "dilated"), ({"kernel_size": (2, 26)}, "a row of")):
        done = PASSES["split_kernels"](read(wide(layers.DepthwiseConv2D, (30, 30, 2), **options)))
        assert not done.changed and all(why in each for each in done.kept.values()) and done.kept


@pytest.mark.parametrize("filters", [6, 12])
def test_one_channel_a_group_is_a_depthwise_convolution(filters):
    model = wide(layers.Conv2D, filters=filters, kernel_size=7, groups=6, padding="same", activation="relu")
    assert largest_difference(model, rewrite(model)) <= EXACT["float64"]
    assert kinds(model)["DepthwiseConv2D"] == 3 and not kinds(model)["Conv2D"]
    assert len(PASSES["split_kernels"](read(model)).changed) == 1
