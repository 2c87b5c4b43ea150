"""Building resnet50 and densenet121 here and in keras.applications, and `profile` of the deepest ImageNet net.

    python benchmarks/build.py            # a minute on 2 cores

Both build the same net without weights in one process, by turns, after one of each that is not counted; medians of wall
times and of CPU times, which a busy machine changes less. Goals: no slower than keras.applications, `profile` under
0.5 s.
"""

import argparse
import datetime
import os
import statistics
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

import resdense_keras
from resdense_export import machine
from resdense_keras import files

RESULTS = Path(__file__).parent / "results"
PAIRS = {
    "resnet50": (resdense_keras.resnet50, keras.applications.ResNet50, {"variant": "v1", "conv_bias": True}),
    "densenet121": (resdense_keras.densenet121, keras.applications.DenseNet121, {}),
}
PROFILED = "densenet264"


def seconds(call):
    """(wall, CPU) seconds of one call, in a Keras that remembers no earlier net."""
    keras.utils.clear_session()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def medians(calls, rounds):
    """{name: {"wall_s", "cpu_s"}}; each round calls all of them, beginning with another one."""
    times = {name: [] for name in calls}
    names = list(calls)
    for number in range(rounds + 1):
        for name in names:
            taken = seconds(calls[name])
            if number:  # the first round traces what all later ones find done
                times[name].append(taken)
        names.append(names.pop(0))
    return {
        name: {"wall_s": statistics.median(w for w, _ in rows), "cpu_s": statistics.median(c for _, c in rows)}
        for name, rows in times.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    today, built = datetime.date.today().isoformat(), {}
    for name, (ours, theirs, options) in PAIRS.items():
        calls = {"ours": lambda ours=ours, o=options: ours(**o), "keras": lambda theirs=theirs: theirs(weights=None)}
        found = built[name] = medians(calls, rounds)
        for kind in ("wall_s", "cpu_s"):
            mine, other = found["ours"][kind], found["keras"][kind]
            print(f"{name}: {kind} ours {mine:.2f}, keras.applications {other:.2f}, ratio {mine / other:.2f} (goal 1)")
    net = resdense_keras.create(PROFILED)
    profiled = medians({PROFILED: lambda: resdense_keras.profile(net)}, rounds)[PROFILED]
    print(f"profile({PROFILED}): wall {profiled['wall_s']:.2f} s, CPU {profiled['cpu_s']:.2f} s (goal 0.5)")
    result = {
        "benchmark": "build",
        "date": today,
        "machine": machine(),
        "versions": {name: version(name) for name in ("tensorflow", "keras")},
        "rounds": rounds,
        "build": built,
        "profile": {PROFILED: profiled},
    }
    files.write_json(RESULTS / f"build-{today}.json", result)


if __name__ == "__main__":
    main()
