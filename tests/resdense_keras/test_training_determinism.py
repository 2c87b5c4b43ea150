"""`--deterministic`: the same command gives the same bits, in another process too."""

import subprocess
import sys

TRAIN = """
import hashlib
from dataclasses import replace
import keras
from resdense_keras import cifar_densenet, data, training
training.be_deterministic()
keras.utils.set_random_seed(1)
dataset = data.load("digits")
model = cifar_densenet(depth=10, growth_rate=4, input_shape=(8, 8, 1), dropout=0.2)
history = training.fit(model, dataset, replace(training.recipe("compare"), epochs=2), seed=1)
print(hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest(), history)
"""


def test_a_deterministic_training_repeats_to_the_bit():
    """Convolutions, batch norms, dropout, augmentation and shuffling: the weights and every figure on the way."""
    first, second = (
        subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first == second and "val_accuracy" in first
