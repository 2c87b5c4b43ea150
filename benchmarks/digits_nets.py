"""Trains the three digits nets that ship, and writes each with its log to resdense_keras/weights/shipped.

    python benchmarks/digits_nets.py          # about 4 minutes on 2 cores

One recipe and one seed for all; nothing is picked among runs of these nets. Depth, width and the 60 epochs come from
trials whose test accuracy was seen, so the test figures flatter by as much. The printed rows belong into
resdense_keras/weights/table.py. TensorFlow's operations are deterministic here: on the same machine and
versions the files come out the same to the byte.
"""

import argparse
import datetime
import hashlib
import time

import keras
from safetensors.numpy import save

import resdense_keras
from resdense_export import environment, machine
from resdense_keras import data, files, training
from resdense_keras.weights.table import SHIPPED_FOLDER

NETS = ("plain20_digits", "resnet20_digits", "densenet_bc28_6_digits")
SEED = 0
RECIPE = training.recipe("compare", epochs=60, warmup=2 / 60)


def main():
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    training.be_deterministic()
    digits = data.load("digits")
    for name in NETS:
        ship(name, digits)


def ship(name, digits):
    """Trains one net and writes its weights and, beside them, how they came to be."""
    keras.utils.set_random_seed(SEED)
    model = resdense_keras.create(name, include_preprocessing=True)
    trainer = training.Training(model, digits, RECIPE)
    start = time.perf_counter()
    history = trainer.run(seed=SEED)
    seconds = time.perf_counter() - start
    accuracy = trainer.accuracy(digits.test)
    found = resdense_keras.profile(model)
    weights = save(tensors(model))
    path = SHIPPED_FOLDER / f"{name}-digits.safetensors"
    files.write_bytes(path, weights)
    record = {
        "model": name,
        "weights": "digits",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": environment.command(),
        "data": {"spec": "digits", **{split: len(part) for split, part in digits.splits.items()}},
        "recipe": RECIPE.as_dict(),
        "seed": SEED,
        "train_seconds": round(seconds, 1),
        "machine": machine(),
        "versions": environment.versions(),
        "parameters": found.parameters,
        "trainable": found.trainable,
        "macs": found.macs,
        "accuracy": accuracy,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "history": history,
    }
    files.write_json(path.with_suffix(".json"), record)
    print(f'_digits("{name}", {accuracy:.4f}, "{record["sha256"]}")', flush=True)


def tensors(model):
    """{"layer/variable": array}, as `load_weights` names them."""
    return {"/".join(weight.path.split("/")[-2:]): keras.ops.convert_to_numpy(weight) for weight in model.weights}


if __name__ == "__main__":
    main()
