"""What golden.json lets an app's answers be off."""

import json

import keras
import numpy as np
import pytest

import resdense_keras
from resdense_export import pipeline
from resdense_export.bundle.golden import TOLERANCE
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
