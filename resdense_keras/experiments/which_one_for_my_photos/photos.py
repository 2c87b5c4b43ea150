"""Compares nets for a folder of pictures: both families, from shipped weights and from fresh ones. Behind lesson 9.

Without a folder it uses drawings made by code. They are not like photos, so results on them say nothing about photos.
"""

import functools
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from ... import data
from ...catalog import create
from ...errors import RequestError
from ...profiles import profile
from ..build_train_tell_apart.recognition import Folder, NewHead
from ..lesson import COLORS, NotYet, exercise

NETS = {"residual": "resnet20", "dense": "densenet_bc22_16"}  # those that ship with weights for CIFAR-10
SIZE = 32  # pixels, as in CIFAR-10
EPOCHS = 8
SHAPES = ("disc", "square", "triangle", "ring", "cross")


def write_drawings(folder, *, per_class=16, tests_per_class=24, side=40, seed=0):
    """Writes drawings of five shapes into train/ and test/, one folder per class, as RGB PNGs of `side` x `side`.

    Place, size and the two colours are random, and noise is added.

    Returns:
        `folder`.
    """
    from PIL import Image

    random = np.random.default_rng(seed)
    for name in SHAPES:
        for number in range(per_class + tests_per_class):
            place = Path(folder) / ("train" if number < per_class else "test") / name
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_drawing(name, side, random)).save(place / f"{number:03}.png")
    return folder


def _drawing(name, side, random):
    """(side, side, 3) uint8."""
    radius = random.uniform(0.2, 0.4) * side
    row, column = random.uniform(radius, side - radius, size=2)
    y, x = np.mgrid[:side, :side]
    y, x = (y - row) / radius, (x - column) / radius
    inside = {
        "disc": x**2 + y**2 < 1,
        "square": np.maximum(abs(x), abs(y)) < 0.85,
        "triangle": (y < 0.8) & (y > 2 * abs(x) - 1),
        "ring": (x**2 + y**2 < 1) & (x**2 + y**2 > 0.4),
        "cross": (np.minimum(abs(x), abs(y)) < 0.28) & (np.maximum(abs(x), abs(y)) < 1),
    }[name]
    ground, figure = random.uniform(0, 255, size=(2, 3))
    picture = np.where(inside[..., None], figure, ground) + random.normal(scale=25, size=(side, side, 3))
    return np.clip(picture, 0, 255).astype("uint8")


@functools.cache
def folder(path=None, per_class=None):
    """The `Folder` at `path` as (N, 32, 32, 3) float32 in [0, 255]; without a path the drawings.

    Args:
        path: A folder of class folders.
        per_class: Largest number of training images, and of test images, of each class; None takes all.
    Raises:
        SystemExit: the folder cannot be used; says why and what to do, as the command line would.
    """
    if path is None:
        with tempfile.TemporaryDirectory() as place:
            return folder(write_drawings(place), per_class)
    try:
        found = data.load(str(path), image_size=SIZE)
    except RequestError as problem:
        raise SystemExit(f"{problem.message}\nhint: {problem.hint}") from None
    images = np.concatenate([split.array() for split in (found.train, found.validation)])
    labels = np.concatenate([split.labels for split in (found.train, found.validation)])
    parts = [_first(images, labels, per_class), _first(found.test.array(), found.test.labels, per_class)]
    return Folder(*parts[0], *parts[1], found.class_names)


def _first(images, labels, per_class):
    """The first so many images of each class, float32, with their labels."""
    chosen = np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)])
    return images[chosen].astype("float32"), labels[chosen]


@functools.cache
def training(family, path=None, per_class=None, epochs=EPOCHS):
    """The `NewHead` of a family on `folder(path, per_class)`; TensorFlow traces for longer than it trains, so the
    runs share it."""
    return NewHead(family, folder(path, per_class), epochs, NETS, "cifar10")


@functools.cache
def accuracies(family, path=None, *, transfer, per_class=None, epochs=EPOCHS, seeds=3):
    """Test accuracies of a family, one per seed; `transfer` begins with the shipped weights.

    The net keeps the weights of the last seed.
    """
    shared = training(family, path, per_class, epochs)
    return tuple(shared.run(transfer=transfer, seed=seed) for seed in range(seeds))


@functools.cache
def counted(family):
    """{"parameters", "macs", "activation_bytes", "inference_bytes"} of a family's net as it ships, for one image."""
    found = profile(create(NETS[family], weights=None, include_preprocessing=True))
    return {
        "parameters": found.parameters,
        "macs": found.macs,
        "activation_bytes": found.activation_bytes,
        "inference_bytes": found.inference_peak_bytes,
    }


def step_ms(family, path=None, per_class=None, epochs=EPOCHS):
    """Milliseconds that training takes for one image on this machine, the median of three short trainings."""
    shared = training(family, path, per_class, epochs)
    images, labels = shared.folder.images[:32], shared.folder.labels[:32]
    weights, times = shared.model.get_weights(), []
    for _ in range(3):
        start = time.perf_counter()
        shared.model.fit(images, labels, batch_size=16, verbose=0)
        times.append(1000 * (time.perf_counter() - start) / len(images))
    shared.model.set_weights(weights)
    return statistics.median(times)


