"""The lessons' own results with their seeds, for docs/difference.md: stored where the lessons keep theirs.

    python benchmarks/lessons.py                # all, about 3 minutes on 2 idle cores
    python benchmarks/lessons.py 01-control     # one
    python benchmarks/lessons.py --resume       # those that are not stored yet

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


RUNS = {"01-control": control, "06-costs": costs, "07-few-images": few_images}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}; default: all")
    parser.add_argument("--resume", action="store_true", help="leave out what is stored already")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in RUNS]:
        parser.error(f"no result {unknown[0]!r}; there are {', '.join(RUNS)}")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # as in the lessons: best for nets this small
    from resdense_keras.experiments import lesson

    for name in arguments.names or RUNS:
        path = lesson.STORED_RUNS / f"{name}.json"
        if arguments.resume and path.exists():
            print(f"{name}: stored")
            continue
        files.write_json(path, lesson.measured_run(name, RUNS[name]))
        print(path)


if __name__ == "__main__":
    main()
