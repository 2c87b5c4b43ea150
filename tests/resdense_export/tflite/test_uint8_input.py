"""Laws of `--input uint8`: camera frames go in as they are, and every answer is the float32 file's, to the bit."""

import json

import numpy as np
import pytest
from PIL import Image

from resdense_cli.commands.check import inspect
from resdense_export import pipeline
from resdense_export.judging.check import check
from resdense_export.making.quantization import quantize
from resdense_export.schemes import SCHEMES
from resdense_export.tflite import flatbuffer, running
from resdense_export.tflite.uint8_input import with_uint8_input
from resdense_keras.errors import RequestError


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_the_input_tensor_changes(scheme, float_files, training_images, test_images, tmp_path):
    plain = quantize(float_files["residual"], scheme, training_images[0][:100])
    cameras = with_uint8_input(plain)
    (tmp_path / "plain").write_bytes(plain)
    (tmp_path / "cameras").write_bytes(cameras)
    answers = [running.run(tmp_path / name, test_images[0][:50]) for name in ("plain", "cameras")]
    np.testing.assert_array_equal(*answers)
    net = running.Net(tmp_path / "cameras")
    assert net.input["dtype"] is np.uint8 and net.output["dtype"] is np.float32
    assert net.interpreter.get_signature_list()["serving_default"] == {"inputs": ["image"], "outputs": ["output"]}
    before, after = (flatbuffer.count(flatbuffer.read(content)) for content in (plain, cameras))
    assert after == {**before, "CAST": 1}
    assert with_uint8_input(plain) == cameras


def test_a_bundle_for_cameras_passes_its_gates_and_replays(nets, dataset, tmp_path):
    folder, inside = tmp_path / "out", {"scale": [1 / 64], "offset": [-2]}
    pipeline.export(nets["residual"], folder, dataset=dataset, preprocessing=inside, input_type="uint8", rounds=3)
    described = json.loads((folder / "model.json").read_text())
    assert (described["input"]["dtype"], described["input"]["range"]) == ("uint8", [0, 255])
    golden = json.loads((folder / "golden" / "golden.json").read_text())
    images = np.stack([np.asarray(Image.open(folder / "golden" / row["image"])) for row in golden["images"]])
    for file in described["files"]:
        expected = [row["probabilities"][file] for row in golden["images"]]
        np.testing.assert_allclose(running.run(folder / file, images), expected, atol=1e-5)
    assert all(finding["problems"] == [] for finding in inspect([folder]))


def test_range_of_the_calibration_is_still_looked_at(float_files, training_images, test_images, tmp_path):
    wrong = quantize(float_files["dense"], "int8", training_images[0][:100] / np.float32(255))
    path = tmp_path / "net-int8.tflite"
    path.write_bytes(with_uint8_input(wrong))
    assert "input_range" in check(path, images=test_images[0]).failures


def test_a_model_whose_pixels_are_not_known_is_refused(nets, tmp_path):
    with pytest.raises(RequestError, match="whether this model takes pixels is not known") as error:
        pipeline.export(nets["dense"], tmp_path / "out", ["fp32"], input_type="uint8")
    assert "--preprocessing" in error.value.hint and list(tmp_path.iterdir()) == []
