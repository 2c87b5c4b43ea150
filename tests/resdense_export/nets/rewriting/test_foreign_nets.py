"""Other people's nets: equal outputs, or an error that names the layer."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from resdense_export.nets.float32 import as_float32
from resdense_export.nets.reading import read
from resdense_export.nets.rewriting import GRAPHS, apply, rewrite
from resdense_keras.errors import RequestError

from .conftest import EXACT, largest_difference, policy, randomize


class Gain(layers.Layer):
    """A layer of one's own, with a weight."""

    def __init__(self, start=2.0, **options):
        super().__init__(**options)
        self.start = start

    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer=keras.initializers.Constant(self.start))

    def call(self, x):
        return x * self.gain

    def get_config(self):
        return {**super().get_config(), "start": self.start}


class Secretive(Gain):
    """Its configuration lacks what the constructor needs."""

    def __init__(self, secret, **options):
        super().__init__(**options)

    def get_config(self):
        return layers.Layer.get_config(self)


def two_inputs():
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 2), name="right")
    x = layers.Concatenate()([layers.Conv2D(4, 3, padding="same")(left), right])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model([left, right], [layers.Flatten()(x), layers.GlobalAveragePooling2D()(x)])


def attention():
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(inputs))
    x = layers.Reshape((9, 8))(x)
    x, scores = layers.MultiHeadAttention(2, 4)(x, x, return_attention_scores=True)
    x = layers.LayerNormalization()(x * (1 + ops.mean(scores)))
    return keras.Model(inputs, layers.Dense(3)(ops.mean(x, axis=1)))


def custom(layer=Gain, **options):
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(layer(name="own", **options)(x)))


def squeeze_excite():
    inputs = keras.Input((8, 8, 4))
    x = layers.ReLU()(layers.BatchNormalization()(inputs))
    weights = layers.GlobalAveragePooling2D(keepdims=True)(x)
    weights = layers.Conv2D(4, 1, activation="sigmoid")(weights)
    return keras.Model(inputs, layers.Flatten()(layers.Multiply()([x, weights])))


def shared_and_nested():
    """One model called twice, one layer called twice, a Sequential inside."""
    part = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization()])
    inner_in = keras.Input((8, 8, 3))
    inner = keras.Model(inner_in, layers.ReLU()(part(inner_in)))
    inputs = keras.Input((8, 8, 3))
    norm = layers.BatchNormalization()
    x = norm(inner(norm(inner(inputs))))
    return keras.Model(inputs, layers.Flatten()(x))


def adapted():
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)))
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Flatten()(layers.Conv2D(4, 3)(normalization(inputs))))


def by_constants():
    """Arithmetic with a number or one a channel, as `preprocess_input` and hard sigmoids of other years write it."""
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same")((inputs / 127.5 - 1) * np.array([1.0, 2.0, 3.0, 4.0]))
    gate = ops.relu6(layers.Conv2D(4, 1)(x) + 3.0) * (1 / 6)
    x = layers.Conv2D(3, 3)(1 - x * gate)
    return keras.Model(inputs, layers.Flatten()(x + np.arange(6.0).reshape(6, 1, 1)))


def separable():
    inputs = keras.Input((9, 9, 3))
    x = layers.SeparableConv2D(5, 3, strides=2, padding="same", depth_multiplier=2, use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(4, 3, dilation_rate=2, activation="relu")(x)
    return keras.Model(inputs, layers.Flatten()(layers.BatchNormalization()(x)))


def grouped():
    """ResNeXt's convolution, with norms on both sides."""
    inputs = keras.Input((9, 9, 6))
    x = layers.BatchNormalization()(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(9, 3, groups=3, use_bias=False)(x)))
    x = layers.Conv2D(3, 1, groups=3)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Flatten()(layers.AveragePooling2D(2)(x)))


def called(name, tensor):
    """`tensor` of a keras.ops operation of this name, as one from a file may have it."""
    tensor._keras_history.operation.name = name
    return tensor


def softmaxes():
    """Over the channels, over another axis, behind a mask, as a function."""
    inputs = keras.Input((4, 3))
    x = layers.Softmax(axis=1)(layers.Softmax()(inputs))
    x = layers.Softmax()(x, mask=ops.greater(inputs, 100))
    return keras.Model(inputs, ops.softmax(x + inputs / 99, axis=2))


