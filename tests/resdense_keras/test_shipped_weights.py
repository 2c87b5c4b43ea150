"""Laws of the weights in the wheel: whole, small, what their log says, and as good as the table says."""

import json

import numpy as np
import pytest

import resdense_keras
from resdense_keras import RequestError, WorkError, catalog, data, preprocessing, weights
from resdense_keras.experiments import lesions
from resdense_keras.weights import SHIPPED, table

DIGITS = {row.model: row for row in SHIPPED if row.name == "digits"}
CIFAR10 = {row.model: row for row in SHIPPED if row.name == "cifar10"}
each_row = pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row.path.stem)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module", params=DIGITS)
def net(request):
    return resdense_keras.create(request.param, weights="digits", include_preprocessing=True)


@each_row
def test_a_row_its_file_and_its_log_agree(row):
    log = json.loads(row.path.with_suffix(".json").read_text())
    assert (log["model"], log["weights"], log["sha256"]) == (row.model, row.name, row.sha256)
    assert log["accuracy"] == pytest.approx(row.accuracy, abs=5e-5)
    assert len(log["history"]) == log["recipe"]["epochs"]
    assert {key: log[key] for key in ("parameters", "trainable", "macs")} == {
        key: catalog.sizes()[row.model][key] for key in ("parameters", "trainable", "macs")
    }
    assert row.path.stat().st_size < 2e6
    assert row.name in weights.names(row.model)


def test_no_file_ships_without_a_row():
    shipped = {path for path in table.SHIPPED_FOLDER.iterdir() if path.suffix == ".safetensors"}
    assert shipped == {row.path for row in SHIPPED}


def test_the_digits_nets_have_equal_parameters():
    trainable = {name: catalog.sizes()[name]["trainable"] for name in DIGITS}
    assert trainable["plain20_digits"] == trainable["resnet20_digits"]
    assert max(trainable.values()) <= 1.1 * min(trainable.values())


def test_the_digits_record_is_measured_on_their_training_images(digits):
    assert preprocessing.measured(digits.train.images) == preprocessing.PREPROCESSING["digits"]


def test_a_net_has_the_accuracy_of_its_row(net, digits):
    found = lesions.accuracy(net, digits.test.array().astype("float32"), digits.test.labels)
    assert found == pytest.approx(DIGITS[net.name].accuracy, abs=5e-5)
    assert found >= 0.97


@pytest.mark.parametrize("row", CIFAR10.values(), ids=CIFAR10)
def test_a_cifar10_net_loads_and_tells_images_apart(row):
    """Without the images: colours alone must not all be one class, and probabilities are probabilities."""
    net = resdense_keras.create(row.model, weights="cifar10", include_preprocessing=True)
    colours = np.random.default_rng(0).integers(0, 256, (64, 1, 1, 3)).repeat(32, axis=1).repeat(32, axis=2)
    found = net.predict(colours.astype("float32"), verbose=0)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert len(set(found.argmax(axis=1))) > 2


@pytest.mark.slow
@pytest.mark.parametrize("row", CIFAR10.values(), ids=CIFAR10)
def test_a_cifar10_net_has_the_accuracy_of_its_row(row, cifar10_file):
    net = resdense_keras.create(row.model, weights="cifar10", include_preprocessing=True)
    with np.load(cifar10_file) as images:
        found = lesions.accuracy(net, images["x_test"].astype("float32"), images["y_test"].ravel())
    assert found == pytest.approx(row.accuracy, abs=2e-4)  # two of 10,000 images between processors


def test_shipped_weights_load_without_the_head_and_without_the_normalisation(net):
    body = resdense_keras.create(net.name, weights="digits", include_top=False)
    assert body.output_shape[1:3] == (2, 2)
    assert len(body.weights) == len(net.weights) - 2
    for mine, theirs in zip(body.get_weights(), net.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("resnet20_digits", {"shortcut": None}, "shortcut=None was given, but weights='digits' of resnet20_digits"),
        ("densenet_bc28_6_digits", {"growth_rate": 12}, "trained with growth_rate=6"),
        ("resnet32", {"weights": "digits"}, "resnet32 has no"),
    ],
)
def test_an_argument_that_contradicts_the_weights_is_an_error(name, options, message):
    with pytest.raises(RequestError, match=message):
        resdense_keras.create(name, **{"weights": "digits", **options})


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    row = DIGITS["resnet20_digits"]
    (tmp_path / row.path.name).write_bytes(row.path.read_bytes()[:-1])
    monkeypatch.setattr(table, "SHIPPED_FOLDER", tmp_path)
    with pytest.raises(WorkError, match="missing or damaged"):
        resdense_keras.create(row.model, weights="digits")
