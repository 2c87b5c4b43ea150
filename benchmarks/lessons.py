"""The lessons' own results with their seeds, for docs/difference.md: stored where the lessons keep theirs.

    python benchmarks/lessons.py                # all, about 20 minutes on 2 idle cores
    python benchmarks/lessons.py 01-control     # one
    python benchmarks/lessons.py --resume       # what is not stored yet, seed by seed where a result has seeds
    RESDENSE_CIFAR10=cifar10.npz python benchmarks/lessons.py 01-control-cifar10   # 25 minutes of processor time
    python benchmarks/lessons.py 09-flowers --photos FOLDER   # lesson 9 on a folder of photos; stores numbers only

The larger runs (02-depths to 05-reuse) are made by their lessons under RESDENSE_FULL=1. Then: python
docs/difference_page.py
"""

import argparse
import functools
import json
import os
from pathlib import Path
from typing import NamedTuple

from resdense_keras import files

SEEDS = 5


class BySeed(NamedTuple):
    """A result with a list of measurements for each series, one a seed. It is stored after each measurement, so that a
    run can be stopped and `--resume` goes on.

    Attributes:
        series: {name: function of a seed}; what it returns must be JSON.
        constants: What else the result says.
    """

    series: dict
    constants: dict

    def missing(self, result):
        """[(name, seed)] of all that `result` lacks, seed by seed."""
        return [(name, seed) for seed in range(SEEDS) for name in self.series if len(result.get(name, ())) <= seed]

    def added(self, result, name, seed):
        """`result` with one more measurement."""
        return {**self.constants, **result, name: [*result.get(name, ()), self.series[name](seed)]}


def control():
    """Lesson 1's control: {join: {"loss": [a seed each], "accuracy": [...]}}."""
    from resdense_keras.experiments.add_or_concatenate import control

    found = {join: [control.trained(join, seed) for seed in range(5)] for join in control.JOINS}
    return {
        join: {"loss": [run.loss for run in runs], "accuracy": [run.accuracy for run in runs]}
        for join, runs in found.items()
    }


def control_cifar10():
    """Lesson 1's control on CIFAR-10: {"loss", "accuracy"} of each net and seed."""
    from resdense_keras.experiments.add_or_concatenate import control

    def measure(join):
        return lambda seed: control.trained_on_cifar10(join, os.environ["RESDENSE_CIFAR10"], seed)._asdict()

    constants = {
        "images": control.CIFAR10_IMAGES,
        "epochs": control.CIFAR10_EPOCHS,
        "parameters": {join: control.parameters(join, control.CIFAR10) for join in control.JOINS},
    }
    return BySeed({join: measure(join) for join in control.JOINS}, constants)


def longer():
    """Lesson 2: the deep plain net in ten times the steps, and two orders of norm and addition at 110 layers.

    Training accuracies in the last epoch, a seed each.
    """
    from resdense_keras.experiments import small_nets

    def measure(connection, depth, epochs):
        return lambda seed: small_nets.trainer(connection, depth).run(seed=seed, epochs=epochs)[-1].accuracy

    usual, long = small_nets.EPOCHS, 10 * small_nets.EPOCHS
    series = {
        "plain 44, long": measure("plain", 44, long),
        "residual 110": measure("residual", 110, usual),
        "preactivation 110": measure("preactivation", 110, usual),
    }
    return BySeed(series, {"epochs": {"usual": usual, "long": long}})


def longer_costs():
    """Lesson 6: the two nets of equal accuracy after ten times the epochs, and ResNets in several depths."""
    from resdense_keras.experiments.what_it_costs import costs

    long = 10 * costs.EPOCHS
    pair = (("residual", 16), ("dense", 8))
    nets = {f"{family} {size}": costs.point(family, size, epochs=long) for family, size in pair}
    depths = {f"residual 16, {depth} deep": costs.point("residual", 16, depth=depth) for depth in (8, 20, 32)}
    return {
        "epochs": long,
        "long": {name: point._asdict() for name, point in nets.items()},
        "depths": {name: point._asdict() for name, point in depths.items()},
    }


