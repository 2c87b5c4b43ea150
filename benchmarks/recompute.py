"""What recomputation saves and costs: DenseNet-BC-100-12, batch 64, one training step with and without `recompute`.

    python benchmarks/recompute.py            # about 6 minutes on 2 cores

Each net runs in processes of its own. The peak is that of one step beyond the weights; times are medians of steps, the
two nets taking turns. Goals: peak at most 0.60, time at most 1.30 of the plain net's.
"""

import argparse
import datetime
import statistics
import subprocess
import sys
import time
from pathlib import Path

from resdense_export import machine
from resdense_keras import files

RESULTS = Path(__file__).parent / "results"
BATCH = 64


def time_steps(recompute, steps):
    """Seconds of each of `steps` training steps after the first two; the child's side."""
    import keras
    import numpy as np

    import resdense_keras

    model = resdense_keras.densenet_bc100_12(recompute=recompute)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy", jit_compile=False)
    images, labels = np.zeros((BATCH, 32, 32, 3), "float32"), np.zeros(BATCH)
    times = []
    for step in range(steps + 2):
        start = time.perf_counter()
        model.train_on_batch(images, labels)
        if step >= 2:
            times.append(time.perf_counter() - start)
    print(*times)


def peak(recompute):
    import resdense_keras
    from resdense_keras.training.peak_memory import peak_training_bytes

    print(peak_training_bytes(resdense_keras.densenet_bc100_12(recompute=recompute), BATCH))


def child(*arguments):
    """The last line of what this script prints with `arguments`, as numbers."""
    command = [sys.executable, __file__, *map(str, arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(number) for number in output.splitlines()[-1].split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each net, taking turns")
    parser.add_argument("--steps", type=int, default=5, help="timed steps a process")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, recompute = options.child[0], options.child[1] == "1"
        if what == "peak":
            peak(recompute)
        else:
            time_steps(recompute, options.steps)
        return
    peaks = [child("--child", "peak", int(recompute))[0] for recompute in (False, True)]
    times = [[], []]
    for _ in range(options.rounds):
        for recompute in (False, True):
            times[recompute] += child("--steps", options.steps, "--child", "time", int(recompute))
    plain, recomputed = (statistics.median(seconds) for seconds in times)
    result = {
        "benchmark": "recompute",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "net": "densenet_bc100_12",
        "batch": BATCH,
        "peak_bytes": {"plain": peaks[0], "recompute": peaks[1], "ratio": peaks[1] / peaks[0]},
        "step_seconds": {"plain": plain, "recompute": recomputed, "ratio": recomputed / plain},
    }
    print(f"peak  {peaks[0] / 2**30:.2f} GiB plain, {peaks[1] / 2**30:.2f} GiB recomputed: {peaks[1] / peaks[0]:.2f}")
    print(f"step  {plain:.2f} s plain, {recomputed:.2f} s recomputed: {recomputed / plain:.2f}")
    files.write_json(RESULTS / f"recompute-{result['created'][:10]}.json", result)


if __name__ == "__main__":
    main()
