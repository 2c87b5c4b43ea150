"""Other people's nets: equal outputs, or an error that names the layer."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from resdense_export.nets.rewriting import rewrite
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
    for build in (two_inputs, attention, custom, squeeze_excite, shared_and_nested, adapted, softmaxes)
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
