"""Laws of weights from a file: the pixels that they were trained on come with them, or are asked for."""

import keras
import pytest

import resdense_keras
from resdense_export import sources
from resdense_export.models import trained_pixels
from resdense_keras.errors import RequestError
from resdense_keras.weights import find
from resdense_keras.weights.table import WEIGHTS

SHAPE = {"input_shape": (8, 8, 1)}


def test_a_run_s_weights_bring_its_normalisation_to_the_bit(tmp_path):
    pixels = resdense_keras.Preprocessing((77.8314,), (95.8908,), "L")
    net = resdense_keras.create("resnet20_digits", include_preprocessing=pixels, **SHAPE)
    net.save(tmp_path / "model.keras")
    found = sources.model("resnet20_digits", str(tmp_path / "model.keras"), dict(SHAPE))
    assert found.preprocessing == sources.preprocessing_inside(net)
    assert trained_pixels.trained_pixels("resnet20_digits", tmp_path / "model.keras") == pixels


def test_weights_of_keras_applications_ask_for_their_pixels(tmp_path):
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, name="conv1_conv")(image)
    keras.Model(image, keras.layers.BatchNormalization(name="conv2_block1_1_bn")(x)).save(tmp_path / "net.h5")
    with pytest.raises(RequestError, match="--preprocessing: imagenet-caffe"):
        trained_pixels.trained_pixels("resnet50", tmp_path / "net.h5")


def test_a_published_file_is_known_by_its_bytes(tmp_path, monkeypatch):
    (tmp_path / "any.h5").write_bytes(b"published")
    row = next(row for row in WEIGHTS if row.model == "resnet50_v2")
    monkeypatch.setattr(
        trained_pixels.hashlib, "file_digest", lambda file, kind: type("D", (), {"hexdigest": lambda _: row.md5})()
    )
    assert (
        trained_pixels.trained_pixels("resnet50", tmp_path / "any.h5") == find("resnet50_v2", "imagenet").preprocessing
    )
