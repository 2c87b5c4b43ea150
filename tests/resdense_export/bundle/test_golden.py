"""What golden.json lets an app's answers be off."""

import json

import numpy as np
import pytest

import resdense_keras as rk
from resdense_export import pipeline
from resdense_export.bundle.golden import TOLERANCE
from resdense_keras import data


@pytest.mark.parametrize("activation", ["softmax", None])
def test_the_tolerance_grows_with_the_span_of_the_answers(activation, tmp_path):
    net = rk.resnet20_digits(weights="digits", include_preprocessing=True, classifier_activation=activation)
    pipeline.export(net, tmp_path / "bundle", ["fp32"], dataset=data.load("digits"), rounds=3)
    golden = json.loads((tmp_path / "bundle" / "golden" / "golden.json").read_text())
    answers = [answer for image in golden["images"] for answer in image["probabilities"].values()]
    span = 1 if activation else np.ptp(answers)
    assert (span == 1) == (activation == "softmax")
    assert golden["tolerance"] == pytest.approx({kind: limit * span for kind, limit in TOLERANCE.items()})
