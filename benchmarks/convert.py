"""DenseNet-121 to a float .tflite: `resdense_export.convert` against Keras' own `model.export(format="litert")`.

    python benchmarks/convert.py --pairs 3        # 3 minutes on 2 cores

Both convert the same model in the same process, by turns, after a small net that is not counted. Batch norms have
random statistics: a fresh net's are zero, and the converter drops the additions that it finds them to be. Prints both
medians and their ratio (goal: at most 0.5) and writes them with the machine to benchmarks/results/.
"""

import argparse
import datetime
import os
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import resdense_keras
from resdense_export.making.conversion import convert
from resdense_export.native_stderr import native_stderr
from resdense_export.tflite import flatbuffer
from resdense_export.tflite.timing import machine
from resdense_keras import files

GOAL = 0.5
RESULTS = Path(__file__).parent / "results"


def randomize_batch_norms(model, seed=0):
    """Gives every BatchNormalization the weights of a trained one: none of them zero or one."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.gamma.shape
            gamma, variance = (random.uniform(0.7, 1.3, channels) for _ in range(2))
            beta, mean = (random.normal(0, 0.1, channels) for _ in range(2))
            layer.set_weights([gamma, beta, mean, variance])


def keras_export(model):
    """The file that Keras makes with default arguments."""
    with native_stderr(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.tflite"
        model.export(path, format="litert", verbose=False)
        return path.read_bytes()


def timed(make):
    """(what `make` made, its wall time in seconds)."""
    start = time.perf_counter()
    made = make()
    return made, round(time.perf_counter() - start, 2)


def turn(makers, number):
    """{name: (what it made, seconds)} of {name: function}, which begin with the other one in every second turn."""
    return {name: timed(makers[name]) for name in list(makers)[:: 1 if number % 2 == 0 else -1]}


def compare(model, pairs):
    """{"ours_s": [...], "keras_s": [...]}, in turns."""
    makers = {"ours_s": lambda: convert(model), "keras_s": lambda: keras_export(model)}
    times = {name: [] for name in makers}
    for pair in range(pairs):
        found = turn(makers, pair)
        for name, (_, seconds) in found.items():
            times[name].append(seconds)
        print(f"pair {pair + 1}: ours {times['ours_s'][-1]:.1f} s, Keras {times['keras_s'][-1]:.1f} s", flush=True)
        ours, theirs = (flatbuffer.count(flatbuffer.read(found[name][0])) for name in times)
        assert ours == theirs, "both must make the same operators"
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=3)
    pairs = parser.parse_args().pairs
    small = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
    for make in (convert, keras_export):
        make(small)
    model = resdense_keras.densenet121()
    randomize_batch_norms(model)
    times = compare(model, pairs)
    ours, theirs = (statistics.median(times[name]) for name in times)
    print(
        f"densenet121 to float .tflite: ours {ours:.1f} s, Keras {theirs:.1f} s, ratio {ours / theirs:.2f} (<= {GOAL})"
    )
    today = datetime.date.today().isoformat()
    result = {
        "benchmark": "convert",
        "date": today,
        "machine": machine(),
        "versions": {name: version(name) for name in ("tensorflow", "keras")},
        "model": model.name,
        **times,
        "ratio": round(ours / theirs, 3),
        "goal": GOAL,
    }
    files.write_json(RESULTS / f"convert-{today}.json", result)


if __name__ == "__main__":
    main()