BUILDS = {
    build.__name__: build
    for build in (
        *(two_inputs, attention, custom, squeeze_excite, shared_and_nested, adapted, softmaxes),
        *(by_constants, separable, grouped),
    )
}


@pytest.mark.parametrize("name", BUILDS)
def test_foreign_net_keeps_its_outputs(name):
    with policy("float64"):
        model = randomize(BUILDS[name]())
    rewritten = rewrite(model)
    limit = EXACT["float64" if name != "adapted" else "float32"]  # Keras keeps an adapted mean in float32
    assert largest_difference(model, rewritten) <= limit
    names = [[layer.name for layer in net.layers if isinstance(layer, layers.InputLayer)] for net in (model, rewritten)]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("name", "affines", "depthwise"),
    [
        ("separable", 0, 2 + 1),  # a norm behind a ReLU
        ("grouped", 0, 1),  # the pooling
        ("by_constants", 2, 0),  # the shift before a padding, and the gate's factor
    ],
)
def test_what_stands_around_a_foreign_convolution_folds_into_it(name, affines, depthwise):
    found = [node.kind for node in apply(read(randomize(BUILDS[name]())), GRAPHS["int8"])]
    assert (found.count("Affine"), found.count("DepthwiseConv2D")) == (affines, depthwise)


def test_a_keras_json_that_says_channels_first_changes_nothing():
    model = randomize(squeeze_excite())
    keras.config.set_image_data_format("channels_first")
    try:
        rewritten = rewrite(model, "int8")
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")
    assert largest_difference(model, rewritten) <= EXACT["float32"]


def test_integers_that_wrap_round_go_on_doing_so():
    inputs = keras.Input((4, 4, 2), dtype="uint8")
    model = keras.Model(inputs, layers.Flatten()(ops.cast(inputs + 200, "float32")))
    images = np.full((1, 4, 4, 2), 100, "uint8")
    assert np.asarray(rewrite(model)(images)).max() == np.asarray(model(images)).max() == 44


def test_operations_of_one_name_in_two_nested_models_are_kept_apart():
    def part(name):
        inputs = keras.Input((4, 4, 2))
        x = layers.Reshape((1, 1, 2), name="squeeze")(layers.GlobalAveragePooling2D()(inputs))
        x = called("tanh", ops.tanh(layers.Multiply(name="excite")([inputs, x])))
        return keras.Model(inputs, x, name=name)

    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, layers.Average()([part("a")(inputs), part("b")(inputs)]))
    rewritten = rewrite(model)
    assert largest_difference(model, rewritten) == 0
    assert {"squeeze", "squeeze_1", "excite", "excite_1", "tanh", "tanh_1"} <= {x.name for x in rewritten.operations}


def test_layers_may_have_the_names_that_keras_gives_to_new_operations():
    """In a process that has only read the net from a file, Keras begins to count from "pad" and "maximum"."""
    with policy("float64"):
        inputs = keras.Input((9, 9, 3))
        x = called("padded", ops.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=float("-inf")))
        x = layers.Conv2D(3, 1, name="maximum")(layers.Conv2D(3, 1, name="pad")(layers.MaxPooling2D(3)(x)))
        x = layers.ReLU()(layers.BatchNormalization()(layers.Add()([x, x])))
        model = randomize(keras.Model(inputs, layers.Conv2D(4, 1)(x)), negative=0)
    keras.backend.clear_session()
    assert largest_difference(model, rewrite(model)) <= EXACT["float64"]


def gelu(x):
    """Another function than Keras' of that name, which a configuration cannot tell from it."""
    return keras.activations.gelu(3 * x)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_an_activation_of_ones_own_is_never_taken_for_the_one_of_that_name(dtype):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation=gelu, dtype=dtype)(layers.Rescaling(1 / 64, -2)(inputs))
    model = keras.Model(inputs, layers.Activation(gelu, dtype=dtype)(x))
    exact, halved = EXACT["float32"], 1e-2
    assert largest_difference(model, rewrite(as_float32(model))) <= (exact if dtype == "float32" else halved)


