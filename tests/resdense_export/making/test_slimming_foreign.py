"""Other people's nets at 224 pixels: planned soon after the scores, built, exported, and as cheap as predicted."""

import os
import shlex
import subprocess
import time

import keras
import numpy as np
import pytest

import resdense_keras
from resdense_export import sources
from resdense_export.making.float_files import float_files
from resdense_export.making.quantization import quantize
from resdense_export.making.slimming import plan
from resdense_export.making.slimming.building import build
from resdense_export.making.slimming.channels import net_of
from resdense_export.making.slimming.scores import Scores
from resdense_export.schemes import SCHEMES

SIZE, IMAGES, CALIBRATION = 224, 64, 20
SECONDS = 60  # of planning, after the scores
NEAR = 0.05  # of the predicted share of instructions


def net_with_statistics(name):
    """The net with random weights and the statistics of a trained one."""
    keras.utils.set_random_seed(0)
    random, model = np.random.default_rng(0), getattr(keras.applications, name)(weights=None)
    for weight in model.weights:
        low = weight.path.rpartition("/")[2]
        if low in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif low in ("beta", "moving_mean"):
            weight.assign(random.normal(0, 0.2, weight.shape))
    return model


def counted(model, images, folder):
    """{scheme: Arm instructions in millions} of a model's files; {} without the program that counts."""
    command, floating, found = os.environ.get("RESDENSE_ARM_COUNT"), float_files(model), {}
    for scheme in ("fp32", "int8"):
        path = folder / f"{model.name}-{scheme}.tflite"
        path.write_bytes(quantize(floating(SCHEMES[scheme].graph, None), scheme, images))
        if command:
            run = subprocess.run([*shlex.split(command), str(path)], capture_output=True, text=True, check=True)
            found[scheme] = float(run.stdout.split()[-1])
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "DenseNet121", "EfficientNetV2B0"])
def test_half_of_a_foreign_net_is_planned_in_a_minute_and_counts_as_predicted(name, tmp_path):
    model = net_with_statistics(name)
    net, images = net_of(model), sources.generated_images((SIZE, SIZE, 3), IMAGES)
    scores, begun = Scores(net, images), time.process_time()
    found = plan.plan(net, scores, 0.5)
    assert time.process_time() - begun < SECONDS
    thin = build(net, found.keep, name="thin").model
    assert resdense_keras.profile(thin).macs == found.macs[1] <= 0.5 * found.macs[0]
    assert thin.count_params() == found.parameters[1]
    before, after = (counted(one, images[:CALIBRATION], tmp_path) for one in (model, thin))
    for scheme, whole in before.items():
        predicted = found.instructions[scheme][1] / found.instructions[scheme][0]
        assert after[scheme] / whole == pytest.approx(predicted, rel=NEAR), scheme
