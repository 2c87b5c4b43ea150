"""Laws of what a model says of itself: what its pixels mean, what its numbers are, what no phone can keep of it."""

import keras
import numpy as np
import pytest
from keras import layers

from resdense_export import convert, sources
from resdense_export.models import answers, fitness, pixels
from resdense_export.tflite.child import Child
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


ROWS = np.arange(1.0, 4).reshape(3, 1, 1) / 255


@pytest.mark.parametrize(
    "front",
    [layers.Rescaling(ROWS), layers.Normalization(axis=1, mean=[1, 2, 3], variance=[4, 5, 6]), lambda x: x * ROWS],
)
def test_numbers_by_row_are_no_normalisation_of_channels(front):
    image = keras.Input((3, 8, 3))
    net = keras.Model(image, layers.Conv2D(2, 3)(front(image)))
    assert pixels.front(net).names == () and sources.preprocessing_inside(net) == "unknown"


@pytest.mark.parametrize("front", [lambda x: x, layers.BatchNormalization(), layers.Rescaling(255.0)])
def test_pixels_that_nothing_explains_stay_unknown(front):
    assert sources.preprocessing_inside(behind(front)) == "unknown"


def by_convolution(classes, flat, side=1, activation=None):
    """An end as MobileNet's: the classes are the channels of a convolution of one pixel."""

    def end(x):
        x = layers.UpSampling2D(side)(layers.Reshape((1, 1, x.shape[-1]))(x))
        return flat(layers.Conv2D(classes, 1, activation=activation)(x))

    return end


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (layers.Dense(3, activation="softmax"), answers.PROBABILITIES),
        (lambda x: layers.Softmax()(layers.Dense(3)(x)), answers.PROBABILITIES),
        (layers.Dense(1, activation="sigmoid"), answers.TWO),
        (lambda x: keras.ops.sigmoid(layers.Dense(1)(x)), answers.TWO),
        (layers.Dense(4, activation="sigmoid"), answers.LABELS),
        (lambda x: layers.Activation("linear")(layers.Dense(4)(x)), answers.SCORES),
        (
            lambda x: layers.Identity()(layers.Dropout(0.1)(layers.Dense(3, activation="softmax")(x))),
            answers.PROBABILITIES,
        ),
        (lambda x: layers.Activation("relu")(layers.Dense(4, activation="sigmoid")(x)), answers.FEATURES),
        (by_convolution(4, layers.Flatten()), answers.SCORES),
        (by_convolution(4, layers.Reshape((4,)), activation="sigmoid"), answers.LABELS),
        (by_convolution(1, layers.Flatten(), activation="sigmoid"), answers.TWO),
        (by_convolution(4, layers.Flatten(), side=2), answers.FEATURES),
        (by_convolution(4, layers.Flatten(), side=2, activation="softmax"), answers.FEATURES),
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


def test_layers_that_augment_are_no_behaviour_of_training(tmp_path):
    """Keras writes their default, training=True, into the graph, and calls them with False all the same."""
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomContrast(0.3)])
    image = keras.Input((8, 8, 3))
    net = keras.Model(image, layers.Flatten()(layers.RandomTranslation(0.2, 0.2)(augmentation(image))))
    (tmp_path / "net.tflite").write_bytes(convert(fitness.fitted(net)))
    with Child() as child:
        np.testing.assert_allclose(child.run(tmp_path / "net.tflite", IMAGES), IMAGES.reshape(2, -1), rtol=1e-6)


def test_a_softmax_of_one_number_is_refused_in_a_model_and_as_an_option():
    def ending(activation):
        image = keras.Input((8, 8, 3))
        return keras.Model(image, layers.Dense(1, activation=activation, name="last")(layers.Flatten()(image)))

    with pytest.raises(RequestError, match="'last' is a softmax of one number"):
        fitness.fitted(ending("softmax"))
    image = keras.Input((8, 8, 3))
    x = layers.Multiply()([image, layers.Dense(1, activation="softmax", name="gate")(layers.Flatten()(image))])
    with pytest.raises(RequestError, match="'gate' is a softmax of one number"):
        fitness.fitted(keras.Model(image, layers.Dense(3)(layers.Flatten()(x))))
    for activation in (None, "sigmoid"):
        with pytest.raises(RequestError, match="always 1"):
            sources._with_softmax(ending(activation))


def test_a_softmax_behind_sigmoids_is_refused():
    image = keras.Input((8, 8, 3))
    net = keras.Model(image, layers.Dense(4, activation="sigmoid")(layers.Flatten()(image)))
    with pytest.raises(RequestError, match="probabilities already"):
        sources._with_softmax(net)


def test_weights_that_are_not_finite_are_refused_by_name():
    net = called(layers.BatchNormalization(name="lost"))
    net.get_layer("lost").moving_variance.assign([1, np.nan, 1])
    with pytest.raises(RequestError, match="lost/moving_variance"):
        fitness.fitted(net)


def test_a_model_that_keras_quantized_is_refused_by_layer():
    net = behind(layers.Rescaling(1 / 255))
    net.quantize("int8")
    for refuse in (fitness.fitted, convert):
        with pytest.raises(RequestError, match="was quantized by Keras"):
            refuse(net)


def test_names_that_tensorflow_does_not_allow_are_exported_with_the_same_answers(tmp_path):
    image = keras.Input((8, 8, 3), name="a photo")
    block = keras.Sequential([layers.Conv2D(3, 3, name="água")], name="bl ock")
    x = layers.Conv2D(4, 3, name="first conv")(block(image))
    net = keras.Model(image, layers.Dense(2, name="答")(layers.Flatten()(x)), name="my model v1.0 ü")
    plain = fitness.fitted(net)
    (tmp_path / "net.tflite").write_bytes(convert(plain))
    with Child() as child:
        found = child.run(tmp_path / "net.tflite", IMAGES)
    np.testing.assert_allclose(found, np.asarray(net(IMAGES)), rtol=1e-3, atol=1e-2)
    assert net.name == "my model v1.0 ü" and net.layers[-1].name == "答" and block.name == "bl ock"


def test_a_net_whose_names_are_changed_keeps_the_statistics_that_it_learnt():
    norm, image = layers.Normalization(), keras.Input((8, 8, 3))
    norm.adapt(IMAGES)
    net = keras.Model(image, layers.Flatten(name="my numbers")(norm(image)))
    np.testing.assert_array_equal(np.asarray(fitness.fitted(net)(IMAGES)), np.asarray(net(IMAGES)))


def test_a_crop_of_training_is_refused_by_its_sizes():
    crop = layers.RandomCrop(6, 4, name="crop")
    with pytest.raises(RequestError, match=r"'crop' \(RandomCrop\) makes 6x4 of 8x8"):
        fitness.fitted(called(crop))
    fitness.fitted(called(layers.RandomCrop(8, 8)))
