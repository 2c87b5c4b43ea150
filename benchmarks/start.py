"""How long a user waits before anything happens: `import resdense_keras` after `import keras`, and `resdense --help`.

    python benchmarks/start.py            # half a minute on 2 cores

Each run is a fresh process, the kinds taking turns; medians of wall times, and the CPU seconds beside them, which a
busy machine changes less. Goals: at most 0.2 s on top of Keras, at most 0.6 s for the help in all.
"""

import argparse
import datetime
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from resdense_export import machine
from resdense_keras import files

RESULTS = Path(__file__).parent / "results"
COMMANDS = {
    "keras": [sys.executable, "-c", "import keras"],
    "both": [sys.executable, "-c", "import keras, resdense_keras; resdense_keras.densenet121"],
    "help": [str(Path(sys.executable).with_name("resdense")), "--help"],
}


def run(command):
    """(wall, CPU) seconds of one process."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, os.times()
    return wall, sum(after[2:4]) - sum(before[2:4])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    times = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, command in COMMANDS.items():
            taken = run(command)
            if number:  # the first round reads the disk
                times[name].append(taken)
    wall, cpu = ({name: statistics.median(row[i] for row in rows) for name, rows in times.items()} for i in (0, 1))
    for kind, found in (("wall", wall), ("CPU", cpu)):
        print(
            f"{kind:4}  import keras {found['keras']:.2f} s, with resdense_keras {found['both']:.2f} s: "
            f"{found['both'] - found['keras']:+.2f} s (goal 0.2), ratio {found['both'] / found['keras']:.2f}; "
            f"resdense --help {found['help']:.2f} s (goal 0.6)"
        )
    today = datetime.date.today().isoformat()
    result = {"benchmark": "start", "date": today, "machine": machine(), "wall_s": wall, "cpu_s": cpu, "rounds": rounds}
    files.write_json(RESULTS / f"start-{today}.json", result)


if __name__ == "__main__":
    main()
