"""Makes shipped weights of a finished run: the best epoch's tensors, and beside them how they came to be.

    resdense train resnet20 --data $RESDENSE_CIFAR10 --recipe fast --out RUN
    python benchmarks/ship.py RUN cifar10 --data $RESDENSE_CIFAR10

Writes resdense_keras/weights/shipped/NET-NAME.safetensors and .json, and prints the row for weights/table.py. The test
split is read here, once, after the training.
"""

import argparse
import datetime
import hashlib
import json
from pathlib import Path

import keras
from safetensors.numpy import save

import resdense_keras
from resdense_export import environment, machine
from resdense_keras import data, files, preprocessing, training
from resdense_keras.weights.table import SHIPPED_FOLDER


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name", help="of the set of weights, e.g. cifar10")
    parser.add_argument("--data", required=True, help="the data that the run was trained on")
    parser.add_argument("--sittings", type=int, default=1, help="processes that the training took")
    asked = parser.parse_args()
    config = training.read_config(asked.run / "config.yaml")
    history = [json.loads(line) for line in (asked.run / "metrics.jsonl").read_text().splitlines()]
    model = keras.saving.load_model(asked.run / "model.keras")
    dataset = data.load(asked.data, held_out=config["held_out"])
    judged = training.evaluate(model, dataset.test)
    weights = save({"/".join(weight.path.split("/")[-2:]): weight.numpy() for weight in model.weights})
    found = resdense_keras.profile(model)
    pixels = preprocessing.measured(dataset.train.images)  # as the run measured them
    path = SHIPPED_FOLDER / f"{config['model']}-{asked.name}.safetensors"
    record = {
        "model": config["model"],
        "weights": asked.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command(config, asked.name),
        "config": {**config, "data": asked.name},
        "recipe": config["recipe"],
        "data": {"spec": asked.name, **{split: len(part) for split, part in dataset.splits.items()}},
        "seed": config["seed"],
        "train_seconds": round(sum(row["seconds"] for row in history), 1),
        "sittings": asked.sittings,
        "machine": machine(),
        "versions": environment.versions(),
        "preprocessing": pixels.as_dict(),
        "parameters": found.parameters,
        "trainable": found.trainable,
        "macs": found.macs,
        "accuracy": judged["accuracy"],
        "top5": judged["top5"],
        "calibration_error": judged["calibration_error"],
        "sha256": hashlib.sha256(weights).hexdigest(),
        "history": history,
    }
    files.write_bytes(path, weights)
    files.write_json(path.with_suffix(".json"), record)
    print(f'_cifar10("{record["model"]}", {record["accuracy"]:.4f}, "{record["sha256"]}")', pixels)


def command(config, spec):
    """The command line that starts such a run: the recipe `fast` and what was changed of it."""
    usual = training.recipe("fast", config["model"]).as_dict()
    changed = {name: value for name, value in config["recipe"].items() if value != usual[name]}
    text = {name: ",".join(value) if isinstance(value, list) else value for name, value in changed.items()}
    flags = "".join(f" --{name.replace('_', '-')} {value}" for name, value in text.items())
    return f"resdense train {config['model']} --data {spec} --recipe fast{flags} --held-out {config['held_out']}"


if __name__ == "__main__":
    main()
