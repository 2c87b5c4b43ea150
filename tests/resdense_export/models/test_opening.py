"""Laws of files: content says what a file is, whatever its name; what holds no model is answered in its own words."""

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest

from resdense_export import pipeline
from resdense_export.models import keras_2, opening, pixels
from resdense_keras.errors import RequestError, WorkError

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 12, 12, 3)).astype("float32")


def small(library):
    """A net with another inside, of Keras 3 or tf_keras."""
    layers = library.layers
    base = library.Sequential([layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()], name="base")
    image = layers.Input((12, 12, 3))
    x = base(layers.Rescaling(1 / 255)(image))
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, layers.Conv2D(4, 1)(x)]))
    return library.Model(image, layers.Dense(3, activation="softmax")(x))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of the same net: {name: its answers}, by Keras 3 and Keras 2."""
    tf_keras = pytest.importorskip("tf_keras")
    place, expected = tmp_path_factory.mktemp("files"), {}
    for library, names in ((keras, ("three.keras", "three.h5")), (tf_keras, ("two.keras", "two.h5"))):
        net = small(library)
        net.set_weights([np.random.default_rng(1).uniform(0.1, 1, weight.shape) for weight in net.get_weights()])
        for name in names:
            net.save(place / name)
            expected[name] = net.predict(IMAGES, verbose=0)
    return place, expected


@pytest.mark.parametrize("name", ["three.keras", "three.h5", "two.keras", "two.h5"])
@pytest.mark.parametrize("renamed", ["", "NET.KERAS", "resnet50.hdf5"])
def test_a_model_is_opened_whatever_its_file_is_called(name, renamed, folder, tmp_path):
    place, expected = folder
    path = shutil.copy(place / name, tmp_path / (renamed or name))
    found = opening.open_model(path).predict(IMAGES, verbose=0)
    np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pth", b"\x80\x02}q\x00.", "PyTorch"),
        ("net.tflite", b"\x1c\0\0\0TFL3" + bytes(16), "tflite file already"),
        ("graph.pb", b"\x0a\x05graph", "TensorFlow without layers"),
        ("w.safetensors", b'\x10\0\0\0\0\0\0\0{"a":1}', "weights and no model"),
        ("net.onnx", b"\x08\x07", "ONNX"),
        ("photo.png", b"\x89PNG\r\n\x1a\n", "is not a Keras file"),
        ("net.keras", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
        ("net.h5", b"\n<!DOCTYPE html><html>", "web page"),
        ("net.json", b'{"class_name": "Functional"}', "without its weights"),
    ],
)
def test_what_holds_no_model_is_named(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=words) as caught:
        opening.open_model(tmp_path / name)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("a.keras", b"", "is empty"), ("a.h5", b"", "is empty"), ("a.keras", b"PK\x03\x04cut", "cut short"),
     ("a.keras", b"nothing", "damaged")],
)  # fmt: skip
def test_damaged_files_are_failed_work_with_a_way_out(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WorkError, match=words) as caught:
        opening.open_model(tmp_path / name)
    assert "get the file again" in caught.value.hint


def test_a_keras_file_that_was_unpacked_or_packed_once_more_is_named(tmp_path):
    small(keras).save(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive:
        archive.extractall(tmp_path / "unpacked" / "net.keras")
    shutil.make_archive(tmp_path / "parts", "zip", tmp_path / "unpacked")
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.write(tmp_path / "net.keras", "net.keras")
    for path, words in (
        (tmp_path / "unpacked" / "net.keras", "unpacked into a folder"),
        (tmp_path / "parts.zip", "parts of a .keras file"),
        (tmp_path / "whole.zip", "holds net.keras"),
    ):
        with pytest.raises(RequestError, match=words):
            opening.open_model(path)


@keras.saving.register_keras_serializable("mine")
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x


@keras.saving.register_keras_serializable("mine")
def half(x):
    return x / 2


@keras.saving.register_keras_serializable("mine")
class Start(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return keras.ops.ones(shape, dtype)


@keras.saving.register_keras_serializable("mine")
class Net(keras.Model):
    def __init__(self, **how):
        super().__init__(**how)
        self.last = keras.layers.Dense(2)

    def call(self, x):
        return self.last(x[:, 0, 0])


for code in (Twice, half, Start, Net):
    code.__module__ = "theirs"  # so that Keras cannot import it


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda x: Twice(name="doubled")(x), "layer 'doubled' of class Twice"),
        (keras.layers.Dense(2, activation=half), "the function 'half'"),
        (keras.layers.Dense(2, kernel_initializer=Start()), "class Start"),
        (None, "class Net, the model"),
    ],
)
def test_code_that_is_not_in_the_file_is_named(part, words, suffix, tmp_path, monkeypatch):
    if part is None and suffix == ".h5":
        pytest.skip("Keras saves no subclassed model in HDF5")
    image = keras.Input((12, 12, 3))
    net = Net(name="whole") if part is None else keras.Model(image, part(image))
    net(IMAGES)
    net.save(tmp_path / f"net{suffix}")
    known = keras.saving.get_custom_objects()
    for name in [name for name in known if name.startswith("mine>")]:
        monkeypatch.delitem(known, name)
    with pytest.raises(RequestError, match=words) as caught:
        opening.open_model(tmp_path / f"net{suffix}")
    assert "export it from Python" in caught.value.hint


def test_weights_and_folders_are_named(folder, tmp_path):
    place, _ = folder
    keras.saving.load_model(place / "three.keras").save_weights(tmp_path / "net.weights.h5")
    (tmp_path / "saved_model.pb").touch()
    for path, words in ((tmp_path / "net.weights.h5", "--weights"), (tmp_path, "SavedModel"), (place, "is a folder")):
        with pytest.raises(RequestError, match=words):
            opening.open_model(path)


def test_a_lambda_is_named_with_what_replaces_it_and_never_run(tmp_path):
    image = keras.Input((12, 12, 3))
    net = keras.Model(image, keras.layers.Flatten()(keras.layers.Lambda(lambda x: x / 255, name="scale")(image)))
    for name in ("net.keras", "net.h5"):
        net.save(tmp_path / name)
        with pytest.raises(RequestError, match="'scale'.*Rescaling"):
            opening.open_model(tmp_path / name)


def test_an_existing_path_is_no_misspelt_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet20").mkdir()
    (tmp_path / "resnet2O").write_bytes(b"")
    assert not opening.is_path("resnet20", ["resnet20"])
    assert not opening.is_path("resnet21", ["resnet20"])
    assert all(opening.is_path(given, ["resnet20"]) for given in ("resnet2O", "gone/net", "gone.keras", "gone.H5"))


def test_calls_of_nested_models_are_counted_from_zero():
    inner = {"class_name": "Sequential", "config": {"name": "base", "layers": []}, "name": "base", "inbound_nodes": []}
    user = {"class_name": "Add", "name": "add", "inbound_nodes": [[["base", 1, 0, {}], ["base", 2, 0, {}]]]}
    config = {"class_name": "Functional", "config": {"layers": [inner, user], "output_layers": [["add", 0, 0]]}}
    found = keras_2._calls_from_zero(json.loads(json.dumps(config)))
    assert found["config"]["layers"][1]["inbound_nodes"] == [[["base", 0, 0, {}], ["base", 1, 0, {}]]]


OLD_FRONTS = {
    "caffe": lambda k, tf, x: k.applications.resnet50.preprocess_input(x),
    "torch": lambda k, tf, x: k.applications.densenet.preprocess_input(x),
    "tf": lambda k, tf, x: k.applications.mobilenet_v2.preprocess_input(x),
    "operations": lambda k, tf, x: (tf.cast(x, tf.float32) + 1.0) * 0.5 - [1.0, 2.0, 3.0],
}


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("front", OLD_FRONTS)
def test_layers_that_only_keras_2_has_are_read_as_they_compute(front, suffix, tmp_path):
    """Operations of TensorFlow, augmentation and depthwise convolutions, as in most nets of its tutorials."""
    import tensorflow as tf

    tf_keras = pytest.importorskip("tf_keras")
    if suffix == ".keras" and front == "caffe":
        pytest.skip("Keras 2 cannot write this net")
    layers = tf_keras.layers
    image = layers.Input((12, 12, 3))
    x = tf_keras.Sequential([layers.RandomFlip(), layers.RandomZoom(0.2), layers.RandomContrast(0.1)])(image)
    x = layers.DepthwiseConv2D(3)(OLD_FRONTS[front](tf_keras, tf, x))
    net = tf_keras.Model(image, layers.Dense(2)(tf.reduce_mean(layers.Conv2D(4, 3)(x), axis=[1, 2])))
    net.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in net.get_weights()])
    net.save(tmp_path / f"net{suffix}")
    opened = opening.open_model(tmp_path / f"net{suffix}")
    expected = net.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(opened.predict(IMAGES, verbose=0), expected, rtol=1e-4, atol=1e-3)
    assert np.ptp(expected) > 1
    found = pixels.front(opened)
    assert found.takes_pixels and found.flipped == (front == "caffe")


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_settings_that_only_keras_2_has_are_read_in_nets_inside_sequential_ones(suffix, tmp_path):
    """As keras.applications' MobileNetV3, Xception and DenseNet behind a new head."""
    tf_keras = pytest.importorskip("tf_keras")
    layers = tf_keras.layers
    image = layers.Input((12, 12, 3))
    x = layers.BatchNormalization(name="stem/bn")(layers.SeparableConv2D(4, 3, name="stem/conv")(image))
    base = tf_keras.Model(image, layers.Add(name="join/add")([x, layers.DepthwiseConv2D(3, padding="same")(x)]))
    head = [layers.SpatialDropout2D(0.2), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    net = tf_keras.Sequential([layers.Rescaling(1 / 255, input_shape=(12, 12, 3)), base, *head])
    net.set_weights([np.random.default_rng(1).uniform(0.5, 2, size=weight.shape) for weight in net.get_weights()])
    net.save(tmp_path / f"net{suffix}")
    opened = opening.open_model(tmp_path / f"net{suffix}")
    expected = net.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(opened.predict(IMAGES, verbose=0), expected, rtol=1e-4)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_operations_of_tensorflow_between_layers_are_read_as_they_compute(suffix, tmp_path):
    """Residual and dense connections, activations and pooling, as people wrote them without layers."""
    import tensorflow as tf

    tf_keras = pytest.importorskip("tf_keras")
    layers = tf_keras.layers
    image = layers.Input((6, 6, 3))
    a, b = (layers.Conv2D(4, 3, padding="same")(image) for _ in range(2))
    mean = tf.reduce_mean(a, [1, 2], keepdims=True)
    ends = [
        *(a + b, tf.add_n([a, b, a]), a - b, a * b, tf.maximum(a, b), tf.minimum(a, b), a * tf.sigmoid(mean)),
        *(tf.concat([a, b, a], -1), tf_keras.backend.concatenate([a, b], axis=3), tf.square(a), b**2, -a, 1.0 - a),
        *(2.0 * a, 3.0 + b, tf.nn.silu(a), tf.nn.gelu(a), tf.nn.softmax(b), tf.nn.elu(a), tf.tanh(b), tf.nn.relu(a)),
        *(tf.nn.leaky_relu(a, 0.3), tf.nn.leaky_relu(b), tf.clip_by_value(a, 0, 2), a * tf.nn.relu6(a + 3.0) / 6.0),
        *(tf.nn.max_pool2d(a, 2, 2, "VALID"), tf.nn.avg_pool2d(b, (3, 3), 2, "SAME"), tf.identity(a)),
        *(tf.pad(a, [[0, 0], [1, 2], [0, 1], [0, 0]]), tf.squeeze(mean, [1, 2]), tf.reshape(b, [-1, 12, 12])),
        tf.stop_gradient(b),
    ]
    net = tf_keras.Model(image, layers.Dense(3)(layers.Concatenate()([layers.Flatten()(end) for end in ends])))
    net.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in net.get_weights()])
    net.save(tmp_path / f"net{suffix}")
    images = np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype("float32")
    found = opening.open_model(tmp_path / f"net{suffix}").predict(images, verbose=0)
    np.testing.assert_allclose(found, net.predict(images, verbose=0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "operation",
    [
        lambda tf, x: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0),
        lambda tf, x: tf.nn.dropout(x, 0.5),
        lambda tf, x: tf.nn.gelu(x, approximate=True),
        lambda tf, x: tf.nn.softmax(x, axis=1),
        lambda tf, x: tf.clip_by_value(x, -1, 1),
        lambda tf, x: 1.0 / x,
        lambda tf, x: x[:, 1:],
    ],
)
def test_an_operation_that_no_layer_computes_is_never_read_as_another(operation, tmp_path):
    import tensorflow as tf

    tf_keras = pytest.importorskip("tf_keras")
    image = tf_keras.layers.Input((6, 6, 3))
    net = tf_keras.Model(image, operation(tf, image))
    config = keras_2.with_layers_of_keras_3(json.loads(net.to_json()))
    assert config["config"]["layers"][1]["class_name"] in ("TFOpLambda", "SlicingOpLambda")


