"""Laws of what the command line names: what a model's pixels and outputs mean is said, measured or left unknown."""

import json

import keras
import numpy as np
import pytest

import resdense_keras
from resdense_export import sources
from resdense_export.nets.reading import read
from resdense_export.nets.rewriting import GRAPHS, apply
from resdense_keras.errors import RequestError
from resdense_keras.preprocessing import PREPROCESSING
from resdense_keras.profiles import profile

GREY = resdense_keras.Preprocessing((127.5,), (64.0,), "L")
IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype("float32")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A folder with somebody's .keras files: logits from normalised pixels, of a fixed and of an open size."""
    folder = tmp_path_factory.mktemp("foreign")
    for name, shape in (("fixed", (16, 16, 3)), ("open", (None, None, 3))):
        keras.utils.set_random_seed(1)
        inputs = keras.Input(shape)
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(inputs))
        keras.Model(inputs, keras.layers.Dense(4)(x), name=name).save(folder / f"{name}.keras")
    return folder


def test_preprocessing_is_put_inside_a_file_that_lacks_it(foreign):
    path = foreign / "fixed.keras"
    plain, net = sources.model(path), sources.model(path, preprocessing="imagenet-caffe")
    assert plain.preprocessing == "unknown"
    assert net.preprocessing["channels"] == "BGR" and net.preprocessing["scale"] == [1, 1, 1]
    expected = plain.model.predict(PREPROCESSING["imagenet-caffe"](IMAGES), verbose=0)
    np.testing.assert_allclose(net.model.predict(IMAGES, verbose=0), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("given", "scale", "offset"), [("0..1", 1 / 255, 0), ("-1..1", 1 / 127.5, -1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_a_range_are_said_for_any_number_of_channels(given, scale, offset, channels, tmp_path):
    image = keras.Input((8, 8, channels))
    keras.Model(image, keras.layers.Flatten()(image)).save(tmp_path / "net.keras")
    net = sources.model(tmp_path / "net.keras", preprocessing=given)
    assert net.takes_pixels and net.preprocessing["channels"] == ("L" if channels == 1 else "RGB")
    pixels = np.full((1, 8, 8, channels), 51.0)
    np.testing.assert_allclose(net.model.predict(pixels, verbose=0), 51 * scale + offset, rtol=1e-5)


def test_one_number_without_a_sigmoid_is_told_how_it_becomes_two_classes():
    image = keras.Input((8, 8, 3))
    assert "sigmoid" in sources.way_to_classes(keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(image))))
    assert "sigmoid" not in sources.way_to_classes(keras.Model(image, keras.layers.Flatten()(image)))


def test_none_says_that_the_model_takes_pixels_as_they_are(foreign):
    plain, net = (sources.model(foreign / "fixed.keras", preprocessing=given) for given in (None, "none"))
    assert net.preprocessing == {"scale": [1.0] * 3, "offset": [0.0] * 3, "channels": "RGB"}
    np.testing.assert_array_equal(*(found.model.predict(IMAGES, verbose=0) for found in (plain, net)))


def test_preprocessing_of_a_catalogue_name_replaces_the_weights_own():
    own = sources.model("resnet20_digits", "digits")
    other = sources.model("resnet20_digits", "digits", preprocessing="none")
    assert own.preprocessing["scale"] == pytest.approx([1 / 95.8908]) and own.preprocessing["channels"] == "L"
    assert other.preprocessing == {"scale": [1.0], "offset": [0.0], "channels": "L"}
    with pytest.raises(RequestError, match="--set include_preprocessing"):
        sources.model("resnet20", None, {"include_preprocessing": False}, preprocessing="cifar10")


def test_a_softmax_is_put_behind_logits_and_never_behind_probabilities(foreign):
    net = sources.model(foreign / "fixed.keras", softmax=True)
    outputs = net.model.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-5)
    logits = sources.model(foreign / "fixed.keras").model.predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(outputs.argmax(axis=1), logits.argmax(axis=1))
    with pytest.raises(RequestError, match="are probabilities already"):
        sources.model("resnet20_digits", "digits", softmax=True)


def test_a_softmax_is_put_behind_a_net_that_has_one_inside():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.Softmax(name="softmax")(keras.layers.Conv2D(4, 3)(image)))
    net = sources._with_softmax(keras.Model(image, keras.layers.Dense(3)(x)))
    np.testing.assert_allclose(net.predict(IMAGES[:, :8, :8], verbose=0).sum(axis=1), 1, rtol=1e-5)


