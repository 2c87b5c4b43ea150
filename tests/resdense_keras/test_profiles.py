"""profile(): every figure against one counted by hand, and memory against the memory that a step really takes."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import resdense_keras
from resdense_keras import RequestError, profile
from resdense_keras.training.peak_memory import step_peaks

FLOAT = 4


def net(*steps, shape=(8, 8, 3)):
    """A chain of layers on an image."""
    inputs = x = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x, name="net")


# Multiply-adds


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (layers.Conv2D(5, 3, padding="same"), 8 * 8 * 3 * 3 * 3 * 5),
        (layers.Conv2D(5, 3, strides=2), 3 * 3 * 3 * 3 * 3 * 5),
        (layers.Conv2D(6, 3, groups=3, padding="same"), 8 * 8 * 3 * 3 * 1 * 6),
        (layers.Conv2D(5, 3, dilation_rate=2), 4 * 4 * 3 * 3 * 3 * 5),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), 8 * 8 * 3 * 3 * 3 * 2),
        (layers.SeparableConv2D(5, 3, depth_multiplier=2, padding="same"), 8 * 8 * (3 * 3 * 6 + 6 * 5)),
        (layers.Conv2DTranspose(5, 3, strides=2, padding="same"), 8 * 8 * 3 * 3 * 3 * 5),
        (layers.Dense(7), 8 * 8 * 3 * 7),
        (layers.EinsumDense("bhwc,cno->bhwno", output_shape=(8, 8, 4, 6)), 8 * 8 * 3 * 4 * 6),
        (layers.EinsumDense("...x,xy->...y", output_shape=7), 8 * 8 * 3 * 7),
        (layers.BatchNormalization(), 0),
        (layers.AveragePooling2D(2), 0),
    ],
    ids=lambda value: value.name if isinstance(value, layers.Layer) else None,
)
def test_multiply_adds_are_those_counted_by_hand(layer, macs):
    assert profile(net(layer)).macs == macs


def test_layers_with_matrices_that_no_rule_counts_are_named():
    sequence = keras.Input((6, 4))
    attended = layers.MultiHeadAttention(2, 3, name="attention")(sequence, sequence)
    found = profile(keras.Model(sequence, layers.Dense(5)(attended)))
    assert found.uncounted == ("attention",)
    assert found.macs == 6 * 4 * 5
    assert "MACs leave out: attention" in str(found)


def test_a_shared_layer_costs_twice_and_has_its_parameters_once():
    shared = layers.Conv2D(3, 3, padding="same")
    found = profile(net(shared, shared))
    assert found.macs == 2 * 8 * 8 * 3 * 3 * 3 * 3
    assert found.parameters == sum(row.parameters for row in found.layers) == 3 * 3 * 3 * 3 + 3


def test_a_frozen_layer_is_no_trainable_parameter():
    frozen = layers.Conv2D(4, 1)
    model = net(frozen, layers.BatchNormalization(), layers.Conv2D(2, 1))
    frozen.trainable = False
    found = profile(model)
    assert (found.parameters, found.trainable) == (16 + 16 + 10, 8 + 10)


# Memory


def test_the_backward_pass_keeps_conv_and_norm_inputs_and_relu_outputs_once():
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same")(inputs)  # keeps its input
    y = layers.BatchNormalization()(x)  # keeps x
    y = layers.ReLU()(y)  # keeps y
    y = layers.Conv2D(4, 3, padding="same")(y)  # the same y
    y = layers.Add()([inputs, y])  # keeps nothing
    found = profile(keras.Model(inputs, layers.ReLU()(y)))  # keeps its output
    assert found.activation_bytes == 4 * (8 * 8 * 4) * FLOAT


@pytest.mark.parametrize(
    ("layer", "kept"),
    [
        (layers.Concatenate(), 8 * 8 * 8),
        (layers.Add(), 0),
        (layers.Multiply(), 2 * 8 * 8 * 4),
        (layers.Maximum(), 2 * 8 * 8 * 4 + 8 * 8 * 4),
    ],
    ids=lambda value: value.name if isinstance(value, layers.Layer) else None,
)
def test_a_merge_keeps_what_its_gradient_needs(layer, kept):
    first, second = keras.Input((8, 8, 4)), keras.Input((8, 8, 4))
    assert profile(keras.Model([first, second], layer([first, second]))).activation_bytes == kept * FLOAT


@pytest.mark.parametrize(
    ("layer", "kept_bytes"),
    [
        (layers.MaxPooling2D(2), (8 * 8 * 3 + 4 * 4 * 3) * FLOAT),
        (layers.AveragePooling2D(2), 0),
        (layers.ZeroPadding2D(1), 0),
        (layers.Dropout(0.5), 8 * 8 * 3),
        (layers.Activation("gelu"), 8 * 8 * 3 * FLOAT),
        (layers.Activation("linear"), 0),
        (layers.Conv2D(5, 1, activation="relu"), 8 * 8 * (3 + 5) * FLOAT),
        (layers.Conv2D(5, 1, activation="gelu"), 8 * 8 * (3 + 5) * FLOAT),
        (layers.SeparableConv2D(5, 3, padding="same"), 8 * 8 * (3 + 3) * FLOAT),
    ],
    ids=lambda value: value.name if isinstance(value, layers.Layer) else None,
)
def test_a_layer_keeps_what_its_gradient_needs(layer, kept_bytes):
    assert profile(net(layer)).activation_bytes == kept_bytes


def test_inference_holds_a_tensor_until_its_last_reader():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(2, 1)(inputs)  # 1 + 2 maps alive
    y = layers.Conv2D(3, 1)(x)  # 2 + 3
    y = layers.Dropout(0.5)(y)  # a view in inference
    y = layers.Conv2D(4, 1)(y)  # 2 + 3 + 4, x waits for the concatenation
    found = profile(keras.Model(inputs, layers.Concatenate()([x, y])))  # 2 + 4 + 6
    assert [row.alive_bytes for row in found.layers] == [maps * 8 * 8 * FLOAT for maps in (3, 5, 5, 9, 12)]
    assert found.inference_peak_bytes == 12 * 8 * 8 * FLOAT


def test_dense_activations_grow_quadratically_with_depth_and_recomputed_ones_linearly():
    def kept(depth, recompute):
        return profile(
            resdense_keras.cifar_densenet(depth=depth, compression=1.0, recompute=recompute)
        ).activation_bytes

    plain, recomputed = ([kept(depth, recompute) for depth in (10, 16, 22)] for recompute in (False, True))
    assert plain[2] - plain[1] > 1.15 * (plain[1] - plain[0])
    assert recomputed[2] - recomputed[1] == recomputed[1] - recomputed[0]
    assert recomputed[2] < plain[2] / 2


def test_recomputing_adds_no_multiply_adds_to_the_forward_pass():
    plain, recomputed = (
        profile(resdense_keras.cifar_densenet(depth=22, recompute=recompute)) for recompute in (False, True)
    )
    assert (plain.macs, plain.parameters) == (recomputed.macs, recomputed.parameters)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "batch_sizes"),
    [("resnet20", (32, 128)), ("densenet_bc40_12", (32, 96))],
)
def test_activation_bytes_are_the_memory_that_one_more_image_takes(model, batch_sizes):
    """What a step needs beyond the kept tensors (gradients on their way, work space) is smaller than a quarter."""
    model = resdense_keras.create(model)
    low, high = step_peaks(model, batch_sizes)
    slope = (high - low) / (batch_sizes[1] - batch_sizes[0])
    assert 0.8 < slope / profile(model).activation_bytes < 1.25


# Any Functional model


def test_a_nested_model_costs_what_its_layers_cost():
    steps = layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(), layers.Dense(2)
    flat = profile(net(*steps))
    nested = profile(net(net(*steps[:3]), keras.Sequential([keras.Input((6, 6, 4)), *steps[3:]])))
    rows = [[row for row in found.layers if row.type != "InputLayer"] for found in (flat, nested)]
    assert rows[0] == rows[1]
    assert (flat.macs, flat.activation_bytes) == (nested.macs, nested.activation_bytes)


def test_inputs_operations_and_outputs_may_be_many():
    image, scale = keras.Input((4, 4, 2), name="image"), keras.Input((2,), name="scale")
    x = image * keras.ops.reshape(scale, (-1, 1, 1, 2))
    model = keras.Model({"image": image, "scale": scale}, [keras.ops.mean(x, axis=(1, 2)), layers.Dense(3)(x)])
    assert profile(model).macs == 4 * 4 * 2 * 3


def test_open_sides_ask_for_an_input_shape():
    with pytest.raises(RequestError) as caught:
        profile(resdense_keras.resnet18(include_top=False))
    assert str(caught.value) == (
        "the model's input is (None, None, 3): its memory depends on the size of the image "
        "(hint: pass one, e.g. profile(model, input_shape=(224, 224, 3)))"
    )


def test_an_open_net_given_a_size_costs_what_the_closed_one_costs():
    opened = resdense_keras.resnet18(include_top=False)
    closed = resdense_keras.resnet18(include_top=False, input_shape=(64, 96, 3))
    assert profile(opened, input_shape=(64, 96, 3)) == profile(closed)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8), r"input_shape=\(8, 8\) was given; the model takes \(None, None, 3\) without the batch"),
        ((8, 8, 1), r"input_shape=\(8, 8, 1\) was given; the model takes \(None, None, 3\)"),
        ((0, 8, 3), r"input_shape=\(0, 8, 3\) was given"),
        ((8.0, 8, 3), r"input_shape=\(8.0, 8, 3\) was given"),
        ([(8, 8, 3), (8, 8, 3)], r"the model takes \(None, None, 3\)"),
        ((2, 2, 3), r"input_shape=\[\(2, 2, 3\)\] does not run through net"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(shape, message):
    with pytest.raises(RequestError, match=message):
        profile(net(layers.Conv2D(2, 3), shape=(None, None, 3)), input_shape=shape)


def test_a_model_without_a_graph_is_refused():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    for model in (Subclassed(), keras.Sequential([layers.Dense(2)]), "resnet50"):
        with pytest.raises(RequestError, match="needs a Functional model"):
            profile(model)


# The result


def test_the_rows_add_up_to_the_figures():
    found = profile(resdense_keras.cifar_densenet(depth=22))
    assert sum(row.macs for row in found.layers) == found.macs
    assert sum(row.parameters for row in found.layers) == found.parameters
    assert sum(row.kept_bytes for row in found.layers) == found.activation_bytes
    assert max(row.alive_bytes for row in found.layers) == found.inference_peak_bytes


def test_the_table_is_aligned_and_has_a_line_for_each_layer():
    found = profile(net(layers.Conv2D(1000, 3, name="conv"), layers.ReLU(name="relu")))
    lines = str(found).splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [
        ["layer", "type", "output"],
        ["conv", "Conv2D", "6x6x1000"],
        ["relu", "ReLU", "6x6x1000"],
    ]
    assert len({len(line) for line in lines[:3]}) == 1
    assert "28,000 parameters (28,000 trainable), 972,000 MACs per image" in lines[4]


def test_as_dict_survives_json():
    found = profile(net(layers.Conv2D(2, 3)))
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
    assert found.as_dict()["layers"][0]["output_shape"] == [6, 6, 2]


def test_profiling_changes_no_weight():
    model = resdense_keras.cifar_resnet(depth=8)
    before = [np.array(weight) for weight in model.weights]
    profile(model)
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(np.array(weight), old)
