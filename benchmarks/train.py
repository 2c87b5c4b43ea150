"""What `resdense train` costs beside a plain `model.fit`: interleaved processes, their wall times and the ratio.

    python benchmarks/train.py --data $RESDENSE_CIFAR10 --epochs 2 --pairs 3

Both train the same net on the same batches with the same augmentation, each in a process of its own: start, compiling,
XLA's trial, checkpoints and the validation of each epoch are counted. The limit is 1.03.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLAIN = """
import sys
import keras
from resdense_keras import data, training
from resdense_keras.training import augmentation, loop, schedules, starts
name, spec, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])
recipe, dataset = training.recipe("fast", name, epochs=epochs), data.load(spec)
keras.utils.set_random_seed(0)
model = starts.build(name, dataset)
steps = loop.steps_per_epoch(len(dataset.train), recipe.batch_size)
loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
one_hot = lambda images, labels: (images, keras.ops.one_hot(labels, dataset.classes))
model.compile(schedules.optimizer(recipe, steps), loss, metrics=["accuracy"])
batches = data.pipeline(dataset.train, recipe.batch_size, epochs=epochs, augment=augmentation.augment(recipe, dataset))
held = data.pipeline(dataset.validation, loop.EVALUATION_BATCH, shuffle=False)
model.fit(batches.map(one_hot).prefetch(2), epochs=epochs, steps_per_epoch=steps,
          validation_data=held.map(one_hot), verbose=0)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--data", default=os.environ.get("RESDENSE_CIFAR10", "digits"))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    ours, plain = [], []
    for number in range(asked.pairs):
        order = (plain, ours) if number % 2 else (ours, plain)
        for times in order:
            times.append(timed(asked, times is ours))
        print(f"pair {number + 1}: resdense {ours[-1]:.1f} s, fit {plain[-1]:.1f} s", file=sys.stderr, flush=True)
    result = {
        "model": asked.model,
        "epochs": asked.epochs,
        "resdense_seconds": ours,
        "fit_seconds": plain,
        "ratio": statistics.median(mine / theirs for mine, theirs in zip(ours, plain, strict=True)),
    }
    print(json.dumps(result, indent=2) if asked.json else f"ratio {result['ratio']:.3f}, the limit is 1.03")


def timed(asked, ours):
    """Seconds of one training in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PLAIN, asked.model, asked.data, str(asked.epochs)]
        if ours:
            command = [sys.executable, "-m", "resdense_export", "train", asked.model, "--data", asked.data]
            command += ["--epochs", str(asked.epochs), "--out", str(Path(folder) / "run")]
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - begun


if __name__ == "__main__":
    main()
