"""Two toy nets, one residual and one dense, trained on images that any machine can make, and their .tflite files."""

import numpy as np
import pytest

CLASSES = 6
NAMES = ("red below", "green below", "blue below", "red above", "green above", "blue above")
SHAPE = (16, 16, 3)


def colour_images(count, seed):
    """uint8 noise with one channel brighter in one half: six classes that need both the colour and the place."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    images = random.normal(110, 45, (count, *SHAPE))
    for image, label in zip(images, labels, strict=True):
        half = image[:8] if label // 3 else image[8:]
        half[..., label % 3] += random.uniform(15, 60)
    return np.clip(images, 0, 255).astype(np.uint8), labels


def toy_net(kind, width=16):
    """A residual or dense classifier of four convolutions, [0, 255] pixels in, probabilities out."""
    from keras import Input, Model, layers

    def norm_relu_conv(x, filters, stride=1):
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        return layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(x)

    inputs = Input(SHAPE)
    x = layers.Rescaling(1 / 64, offset=-2)(inputs)
    x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(x)  # (N, 8, 8, width)
    for _ in range(2):
        y = norm_relu_conv(x, width)
        x = layers.Add()([x, y]) if kind == "residual" else layers.Concatenate()([x, y])
    x = norm_relu_conv(x, width, stride=2)  # (N, 4, 4, width)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x)))
    return Model(inputs, layers.Dense(CLASSES, activation="softmax")(x), name=kind)


@pytest.fixture(scope="session")
def training_images():
    """1,500 images and labels to learn and to calibrate from."""
    return colour_images(1500, seed=1)


@pytest.fixture(scope="session")
def test_images():
    """600 others, to judge with."""
    return colour_images(600, seed=2)


@pytest.fixture(scope="session")
def nets(training_images):
    """{"residual": model, "dense": model}, trained to about 99 %."""
    import keras

    trained = {}
    for kind in ("residual", "dense"):
        keras.utils.set_random_seed(0)
        trained[kind] = toy_net(kind)
        trained[kind].compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
        trained[kind].fit(*training_images, batch_size=50, epochs=6, verbose=0)
    return trained


@pytest.fixture(scope="session")
def float_files(nets):
    """{"residual": bytes, "dense": bytes}: each net's float .tflite."""
    from resdense_export.making.conversion import convert

    return {kind: convert(net) for kind, net in nets.items()}


@pytest.fixture(scope="session")
def dataset(training_images, test_images):
    """The same images as a Dataset, the last 300 training images held out of them."""
    from resdense_keras.data.dataset import Dataset, Split

    (images, labels), (judged, judged_labels) = training_images, test_images
    parts = {
        "train": (images[:1200], labels[:1200], 0),
        "validation": (images[1200:], labels[1200:], 1200),
        "test": (judged, judged_labels, 1500),
    }
    splits = {
        name: Split(labels=known, indices=first + np.arange(len(known)), image_shape=SHAPE, images=pixels)
        for name, (pixels, known, first) in parts.items()
    }
    return Dataset(spec="colours", class_names=NAMES, image_shape=SHAPE, **splits)


@pytest.fixture(scope="session")
def bundle(nets, dataset, tmp_path_factory):
    """The folder that `resdense export` makes of the dense net, with all schemes."""
    from resdense_export import pipeline

    folder = tmp_path_factory.mktemp("bundles") / "dense"
    pipeline.export(nets["dense"], folder, dataset=dataset, preprocessing={"scale": [1 / 64], "offset": [-2]}, rounds=5)
    return folder