def costs():
    """Lesson 6's nets of equal accuracy and of equal parameters, and the chains' memory in inference."""
    from resdense_keras.experiments.what_it_costs import costs

    nets = (("residual", 16), ("dense", 8), ("residual", 8), ("dense", 12))
    points = {f"{family} {size}": costs.point(family, size)._asdict() for family, size in nets}
    memory = {kind: {n: costs.memory_mib(kind, n) for n in (24, 48)} for kind in ("inference", "residual inference")}
    return {"points": points, "memory_mib": memory}


def few_images():
    """Lesson 7's accuracies on 50 images, from fresh and from shipped weights."""
    from resdense_keras.experiments.build_train_tell_apart import recognition

    return {
        f"{family} {task} {'shipped' if transfer else 'fresh'}": recognition.accuracies(family, task, transfer=transfer)
        for family in recognition.NETS
        for task in ("upright", "turned")
        for transfer in (False, True)
    }


def flowers(folder, epochs=12):
    """Lesson 9 on a folder of photos: numbers only, no image and no name of a file."""
    import resdense_export
    from resdense_keras.experiments.which_one_for_my_photos import photos

    found = {"epochs": epochs, "accuracies": {}, "files": {}}
    for family in photos.NETS:
        for start in ("fresh", "shipped"):  # shipped last: its last seed is what the files are made of
            transfer = start == "shipped"
            accuracies = photos.accuracies(family, folder, transfer=transfer, epochs=epochs)
            found["accuracies"][f"{family} {start}"] = accuracies
        found["files"][family] = photos.files(family, resdense_export, folder, epochs=epochs)
    pictures = photos.folder(folder)
    sizes = {"classes": len(pictures.class_names), "training": len(pictures.labels), "test": len(pictures.test_labels)}
    return found | sizes


BY_SEED = (control_cifar10, longer)
NEEDS = {  # runs that need files of yours
    "01-control-cifar10": "it needs CIFAR-10: set RESDENSE_CIFAR10 to a .npz with x_train, y_train, x_test, y_test",
    "09-flowers": "it needs --photos FOLDER, with one folder of photos a class",
}
RUNS = {
    "01-control": control,
    "02-longer": longer,
    "06-costs": costs,
    "06-longer": longer_costs,
    "07-few-images": few_images,
}


def measure(name, run, resume):
    """Stores the result of a run, and prints where; with `resume` only what is missing is measured."""
    from resdense_keras.experiments import lesson

    path = lesson.STORED_RUNS / f"{name}.json"
    before = json.loads(path.read_text()) if resume and path.exists() else None
    if run not in BY_SEED:
        if before is None:
            files.write_json(path, lesson.measured_run(name, run))
    else:
        whole, found = run(), before or {"result": {}, "minutes": 0}
        for series, seed in whole.missing(found["result"]):
            result, minutes = found["result"], found["minutes"]
            found = lesson.measured_run(name, functools.partial(whole.added, result, series, seed))
            found["minutes"] = round(found["minutes"] + minutes, 1)
            files.write_json(path, found)
            print(f"{name}: {series}, seed {seed}: {found['result'][series][seed]}", flush=True)
    print(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join([*RUNS, *NEEDS])}; default: all that can run"
    )
    parser.add_argument("--photos", metavar="FOLDER", help="a folder of class folders, for 09-flowers alone")
    parser.add_argument("--resume", action="store_true", help="leave out what is stored already")
    arguments = parser.parse_args()
    runs = dict(RUNS)
    if images := os.environ.get("RESDENSE_CIFAR10"):
        if not Path(images).is_file():
            parser.error(f"RESDENSE_CIFAR10={images} is not a file")
        runs["01-control-cifar10"] = control_cifar10
    if arguments.photos:
        runs["09-flowers"] = functools.partial(flowers, arguments.photos)
    for name in arguments.names:
        if name not in runs:
            parser.error(f"{name} cannot be measured: " + NEEDS.get(name, f"there are {', '.join([*RUNS, *NEEDS])}"))
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # as in the lessons: best for nets this small
    for name in arguments.names or runs:
        measure(name, runs[name], arguments.resume)


if __name__ == "__main__":
    main()
