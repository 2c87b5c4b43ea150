"""Trains on one GPU through Keras on JAX, with this package's builders and recipes and data from NumPy; resumable.

    export KERAS_BACKEND=jax
    python benchmarks/gpu.py cifar10.npz --net resnet18 --set stem=cifar --recipe fast --epochs 24   # 96.0 % in 7 min?
    python benchmarks/gpu.py cifar10.npz --net resnet110 --recipe paper                              # 93.57 %?
    python benchmarks/gpu.py cifar10.npz --net densenet_bc100_12 --recipe paper                      # 95.49 %?
    python benchmarks/gpu.py cifar10.npz --net densenet_bc100_12 --steps 30 [--set recompute=true] [--no-jit]

Each command runs until it is done or `--seconds` (default 540) are over, saves its state under --out, and goes on from
there when it is repeated. A finished training judges all test images and stores benchmarks/results/gpu-NET.json;
`--steps` times that many training steps instead and prints the median. TensorFlow is not needed.
"""

import argparse
import datetime
import functools
import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import yaml

import resdense_keras
from resdense_keras import files, preprocessing
from resdense_keras.training import recipes, state
from resdense_keras.training.schedules import optimizer

RESULTS = Path(__file__).parent / "results"
PAD = 4


class Run:
    """One net on one GPU; all training images lie in its memory as uint8."""

    def __init__(self, arguments):
        self.arguments = arguments
        with np.load(arguments.data) as data:
            self.train = data["x_train"], data["y_train"].ravel()
            self.test = data["x_test"], data["y_test"].ravel()
        given = {"epochs": arguments.epochs, "batch_size": arguments.batch_size}
        self.recipe = recipes.recipe(
            arguments.recipe, arguments.net, **{key: value for key, value in given.items() if value}
        )
        keras.utils.set_random_seed(arguments.seed)
        keras.config.set_dtype_policy(arguments.precision)
        options = dict(setting.split("=", 1) for setting in arguments.set)
        self.model = resdense_keras.create(
            arguments.net,
            input_shape=self.train[0].shape[1:],
            classes=int(self.train[1].max()) + 1,
            include_preprocessing=preprocessing.measured(self.train[0]),
            **{key: yaml.safe_load(value) for key, value in options.items()},
        )
        self.steps = len(self.train[0]) // self.recipe.batch_size  # whole batches: one compiled shape
        self.model.compile(
            optimizer(self.recipe, self.steps),
            keras.losses.CategoricalCrossentropy(label_smoothing=self.recipe.label_smoothing),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        )
        self.model.optimizer.build(self.model.trainable_variables)
        blank = jnp.ones((1, self.model.output_shape[-1])) / self.model.output_shape[-1]
        self.model.compute_metrics(None, blank, blank)
        self.model.reset_metrics()
        self.images, self.labels = (jnp.asarray(part) for part in self.train)
        compiled = (lambda function: function) if arguments.no_jit else functools.partial(jax.jit, donate_argnums=0)
        self._step = compiled(self._one_step)
        self.done, self.seconds = 0, 0.0

    @property
    def groups(self):
        """The variables that a step changes, as Keras' stateless step takes them."""
        model = self.model
        return (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )

    def values(self):
        return tuple([variable.value for variable in group] for group in self.groups)

    def assign(self, values):
        for group, new in zip(self.groups, values, strict=True):
            for variable, value in zip(group, new, strict=True):
                variable.assign(value)

    def _one_step(self, values, images, labels, key):
        """One training step on images (B, H, W, C) uint8, shifted and mirrored: what is left open is black."""
        if {"shift", "reflect"} & set(self.recipe.augment):
            images = jax.vmap(_shift_and_mirror)(images, jax.random.split(key, len(images)))
        targets = jax.nn.one_hot(labels, self.model.output_shape[-1])
        return self.model.train_step(values, (images.astype("float32"), targets))

    def order(self, epoch):
        """Positions of the images of an epoch, a pure function of seed and epoch."""
        return jax.random.permutation(jax.random.fold_in(jax.random.key(self.arguments.seed), epoch), len(self.images))

    def go(self, deadline):
        """Trains until the end or the deadline; True at the end."""
        values, total, batch = self.values(), self.recipe.epochs * self.steps, self.recipe.batch_size
        begun, key = time.perf_counter(), jax.random.key(self.arguments.seed + 1)
        while self.done < total:
            epoch, step = divmod(self.done, self.steps)
            if step == 0 or self.done == self.start:
                order = self.order(epoch)
            chosen = order[step * batch : (step + 1) * batch]
            step_key = jax.random.fold_in(key, self.done)
            logs, values = self._step(values, self.images[chosen], self.labels[chosen], step_key)
            self.done += 1
            if self.done % self.steps == 0:
                loss = float(logs["loss"])
                print(f"epoch {epoch + 1} of {self.recipe.epochs}: loss {loss:.4f}", flush=True)
                if not np.isfinite(loss):
                    raise SystemExit(f"the loss became {loss} in epoch {epoch + 1}")
            if self.done % 50 == 0 and time.monotonic() > deadline:
                break
        jax.block_until_ready(values)
        self.seconds += time.perf_counter() - begun
        self.assign(values)
        return self.done == total

    def save(self, path):
        arrays = {f"{number:05d}": np.asarray(value) for number, value in enumerate(jax.tree.leaves(self.values()))}
        state.save(path, arrays, {"net": self.arguments.net, "done": self.done, "seconds": self.seconds})

    def restore(self, path):
        """Goes on from `path` where it is there."""
        if path.exists():
            arrays, place = state.load(path)
            leaves, shape = jax.tree.flatten(self.values())
            assert place["net"] == self.arguments.net and len(arrays) == len(leaves), "another net's state"
            self.assign(jax.tree.unflatten(shape, [arrays[f"{number:05d}"] for number in range(len(leaves))]))
            self.done, self.seconds = place["done"], place["seconds"]
        self.start = self.done

    def accuracy(self):
        """Top-1 over all test images."""
        images, labels = self.test
        found = self.model.predict(images.astype("float32"), batch_size=500, verbose=0)
        return float((found.argmax(axis=1) == labels).mean())

    def time_steps(self, count):
        """Median seconds of `count` steps after the first two, and the device's peak bytes."""
        values, key, batch, times = self.values(), jax.random.key(0), self.recipe.batch_size, []
        for _ in range(count + 2):
            begun = time.perf_counter()
            _, values = jax.block_until_ready(self._step(values, self.images[:batch], self.labels[:batch], key))
            times.append(time.perf_counter() - begun)
        memory = jax.devices()[0].memory_stats() or {}
        return statistics.median(times[2:]), memory.get("peak_bytes_in_use")


