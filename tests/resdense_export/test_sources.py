"""What the command line reads out of a model: the preprocessing that stands inside it."""

import keras
import numpy as np
import pytest

import resdense_keras as rk
from resdense_export.sources import preprocessing_inside
from resdense_keras.preprocessing import PREPROCESSING

GREY = rk.Preprocessing((127.5,), (64.0,), "L")


@pytest.mark.parametrize("record", [PREPROCESSING["imagenet-caffe"], PREPROCESSING["cifar10"], GREY])
def test_what_is_read_back_is_the_record_of_the_weights(record, tmp_path):
    """From a built net and from its .keras file: the same channels, and numbers that give the same pixels."""
    channels = len(record.mean)
    built = rk.cifar_resnet(depth=8, input_shape=(32, 32, channels), include_preprocessing=record)
    built.save(tmp_path / "net.keras")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, channels))
    for model in (built, keras.saving.load_model(tmp_path / "net.keras")):
        found = preprocessing_inside(model)
        assert found["channels"] == record.channels
        ordered = pixels[..., ::-1] if found["channels"] == "BGR" else pixels
        np.testing.assert_allclose(ordered * found["scale"] + found["offset"], record(pixels), atol=1e-4)


def test_a_net_without_preprocessing_says_so():
    assert preprocessing_inside(rk.cifar_resnet(depth=8)) == "unknown"
