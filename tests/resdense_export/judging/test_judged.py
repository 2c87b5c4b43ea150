"""Laws of files on data: `eval` has a .tflite file's figures, `check --data` judges it against the float file."""

import numpy as np
import pytest

from resdense_cli.commands.check import inspect
from resdense_export.judging.judged import evaluate_file, float_twin
from resdense_keras.errors import RequestError
from resdense_keras.training import evaluate


@pytest.fixture(scope="module")
def spec(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "colours.npz"
    arrays = {"x": dataset.train.array(), "y": dataset.train.labels}
    np.savez(
        path,
        x_train=arrays["x"],
        y_train=arrays["y"],
        x_test=dataset.test.array(),
        y_test=dataset.test.labels,
    )
    return str(path)


def test_a_file_s_figures_are_its_model_s(bundle, nets, dataset, spec):
    found = evaluate_file(bundle / "dense-fp32.tflite", spec)
    expected = evaluate(nets["dense"], dataset.test)
    assert (found["accuracy"], found["confusion"]) == (expected["accuracy"], expected["confusion"])
    with pytest.raises(RequestError, match="no file"):
        evaluate_file(bundle / "gone.tflite", spec)


def test_a_file_is_judged_against_the_float_file_of_its_bundle_or_a_named_one(bundle, spec, tmp_path):
    inside = bundle / "dense-int8.tflite"
    alone = tmp_path / "alone-int8.tflite"
    alone.write_bytes(inside.read_bytes())
    assert float_twin(inside) == bundle / "dense-fp32.tflite" and float_twin(alone) is None
    judged, reported, named = (
        inspect([path], spec, against)[0]
        for path, against in ((inside, None), (alone, None), (alone, bundle / "dense-fp32.tflite"))
    )
    assert judged["accuracy"] == reported["accuracy"] == named["accuracy"]
    assert judged["gates"]["accuracy"] == named["gates"]["accuracy"] is not None
    assert reported["gates"]["accuracy"] is None and reported["gates"]["parity"] is None
