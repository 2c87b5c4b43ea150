"""Laws of what a model says of itself: what its pixels mean, what its numbers are, what no phone can keep of it."""

import keras
import numpy as np
import pytest
from keras import layers

from resdense_export import sources
from resdense_export.models import answers, fitness, pixels
from resdense_keras.errors import RequestError
from resdense_keras.preprocessing import PREPROCESSING

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
APPLICATIONS = keras.applications


def behind(front):
    """A net whose first layers are `front`."""
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 3)(front(image)))))


FRONTS = {
    "rescaling": lambda x: layers.Rescaling(1 / 127.5, -1)(x),
    "augmented": lambda x: layers.Rescaling(1 / 255)(layers.RandomFlip()(layers.RandomRotation(0.1)(x))),
    "sequential": lambda x: keras.Sequential([layers.RandomZoom(0.1), layers.Rescaling(1 / 255)])(x),
    "normalization": lambda x: layers.Normalization(mean=[10, 20, 30], variance=[4, 9, 16])(x),
    "both": lambda x: layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.04] * 3)(layers.Rescaling(1 / 255)(x)),
    "tf": APPLICATIONS.mobilenet_v2.preprocess_input,
    "caffe": APPLICATIONS.resnet50.preprocess_input,
    "torch": APPLICATIONS.densenet.preprocess_input,
    "operations": lambda x: (x - 127.5) * (1 / 127.5),
    "ours": PREPROCESSING["imagenet-caffe"].apply,
}


@pytest.mark.parametrize("name", FRONTS)
def test_a_normalisation_at_the_front_is_read_as_it_computes(name):
    net = behind(FRONTS[name])
    found = pixels.front(net)
    given = next(layer for layer in net.layers if isinstance(layer, layers.Conv2D)).input
    expected = keras.Model(net.inputs[0], given).predict(IMAGES, verbose=0)
    order = IMAGES[..., ::-1] if found.flipped else IMAGES
    np.testing.assert_allclose(order * found.scale + found.offset, expected, rtol=1e-4, atol=1e-3)
    assert found.takes_pixels and sources.preprocessing_inside(net) != "unknown"


@pytest.mark.parametrize("front", [lambda x: x, layers.BatchNormalization(), layers.Rescaling(255.0)])
def test_pixels_that_nothing_explains_stay_unknown(front):
    assert sources.preprocessing_inside(behind(front)) == "unknown"


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (layers.Dense(3, activation="softmax"), answers.PROBABILITIES),
        (lambda x: layers.Softmax()(layers.Dense(3)(x)), answers.PROBABILITIES),
        (layers.Dense(1, activation="sigmoid"), answers.TWO),
        (lambda x: keras.ops.sigmoid(layers.Dense(1)(x)), answers.TWO),
        (layers.Dense(4, activation="sigmoid"), answers.LABELS),
        (lambda x: layers.Activation("linear")(layers.Dense(4)(x)), answers.SCORES),
        (layers.Dense(1), answers.FEATURES),
        (lambda x: x, answers.FEATURES),
        (lambda x: layers.Dense(4, activation="relu")(x), answers.FEATURES),
    ],
)
def test_the_last_layer_says_what_the_numbers_are(end, kind):
    image = keras.Input((8, 8, 3))
    net = keras.Model(image, end(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))))
    assert answers.kind(net) == answers.kind(keras.Sequential([image, net])) == kind


def called(layer, *args, **kwargs):
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Flatten()(layer(image, *args, **kwargs)))


def test_behaviour_of_training_that_was_baked_in_is_refused_by_name():
    nested = called(layers.Dropout(0.5, name="stuck"), training=True)
    for net in (
        called(layers.BatchNormalization(name="stuck"), training=True),
        called(keras.Sequential([layers.Dropout(0.5)], name="stuck"), training=True),
        called(nested),
    ):
        with pytest.raises(RequestError, match="'stuck'"):
            fitness.fitted(net)
    fitness.fitted(called(layers.BatchNormalization(), training=False))


def test_channels_that_come_first_are_refused_by_name():
    net = keras.Model(
        image := keras.Input((3, 8, 8)), layers.Conv2D(2, 3, data_format="channels_first", name="cf")(image)
    )
    with pytest.raises(RequestError, match="'cf' is channels_first"):
        fitness.fitted(net)


def test_a_dictionary_of_one_output_is_that_output_and_several_are_named():
    image = keras.Input((8, 8, 3))
    one, two = (
        layers.Dense(2, name="one")(layers.Flatten()(image)),
        layers.Dense(3, name="two")(layers.Flatten()(image)),
    )
    for ends in ({"scores": one}, [one]):
        net = fitness.fitted(keras.Model({"image": image}, ends))
        assert net.predict(IMAGES, verbose=0).shape == (2, 2)
    with pytest.raises(RequestError, match=r"outputs one, two.*model\.outputs\[0\]"):
        sources.image_shape(fitness.fitted(keras.Model(image, [one, two])))