@pytest.mark.parametrize("join", [lambda tensors: ops.concatenate(tensors, axis=-1), layers.Concatenate()])
def test_constants_that_are_joined_to_tensors_stay(join):
    inputs = keras.Input((8, 8, 3))
    x = join([inputs, np.full((2, 8, 8, 1), 200.0, "float32")])
    model = keras.Model(inputs, layers.Conv2D(4, 3)(x))
    assert largest_difference(model, rewrite(model)) <= EXACT["float32"]


def test_a_slope_below_zero_that_all_channels_share_is_kept():
    inputs = keras.Input((8, 8, 3))
    rectifier = layers.PReLU(shared_axes=[1, 2, 3], alpha_initializer=keras.initializers.Constant(-0.25))
    model = keras.Model(inputs, rectifier(layers.Rescaling(-1.0)(inputs)))
    for graph in GRAPHS:
        assert largest_difference(model, rewrite(model, graph)) <= EXACT["float32"]


ROWS = np.arange(1.0, 9).reshape(8, 1, 1)
BY_ROW = {  # on images of 8 rows, 8 columns and 8 channels
    "slopes by column": layers.PReLU(shared_axes=[1, 3], alpha_initializer="random_normal"),
    "slopes by row": layers.PReLU(shared_axes=[2, 3], alpha_initializer="random_normal"),
    "rescaling by row": layers.Rescaling(ROWS),
    "offset by row": layers.Rescaling(2.0, offset=ROWS),
    "normalization by row": layers.Normalization(axis=1, mean=np.arange(8.0), variance=np.ones(8)),
    "product by row": lambda x: x * ROWS.astype("float32"),
}


@pytest.mark.parametrize("name", BY_ROW)
def test_numbers_by_row_or_column_are_not_read_as_numbers_by_channel(name):
    inputs = keras.Input((8, 8, 8))
    model = keras.Model(inputs, BY_ROW[name](layers.Rescaling(-1.0)(inputs)))
    assert largest_difference(model, rewrite(model)) <= EXACT["float32"]


def of_integers(*steps):
    x = inputs = keras.Input((8, 8, 2), dtype="uint8")
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


def nested_float():
    inputs = keras.Input((8, 8, 2))
    return keras.Model(inputs, layers.Conv2D(2, 3)(inputs - 128))


@pytest.mark.parametrize("last", [layers.Conv2D(2, 3), layers.ReLU(), layers.DepthwiseConv2D(3)])
@pytest.mark.parametrize("first", [[], [layers.MaxPooling2D(2)], [layers.Cropping2D(1)], [lambda x: x[:, ::2, ::2]]])
def test_integers_become_float_where_a_folded_rescaling_did_it(first, last):
    model = of_integers(*first, layers.Rescaling(0.02, offset=[-1, -2]), last)
    rewritten = rewrite(model)
    assert rewritten.inputs[0].dtype == "uint8"
    assert largest_difference(model, rewritten) <= EXACT["float32"]


def test_integers_become_float_where_a_nested_model_did_it():
    model = of_integers(nested_float())
    assert largest_difference(model, rewrite(model)) <= EXACT["float32"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["MobileNetV2", "EfficientNetB0", "ConvNeXtTiny", "ResNet50", "ResNet50V2", "DenseNet121"]
)
def test_keras_applications_keep_their_outputs(name):
    build = getattr(keras.applications, name)
    with policy("float64"):
        model = randomize(build(weights=None, input_shape=(64, 64, 3), classes=5, classifier_activation=None))
    assert largest_difference(model, rewrite(model, "int8")) <= EXACT["float64"]


def test_layer_that_cannot_be_copied_is_named():
    with pytest.raises(RequestError, match=r"layer 'own' \(Secretive\) cannot be copied") as error:
        rewrite(custom(Secretive, secret=1))
    assert "get_config" in error.value.hint


def test_subclassed_model_is_refused():
    class Hidden(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(RequestError, match="not a built Functional or Sequential model"):
        rewrite(Hidden())


def test_unknown_graph_is_refused():
    with pytest.raises(RequestError, match="unknown graph 'int4'"):
        rewrite(custom(), "int4")
