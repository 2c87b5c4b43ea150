"""What golden.json lets an app's answers be off."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

import resdense_keras
from resdense_export import pipeline
from resdense_export.bundle.golden import TOLERANCE
from resdense_export.tflite import running
from resdense_keras import data


@pytest.mark.parametrize("activation", ["softmax", None])
def test_the_tolerance_grows_with_the_span_of_the_answers(activation, tmp_path):
    net = resdense_keras.resnet20_digits(weights="digits", include_preprocessing=True, classifier_activation=activation)
    pipeline.export(net, tmp_path / "bundle", ["fp32"], dataset=data.load("digits"), rounds=3)
    golden = json.loads((tmp_path / "bundle" / "golden" / "golden.json").read_text())
    answers = [answer for image in golden["images"] for answer in image["probabilities"].values()]
    span = 1 if activation else np.ptp(answers)
    assert (span == 1) == (activation == "softmax")
    assert golden["tolerance"] == pytest.approx({kind: limit * span for kind, limit in TOLERANCE.items()})


@pytest.mark.parametrize(("size", "images"), [(16, 2), (96, 1)])
def test_answers_that_are_no_classes_stay_under_a_megabyte(size, images, tmp_path):
    """An image out: of too many numbers there are fewer images, and at last the first numbers of one."""
    image = keras.Input((size, size, 3))
    net = keras.Model(image, keras.layers.Conv2D(24, 1)(image), name="map")
    pipeline.export(net, tmp_path / "bundle", ["fp32", "dynamic"], rounds=3)
    path = tmp_path / "bundle" / "golden" / "golden.json"
    golden = json.loads(path.read_text())
    lengths = {len(answer) for row in golden["images"] for answer in row["probabilities"].values()}
    assert path.stat().st_size < 1e6 and len(golden["images"]) == images
    assert lengths == {golden.get("numbers", size * size * 24)} and ("numbers" in golden) == (size == 96)


def test_four_channels_reach_an_accepted_int8_file_and_its_golden_images(dataset, tmp_path):
    """The net answers with the brightest of the four channels."""
    random = np.random.default_rng(0)

    def four_channels(split):
        labels = np.arange(len(split)) % 4
        images = random.integers(20, 120, (len(split), 16, 16, 4), dtype=np.uint8)
        images[np.arange(len(split)), :, :, labels] += 100
        return replace(split, labels=labels, images=images, image_shape=(16, 16, 4))

    splits = {name: four_channels(split) for name, split in dataset.splits.items()}
    dataset = replace(dataset, class_names=None, image_shape=(16, 16, 4), **splits)
    image = keras.Input((16, 16, 4))
    x = keras.layers.Conv2D(4, 1, activation="relu")(keras.layers.Rescaling(1 / 64)(image))
    x = keras.layers.Dense(4, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    net = keras.Model(image, x, name="four")
    net.set_weights([np.eye(4)[None, None], np.zeros(4), 4 * np.eye(4), np.zeros(4)])
    report = pipeline.export(net, tmp_path / "bundle", ["fp32", "int8"], dataset=dataset, rounds=3)
    files = {export["scheme"]: export for export in report["models"][0]["exports"]}
    assert files["int8"]["accuracy"] == 1 and files["int8"]["gates"]["int8"]["passed"]
    assert "16x16 in 4 channels" in report["data"]["understood"]
    golden = json.loads((tmp_path / "bundle" / "golden" / "golden.json").read_text())
    pixels = [np.asarray(Image.open(tmp_path / "bundle" / "golden" / row["image"])) for row in golden["images"]]
    for export in files.values():
        stored = [row["probabilities"][export["file"]] for row in golden["images"]]
        assert running.run(tmp_path / "bundle" / export["file"], np.stack(pixels)) == pytest.approx(
            np.stack(stored), abs=1e-4
        )
