"""The trained CIFAR-10 nets that the benchmarks judge on: catalogue name -> file, and the pixels it was trained on.

`RESDENSE_CHECKPOINTS` names their folder, `RESDENSE_CIFAR10` the images.
"""

import os
from pathlib import Path

import resdense_keras
from resdense_export.bundle.evidence import CALIBRATION, held_out
from resdense_keras import data
from resdense_keras.preprocessing import PREPROCESSING, Preprocessing

_DICE = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # deeplearning-wisc/dice
CHECKPOINTS = {
    "resnet20": ("resnet20-cifar10.npz", PREPROCESSING["imagenet"]),
    "resnet56": ("resnet56-cifar10.npz", PREPROCESSING["imagenet"]),
    "densenet_bc100_12": (
        "densenet_bc_100_12-cifar10.npz",
        Preprocessing(*(tuple(255 * number for number in numbers) for numbers in _DICE)),
    ),
}


def load(name):
    """The net with its trained weights and its normalisation inside, pixels in [0, 255] -> probabilities."""
    file, pixels = CHECKPOINTS[name]
    model = resdense_keras.create(name, include_preprocessing=pixels)
    return resdense_keras.load_weights(model, Path(os.environ["RESDENSE_CHECKPOINTS"]) / file)


def training_images(count):
    """(images that calibrate as an export's do, `count` others that judge), training images all."""
    dataset = data.load(os.environ["RESDENSE_CIFAR10"])
    chosen, calibration = data.calibration(dataset, CALIBRATION, 0)
    return calibration, held_out(dataset, chosen, 0)[1][:count]