def _shift_and_mirror(image, key):
    height, width, channels = image.shape
    down, right, mirrored = jax.random.randint(key, (3,), 0, jnp.array([2 * PAD + 1, 2 * PAD + 1, 2]))
    padded = jnp.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)))
    cut = jax.lax.dynamic_slice(padded, (down, right, 0), (height, width, channels))
    return jnp.where(mirrored, cut[:, ::-1], cut)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help=".npz with x_train, y_train, x_test, y_test")
    parser.add_argument("--net", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a builder option")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--out", type=Path, default=Path("runs") / "gpu")
    parser.add_argument("--steps", type=int, help="time so many steps instead of training")
    parser.add_argument("--no-jit", action="store_true", help="with --steps: without XLA")
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    run = Run(arguments)
    if arguments.steps:
        seconds, peak = run.time_steps(arguments.steps)
        print(json.dumps({"net": arguments.net, "set": arguments.set, "step_seconds": seconds, "peak_bytes": peak}))
        return
    path = arguments.out / f"{arguments.net}.safetensors"
    run.restore(path)
    finished = run.go(deadline)
    run.save(path)
    if not finished:
        print(f"{run.done} of {run.recipe.epochs * run.steps} steps, {run.seconds:.0f} s; repeat the command to go on")
        return
    device = jax.devices()[0]
    result = {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": device.device_kind,
        "net": arguments.net,
        "set": arguments.set,
        "recipe": run.recipe.as_dict(),
        "precision": arguments.precision,
        "seed": arguments.seed,
        "train_seconds": round(run.seconds, 1),
        "test_images": len(run.test[0]),
        "accuracy": run.accuracy(),
        "versions": {"keras": keras.__version__, "jax": jax.__version__},
    }
    print(json.dumps(result, indent=2))
    files.write_json(RESULTS / f"gpu-{arguments.net}.json", result)


if __name__ == "__main__":
    main()
