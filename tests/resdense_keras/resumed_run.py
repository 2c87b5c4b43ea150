"""Not a test: trains one small net twice in this process, once through and once cut off at the saves named.

    python resumed_run.py DATA.npz FOLDER PRECISION DEVICES RECIPE SAVE...     # prints the differences as JSON

A process of its own, because TensorFlow's determinism and devices, here parts of the CPU, hold for a process.
"""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from resdense_keras import catalog, cifar_resnet
from resdense_keras.training import be_deterministic, devices, recipe, runs, state, train

AUGMENT = ("crop", "shift", "mirror", "mixup", "cutmix")
RECIPE = recipe("fast", epochs=3, augment=AUGMENT, schedule="cosine")
NEW = {"optimizer": "adamw", "learning_rate": 0.002, "class_weights": "balanced", "ema": 0.9, "patience": 2}
RECIPES = {"plain": RECIPE, "new": replace(RECIPE, **NEW)}
BATCH = {1: 35, 2: 36}
catalog.BUILDERS["resnet8"] = partial(cifar_resnet, depth=8)  # where size proves nothing; the kills are at full width


class Cut(BaseException):
    """The process is gone: nothing after it is run, as by SIGKILL."""


def main(data, folder, precision, count, name, *cuts):
    be_deterministic()  # before the devices below start TensorFlow
    through, cut = Path(folder) / "through", Path(folder) / "cut"
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(count))
    how = {"precision": precision, "devices": devices.choose(int(count)), "name": name}
    run(data, through, **how)
    for save in map(int, cuts):
        cut_off_after(save, lambda: run(data, cut, resume=True, **how))
    run(data, cut, resume=True, **how)
    print(json.dumps({"states": differing(through, cut), "metrics": [metrics(through), metrics(cut)]}))


def run(data, out, *, devices, name, **options):
    train(
        "resnet8",
        data,
        out,
        replace(RECIPES[name], batch_size=BATCH[devices.count]),
        options={"width": 4, "dropout": 0.2},
        devices=devices,
        deterministic=True,
        save_seconds=0,
        tensorboard=name == "new",
        **options,
    )


def cut_off_after(saves, action):
    """Runs `action` until the file that is written as number `saves` has its name, and no instruction further."""
    whole, count = state.save, 0

    def save(*arguments):
        nonlocal count
        whole(*arguments)
        count += 1
        if count == saves:
            raise Cut

    runs.state.save = save
    try:
        action()
    except Cut:
        return
    finally:
        runs.state.save = whole
    raise AssertionError(f"the run ended before its save {saves}")


def differing(first, second):
    """Names of the arrays that are not equal to the bit, in the state and in the best weights."""
    names = []
    for path in sorted((first / "checkpoints").iterdir()):
        mine, theirs = (state.load(folder / "checkpoints" / path.name)[0] for folder in (first, second))
        assert mine.keys() == theirs.keys()
        names += [f"{path.name}: {name}" for name in mine if not np.array_equal(mine[name], theirs[name])]
    return names


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


if __name__ == "__main__":
    main(*sys.argv[1:])
