"""The golden images of a bundle, replayed on the kernels that a phone runs: an emulated Armv8.2 core.

RESDENSE_ARM_PYTHON is a command that runs a Python file there, with LiteRT and NumPy; RESDENSE_ARM is its folder.
"""

import json
import os
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resdense_export import pipeline, sources
from resdense_export.judging.check import scheme_of
from resdense_export.schemes import SCHEMES
from resdense_keras import data

REPLAY = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

images, answers = np.load(sys.argv[1]), {}
for path in sys.argv[3:]:
    net = Interpreter(path, num_threads=1)
    net.allocate_tensors()
    given, gives = net.get_input_details()[0], net.get_output_details()[0]
    rows = []
    for image in images:
        net.set_tensor(given["index"], image[np.newaxis].astype(given["dtype"]))
        net.invoke()
        rows.append(net.get_tensor(gives["index"])[0])
    answers[path] = np.stack(rows)
np.savez(sys.argv[2], **answers)
"""


@pytest.fixture
def arm():
    """The command that runs Python there."""
    folder, command = (os.environ.get(name) for name in ("RESDENSE_ARM", "RESDENSE_ARM_PYTHON"))
    if not (folder and command and Path(folder).is_dir()):
        pytest.skip("RESDENSE_ARM and RESDENSE_ARM_PYTHON do not name an emulated Arm core")
    return shlex.split(command)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20_digits", "densenet_bc28_6_digits"])
def test_golden_images_have_the_same_top_1_on_an_arm_core(name, arm, tmp_path):
    folder, net = tmp_path / "bundle", sources.model(name, "digits")
    schemes = ["fp32", "fp16", "dynamic", "int8"]  # there fp16 is computed in half precision, here in float32
    pipeline.export(
        net.model, folder, schemes, name=name, dataset=data.load("digits"), preprocessing=net.preprocessing, rounds=3
    )
    golden = json.loads((folder / "golden" / "golden.json").read_text())
    images = np.stack([np.asarray(Image.open(folder / "golden" / row["image"])) for row in golden["images"]])[..., None]
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "replay.py").write_text(REPLAY)
    files = sorted(folder.glob("*.tflite"))
    subprocess.run([*arm, tmp_path / "replay.py", tmp_path / "images.npy", tmp_path / "out.npz", *files], check=True)
    assert len(files) == len(schemes) and len(images) == 20
    with np.load(tmp_path / "out.npz") as answers:
        for file in files:
            right = np.array([row["probabilities"][file.name] for row in golden["images"]])
            found = answers[str(file)]
            np.testing.assert_array_equal(found.argmax(axis=1), right.argmax(axis=1), err_msg=file.name)
            tolerance = golden["tolerance"][SCHEMES[scheme_of(file)].tolerance]
            np.testing.assert_allclose(found, right, atol=tolerance, err_msg=file.name)
