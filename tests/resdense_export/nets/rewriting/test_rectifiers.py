"""Laws of rectifiers: what int8 has no form of is rewritten exactly, and what stays in float is named."""

import keras
import numpy as np
import pytest
from keras import layers

from resdense_export.judging.structure import structure
from resdense_export.making.conversion import convert
from resdense_export.making.quantization import quantize
from resdense_export.nets.rewriting import rewrite
from resdense_export.tflite import flatbuffer, running
from resdense_export.tflite.child import Child

IMAGES = np.random.default_rng(0).uniform(0, 255, (120, 12, 12, 3)).astype("float32")
SLOPES = keras.initializers.RandomUniform(-0.2, 0.8, seed=1)
RECTIFIERS = {
    "leaky": layers.LeakyReLU(0.3),
    "relu of a slope": layers.ReLU(negative_slope=0.1),
    "operation": lambda x: keras.ops.leaky_relu(x, 0.2),
    "steeper": layers.LeakyReLU(1.5),
    "slope a channel": lambda x: layers.PReLU(shared_axes=[1, 2], alpha_initializer=SLOPES)(x),
    "six alone": lambda x: layers.ReLU(6)(layers.Concatenate()([x, x])),
    "alone": lambda x: layers.ReLU()(layers.Concatenate()([x, x])),
    "exponential": layers.ELU(),
}


def net(rectifier):
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, use_bias=False)(layers.Rescaling(1 / 60, -2)(image))
    x = layers.GlobalMaxPooling2D()(rectifier(layers.BatchNormalization()(x)))
    return keras.Model(image, layers.Dense(3, activation="softmax")(x))


@pytest.mark.parametrize("name", RECTIFIERS)
def test_a_rectifier_computes_the_same_and_leaves_no_island_that_is_not_named(name, tmp_path):
    model = net(RECTIFIERS[name])
    expected = model.predict(IMAGES, verbose=0)
    for graph in ("float", "int8"):
        np.testing.assert_allclose(rewrite(model, graph).predict(IMAGES, verbose=0), expected, atol=1e-5)
    file = tmp_path / "net-int8.tflite"
    content = quantize(convert(rewrite(model, "int8")), "int8", IMAGES[:100])
    file.write_bytes(content)
    assert "RELU" not in flatbuffer.count(flatbuffer.read(content))  # int8's kernel takes number after number
    with Child() as child:
        found = structure(child.read(file), "int8")["int8"]
    assert found["passed"] and ("1 ELU" in found["detail"]) == (name == "exponential")
    assert ("float between" in found["detail"]) == (name == "exponential")
    differences = np.abs(running.run(file, IMAGES[100:]) - expected[100:]).max(axis=1)
    assert differences.mean() < 0.03
