"""The net that a training starts with."""

import keras
import numpy as np
import pytest
from PIL import Image

from resdense_keras import RequestError, cifar_resnet, data, preprocessing
from resdense_keras.data import folder
from resdense_keras.training import starts


@pytest.fixture
def images(tmp_path):
    """Two class folders of images that get brighter with their number."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(12):
            Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_the_normalisation_of_a_folder_does_not_hang_on_free_memory(images, monkeypatch):
    """A run that goes on while memory is scarce builds the net that it began with."""
    monkeypatch.setattr(starts, "MEASURED_IMAGES", 5)
    found = []
    for memory in (10**9, 0):
        monkeypatch.setattr(folder, "most_pixel_bytes", lambda memory=memory: memory)
        dataset = data.load(images)
        assert (dataset.train.images is None) == (memory == 0)
        layer = starts.build("resnet20", dataset, {"width": 2}).get_layer("preprocessing")
        found.append(str(layer.get_config()))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"shortcut": "B"}, "shortcut='B' was given, but weights='digits' of resnet20_digits were trained with short"),
        ({"include_preprocessing": False}, "include_preprocessing=False was given, but weights='digits'"),
        ({"width": 7}, "width=7 was given"),
    ],
)
def test_options_that_contradict_weights_by_name_are_an_error_as_in_the_builders(options, message):
    with pytest.raises(RequestError, match=message):
        starts.build("resnet20_digits", data.load("digits"), options, "digits")


def test_options_that_agree_with_weights_by_name_are_none():
    options = {"shortcut": "A", "include_preprocessing": True, "dropout": 0.1}
    model = starts.build("resnet20_digits", data.load("digits"), options, "digits")
    layer = model.get_layer("preprocessing").get_config()
    np.testing.assert_allclose(layer["scale"], [1 / 95.8908], rtol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_a_file_that_is_no_run_of_ours_gives_no_normalisation(tmp_path, content):
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    assert preprocessing.of_file(path) is None


@pytest.mark.parametrize("name", ["imagenet-caffe", "cifar10", "digits"])
def test_the_normalisation_in_a_run_of_ours_is_read_to_the_bit(tmp_path, name):
    record = preprocessing.PREPROCESSING[name]
    shape = (8, 8, len(record.mean))
    cifar_resnet(depth=8, width=2, input_shape=shape, include_preprocessing=record).save(tmp_path / "model.keras")
    found = preprocessing.of_file(tmp_path / "model.keras")
    if name == "digits":  # of four digits, as measured records are
        assert found == record
    assert found.channels == record.channels
    pixels = np.arange(256 * len(record.mean), dtype="float32").reshape(-1, len(record.mean)) % 256
    np.testing.assert_array_equal(found(pixels), record(pixels))


def test_a_rescaling_inside_another_s_net_is_not_taken_for_its_normalisation(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(2.0, name="preprocessing")(keras.layers.Rescaling(1 / 255)(image))
    keras.Model(image, x).save(tmp_path / "other.keras")
    assert preprocessing.of_file(tmp_path / "other.keras") is None