def files(family, export, path=None, per_class=None, epochs=EPOCHS):
    """The .tflite files of the net as it is now trained, judged on the test images.

    Args:
        export: The package `resdense_export`, which this one does not import.
    Returns:
        {scheme: {"bytes", "accuracy", "low", "high", "ms"}} for fp32 and int8: accuracy and its interval, fractions;
        the median latency of one image on one thread of this machine. int8 is calibrated on training images.
    """
    shared = training(family, path, per_class, epochs)
    pictures, found = shared.folder, {}
    answers = shared.model.predict(pictures.test_images, batch_size=64, verbose=0)
    with tempfile.TemporaryDirectory() as place:
        for scheme, graph in (("fp32", "float"), ("int8", "int8")):
            content = export.convert(export.rewrite(shared.model, graph))
            content = export.quantize(content, scheme, pictures.images[:100] if scheme == "int8" else None)
            file = Path(place) / f"{scheme}.tflite"
            file.write_bytes(content)
            judged = export.check(file, answers, pictures.test_images, pictures.test_labels, scheme=scheme)
            low, high = judged.accuracy_interval
            found[scheme] = {"bytes": len(content), "accuracy": judged.accuracy, "low": low, "high": high}
        times = export.measure([Path(place) / f"{scheme}.tflite" for scheme in found], rounds=20)
    for row, timed in zip(found.values(), times, strict=True):
        row["ms"] = timed["median_ms"]
    return found


def entry(family, found):
    """What the report's sentences are computed from: a net's name, family and test accuracies, one per seed."""
    kind = {"residual": "resnet", "dense": "densenet"}[family]
    return {"name": NETS[family], "family": kind, "accuracy": found[0], "accuracy_by_seed": list(found)}


# Pictures


def draw_accuracies(figure, found, estimates, guessing):
    """Test accuracy of both families from both starts: means with their 95 % intervals, and every seed as a dot.

    Args:
        figure: Empty matplotlib Figure.
        found: {(family, start): accuracies}.
        estimates: {(family, start): their interval, with `low` and `high`, fractions}.
        guessing: What guessing gets right, a fraction.
    """
    axes = figure.subplots()
    for place, ((family, start), values) in enumerate(found.items()):
        percent, interval = 100 * np.array(values), estimates[family, start]
        spread = [[percent.mean() - 100 * interval.low], [100 * interval.high - percent.mean()]]
        axes.bar(place, percent.mean(), color=COLORS[family], alpha=0.75 if place % 2 else 0.35)
        axes.errorbar(place, percent.mean(), spread, color="black", capsize=4)
        axes.plot([place + 0.2] * len(percent), percent, "o", color="black", markersize=4)
        axes.annotate(f"{percent.mean():.0f}", (place, 2), ha="center", fontweight="bold")
    axes.axhline(100 * guessing, color="#595f69", linewidth=1, linestyle=":")
    axes.annotate("guessing", (1, 100 * guessing + 1), xycoords=("axes fraction", "data"), ha="right", fontsize=10)
    axes.set(ylabel="test accuracy (%)", ylim=(0, 100), xticks=range(len(found)))
    axes.set_xticklabels([f"{family}\n{start}" for family, start in found])
    axes.grid(False, axis="x")


def draw_examples(figure, pictures):
    """The first training picture of each class, with the class's name."""
    axes = np.atleast_1d(figure.subplots(1, len(pictures.class_names)))
    for label, (place, name) in enumerate(zip(axes, pictures.class_names, strict=True)):
        place.imshow(pictures.images[np.flatnonzero(pictures.labels == label)[0]].astype("uint8"))
        place.set_title(name, fontsize=12)
        place.axis("off")


# Exercises of lesson 9


@exercise
def check_guessing(guessing):
    """`guessing(labels)`: what the best constant answer gets right."""
    for labels in ([0, 1, 2, 3], [0, 0, 0, 1], [2, 2, 1, 1, 2]):
        right = max(labels.count(label) for label in labels) / len(labels)
        answer = guessing(labels)
        if answer is None or abs(answer - right) > 1e-9:
            raise NotYet(f"for the labels {labels} it gave {answer}, not {right:.2f}")


@exercise
def check_overlap(overlap):
    """`overlap(first, second)`: whether two intervals (low, high) share a number."""
    for first, second, right in (((1, 3), (2, 5), True), ((2, 5), (1, 3), True), ((1, 2), (3, 4), False)):
        if overlap(first, second) is not right:
            raise NotYet(f"for {first} and {second} it gave {overlap(first, second)}, not {right}")


@exercise
def check_choose(choose):
    """`choose(nets, tie, most_bytes)`: the name of the most accurate net that fits, of ties the smallest; or None."""
    nets = {"a": (0.82, 400), "b": (0.85, 900), "c": (0.92, 5000), "d": (0.70, 350)}

    def tie(first, second):
        return {first, second} == {"a", "b"}

    for most, right in ((6000, "c"), (1000, "a"), (300, None)):
        answer = choose(nets, tie, most)
        if answer != right:
            raise NotYet(f"with at most {most} bytes it gave {answer!r}, not {right!r}")
