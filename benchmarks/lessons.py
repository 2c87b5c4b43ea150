"""The lessons' own results with their seeds, for docs/difference.md: stored where the lessons keep theirs.

    python benchmarks/lessons.py                # all, about 20 minutes on 2 idle cores
    python benchmarks/lessons.py 01-control     # one
    python benchmarks/lessons.py --resume       # those that are not stored yet
    python benchmarks/lessons.py 09-flowers --photos FOLDER   # lesson 9 on a folder of photos; stores numbers only

The larger runs (02-depths to 05-reuse) are made by their lessons under RESDENSE_FULL=1. Then: python
docs/difference_page.py
"""

import argparse
import os

from resdense_keras import files


def control():
    """Lesson 1's control: {join: {"loss": [a seed each], "accuracy": [...]}}."""
    from resdense_keras.experiments.add_or_concatenate import control

    found = {join: [control.trained(join, seed) for seed in range(5)] for join in control.JOINS}
    return {
        join: {"loss": [run.loss for run in runs], "accuracy": [run.accuracy for run in runs]}
        for join, runs in found.items()
    }


def longer():
    """Lesson 2: the deep plain net in ten times the steps, and two orders of norm and addition at 110 layers.

    Training accuracies in the last epoch, a seed each.
    """
    from resdense_keras.experiments import small_nets

    def trained(connection, depth, epochs):
        shared = small_nets.RepeatedTraining(small_nets.net(connection, depth))
        return [shared.run(seed=seed, epochs=epochs)[-1].accuracy for seed in range(2)]

    return {
        "epochs": {"usual": small_nets.EPOCHS, "long": 10 * small_nets.EPOCHS},
        "plain 44, long": trained("plain", 44, 10 * small_nets.EPOCHS),
        "residual 110": trained("residual", 110, small_nets.EPOCHS),
        "preactivation 110": trained("preactivation", 110, small_nets.EPOCHS),
    }


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


RUNS = {
    "01-control": control,
    "02-longer": longer,
    "06-costs": costs,
    "06-longer": longer_costs,
    "07-few-images": few_images,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}; default: all")
    parser.add_argument("--photos", metavar="FOLDER", help="a folder of class folders, for 09-flowers alone")
    parser.add_argument("--resume", action="store_true", help="leave out what is stored already")
    arguments = parser.parse_args()
    runs = RUNS | ({"09-flowers": lambda: flowers(arguments.photos)} if arguments.photos else {})
    if unknown := [name for name in arguments.names if name not in runs]:
        parser.error(f"no result {unknown[0]!r}; there are {', '.join(runs)}, with --photos FOLDER 09-flowers")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # as in the lessons: best for nets this small
    from resdense_keras.experiments import lesson

    for name in arguments.names or runs:
        path = lesson.STORED_RUNS / f"{name}.json"
        if arguments.resume and path.exists():
            print(f"{name}: stored")
            continue
        files.write_json(path, lesson.measured_run(name, runs[name]))
        print(path)


if __name__ == "__main__":
    main()