def test_image_size_closes_a_size_that_the_file_leaves_open(foreign):
    net = sources.model(foreign / "open.keras", image_size=16)
    assert net.image_shape == (16, 16, 3) and net.model.name == "open"
    np.testing.assert_allclose(
        net.model.predict(IMAGES, verbose=0), sources.model(foreign / "fixed.keras").model.predict(IMAGES, verbose=0)
    )
    with pytest.raises(RequestError, match="phones need a fixed image size"):
        sources.model(foreign / "open.keras")
    with pytest.raises(RequestError, match="16"):
        sources.model(foreign / "fixed.keras", image_size=20)


def of_size(shape, inside):
    """A net with a stem that is rewritten where the image size is known; `inside` puts its body into a model."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(2)
    layers = keras.layers
    body = keras.Sequential([keras.Input((None, None, 4)), layers.Conv2D(6, 3, strides=2), layers.ReLU()], name="body")
    image = keras.Input(shape, name="photo")
    x = layers.ZeroPadding2D(3)(layers.Normalization(mean=[1, 2, 3], variance=[1, 2, 3])(image))
    x = layers.MaxPooling2D(3, 2, padding="same")(layers.Conv2D(4, 7, strides=2, name="stem")(x))
    x = layers.BatchNormalization()(layers.ZeroPadding2D(1)(x))
    for layer in [body] if inside else body.layers:
        x = layer(x)
    return keras.Model(image, layers.Dense(4, name="scores")(layers.GlobalAveragePooling2D()(x)), name="net")


@pytest.mark.parametrize("inside", [False, True])
def test_a_net_of_open_size_becomes_the_one_that_is_built_for_the_size(inside, tmp_path):
    of_size((None, None, 3), inside).save(tmp_path / "net.keras")
    net, built = sources.model(tmp_path / "net.keras", image_size=16), of_size((16, 16, 3), False)
    assert net.name == net.model.name == built.name
    assert [x.name for x in net.model.inputs] == ["photo"] == [x.name for x in built.inputs]
    assert [x.shape for x in net.model.weights] == [x.shape for x in built.weights]
    np.testing.assert_array_equal(*(found.predict(IMAGES, verbose=0) for found in (net.model, built)))
    assert profile(net.model).macs == profile(built).macs
    for passes in ([], *GRAPHS.values()):
        found, expected = ([(x.kind, x.shape) for x in apply(read(model), passes)] for model in (net.model, built))
        assert found == expected and not any(None in shape for _, shape in found)
    net.model.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    np.testing.assert_array_equal(*(found.predict(IMAGES, verbose=0) for found in (again, built)))


def test_a_model_inside_a_model_has_the_sizes_that_it_is_called_on_and_stays_as_it_was():
    inner = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3, name="conv")], name="inner")
    image, small = keras.Input((8, 8, 3)), keras.Input((5, 5, 3))
    pooled = [keras.layers.GlobalAveragePooling2D()(inner(x)) for x in (image, small)]
    shapes = [node.shape for node in read(keras.Model([image, small], pooled)) if node.name.startswith("conv")]
    assert sorted(shapes) == [(3, 3, 2), (6, 6, 2)]
    assert inner.get_layer("conv").output.shape == (None, None, None, 2) and len(inner.get_layer("conv").weights) == 2


def test_an_image_size_that_leaves_a_layer_no_pixels_is_refused(foreign):
    with pytest.raises(RequestError, match="images of 2x2 do not fit model 'open'"):
        sources.model(foreign / "open.keras", image_size=2)


def test_preprocessing_fits_in_front_of_layers_of_its_name_and_of_whole_numbers(tmp_path):
    image = keras.Input((None, None, 3), dtype="uint8")
    x = keras.layers.Conv2D(2, 3, name="preprocessing")(image)
    keras.Model(image, keras.layers.GlobalAveragePooling2D(name="flip")(x)).save(tmp_path / "net.keras")
    net = sources.model(tmp_path / "net.keras", image_size=16, preprocessing="imagenet-caffe")
    expected = keras.saving.load_model(tmp_path / "net.keras").get_layer("preprocessing")
    pixels = PREPROCESSING["imagenet-caffe"](IMAGES)
    np.testing.assert_allclose(
        net.model.predict(IMAGES, verbose=0), np.asarray(expected(pixels)).mean((1, 2)), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [("imagnet", "unknown preprocessing 'imagnet'"), ("digits", "has 1 channels, fixed.keras takes 3")],
)
def test_preprocessing_that_cannot_be_is_refused(given, message, foreign):
    with pytest.raises(RequestError, match=message):
        sources.model(foreign / "fixed.keras", preprocessing=given)


@pytest.mark.parametrize("record", [PREPROCESSING["imagenet-caffe"], PREPROCESSING["cifar10"], GREY])
def test_what_is_read_back_is_the_record_of_the_weights(record, tmp_path):
    """From a built net and from its .keras file: the same channels, and numbers that give the same pixels."""
    channels = len(record.mean)
    built = resdense_keras.cifar_resnet(depth=8, input_shape=(32, 32, channels), include_preprocessing=record)
    built.save(tmp_path / "net.keras")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, channels))
    for model in (built, keras.saving.load_model(tmp_path / "net.keras")):
        found = sources.preprocessing_inside(model)
        assert found["channels"] == record.channels
        ordered = pixels[..., ::-1] if found["channels"] == "BGR" else pixels
        np.testing.assert_allclose(ordered * found["scale"] + found["offset"], record(pixels), atol=1e-4)


def test_a_net_without_preprocessing_says_so():
    assert sources.preprocessing_inside(resdense_keras.cifar_resnet(depth=8)) == "unknown"


# Class names


def net_of(outputs, names=None):
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(outputs)])
    return sources.Net("net", model, "unknown", names)


def test_names_are_those_of_the_flag_then_of_the_weights_then_of_the_data(dataset, tmp_path):
    (tmp_path / "labels").write_text("".join(f"flag {i}\n" for i in range(6)))
    own = dataset.class_names
    assert sources.class_names(net_of(6), dataset, tmp_path / "labels")[0] == "flag 0"
    assert sources.class_names(net_of(6, own), dataset) == own
    assert sources.class_names(net_of(6), dataset) == own
    assert sources.class_names(net_of(6), None) is None


def test_a_wrong_number_of_names_is_refused(dataset, tmp_path):
    (tmp_path / "labels").write_text("one\ntwo\n")
    with pytest.raises(RequestError, match="has 2 names, the model 6 outputs"):
        sources.class_names(net_of(6), dataset, tmp_path / "labels")


def test_data_that_number_their_classes_otherwise_are_refused(dataset):
    turned = dataset.class_names[::-1]
    with pytest.raises(RequestError, match=f"class 0 is '{turned[0]}' for the model and 'red below' in colours"):
        sources.class_names(net_of(6, turned), dataset)


def test_a_training_runs_names_lie_beside_its_model(foreign, tmp_path, capsys):
    (tmp_path / "model.keras").write_bytes((foreign / "fixed.keras").read_bytes())
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    assert sources.model(tmp_path / "model.keras").class_names == ("a", "b", "c", "d")
    (tmp_path / "labels.txt").write_text("a\nb\n")
    assert sources.model(tmp_path / "model.keras").class_names is None
    assert "has 2 names, the model 4 outputs" in capsys.readouterr().err


def test_a_runs_folder_is_answered_with_the_model_in_it(tmp_path, monkeypatch):
    (tmp_path / "model.keras").touch()
    with pytest.raises(RequestError, match="is the folder of a training run") as error:
        sources.model(str(tmp_path))
    assert error.value.hint == f"give its model: {tmp_path / 'model.keras'}"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet20_digits").mkdir()
    (tmp_path / "resnet20_digits" / "model.keras").touch()
    assert sources.model("resnet20_digits").name == "resnet20_digits"  # a name is one whatever lies beside the work


def test_names_of_named_weights(monkeypatch, tmp_path, capsys):
    from resdense_keras.weights import download

    index = tmp_path / "index.json"  # in the form of Keras' own file, which no network brings here
    index.write_text(json.dumps({str(i): [f"n{i:08d}", f"name {i}"] for i in range(1000)}))
    monkeypatch.setattr(download, "class_index", lambda: index)
    assert sources.names_of_weights("imagenet", 1000)[::999] == ("name 0", "name 999")
    assert sources.names_of_weights("imagenet", 10) is None
    assert sources.names_of_weights("digits", 10) == tuple("0123456789")
    assert sources.names_of_weights("a/path.h5", 1000) is None


def test_without_a_network_imagenet_has_no_names_and_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RESDENSE_HOME", str(tmp_path))
    monkeypatch.setenv("RESDENSE_WEIGHTS_URL", "http://127.0.0.1:9")
    assert sources.names_of_weights("imagenet", 1000) is None
    assert "warning: no class names: cannot download" in capsys.readouterr().err


def test_a_net_that_knows_no_classes_calibrates_on_a_folder_of_images_as_they_are(tmp_path, monkeypatch):
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(40):
        pixels = random.integers(0, 255, (10, 12, 3)).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    image = keras.Input((8, 8, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    nets = [
        sources.Net("net", keras.Model(image, end), "unknown", resize="stretch")
        for end in (features, keras.layers.Dense(3, activation="softmax")(features))
    ]
    found = sources.dataset(str(tmp_path), nets[0])
    assert sum(map(len, found.splits.values())) == 40 and found.image_shape == (8, 8, 3)
    with pytest.raises(RequestError, match="no images in class folders"):
        sources.dataset(str(tmp_path), nets[1])