def test_an_operation_that_keras_3_cannot_hold_is_refused_with_another_way(tmp_path):
    import tensorflow as tf

    tf_keras = pytest.importorskip("tf_keras")
    image = tf_keras.layers.Input((12, 12, 3))
    tf_keras.Model(image, tf.reduce_sum(image, axis=[1, 2])).save(tmp_path / "net.h5")
    with pytest.raises(RequestError, match="TFOpLambda") as caught:
        opening.open_model(tmp_path / "net.h5")
    assert "set_weights" in caught.value.hint


def test_operations_in_hdf5_are_told_from_the_layers_of_their_name(tmp_path):
    """x / 255 and x + 1 stand in the file as TrueDivide and Add, which Keras looks for among its layers."""
    image = keras.Input((4, 4, 3))
    x = (image / 255.0 - np.array([0.485, 0.456, 0.406], "float32")) / np.array([0.229, 0.224, 0.225], "float32")
    x = keras.layers.Add()([x, keras.ops.maximum(x, 0.0) + 1.0])
    model = keras.Model(image, keras.layers.Flatten()(keras.layers.Subtract()([x, x * 0.5])))
    model.save(tmp_path / "model.h5")
    opened = opening.open_model(tmp_path / "model.h5")
    images = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype("float32")
    np.testing.assert_array_equal(model.predict(images, verbose=0), opened.predict(images, verbose=0))
    found = pixels.front(opened)
    assert len(found.names) == 3 and found.takes_pixels
    np.testing.assert_allclose(found.scale, 1 / 255 / np.array([0.229, 0.224, 0.225]), rtol=1e-6)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("front", [keras.applications.resnet50.preprocess_input, lambda x: x[..., ::-1] - 127.5])
def test_channels_that_operations_turn_round_are_opened_read_and_exported_in_half(front, suffix, tmp_path):
    """`...` stands in a file as an object at which Keras' reader of HDF5 gives up."""
    image = keras.Input((12, 12, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(front(image)))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))
    model.save(tmp_path / f"model{suffix}")
    opened = opening.open_model(tmp_path / f"model{suffix}")
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), opened.predict(IMAGES, verbose=0))
    found = pixels.front(opened)
    assert found.flipped and found.takes_pixels
    report = pipeline.export(opened, tmp_path / "bundle", ["fp32", "fp16"])
    assert [export["scheme"] for export in report["models"][0]["exports"]] == ["fp32", "fp16"]
