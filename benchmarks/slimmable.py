r"""What `resdense train --slimmable` is worth: a net trained with it beside one without, both slimmed equally far.

    python benchmarks/slimmable.py --folder FOLDER --count "$ARM/instructions"                     # two rows
    python benchmarks/slimmable.py --for phone-float --folder FOLDER --count "$ARM/instructions"
    python benchmarks/slimmable.py --table                                                  # docs/slimming.md alone

The net without it is the one that ships. The other is trained by the recorded command of that net plus `--slimmable`.
Each is slimmed to the same share of the Arm instructions of its own file, by the commands of benchmarks/slim.py.
In the table instructions and lost points are relative to the net that ships. FOLDER keeps the runs; a call that was
stopped is continued by repeating it. Writes benchmarks/results/slimmable.json and its table.
"""

import argparse
import json
import os
import shlex
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import slim
from rewriting_document import markdown, put

from resdense_keras import files
from resdense_keras.weights.table import SHIPPED_FOLDER

RESULTS = Path(__file__).parent / "results" / "slimmable.json"
MARKS = ("<!-- table: python benchmarks/slimmable.py --table -->\n", "<!-- end of slimmable -->\n")
NET = "densenet_bc22_16"
SHARE = round(1 / 1.7, 3)


def train(folder):
    """The run folder of the net that is trained with `--slimmable`, and the command that trained it."""
    record = json.loads((SHIPPED_FOLDER / f"{NET}-cifar10.json").read_text())
    run = folder / "run"
    folder.mkdir(parents=True, exist_ok=True)
    words = [*shlex.split(record["command"])[1:], "--slimmable"]
    given = [os.environ["RESDENSE_CIFAR10"] if word == "cifar10" else word for word in words]
    slim.command(*given, "--seed", record["seed"], "--out", run, "--resume")
    return run, " ".join(("resdense", *words))


def rows(asked):
    """The rows of both nets; `trained` is the command that trained the second one."""
    run, said = train(asked.folder)
    shipped, own = (argparse.Namespace(**vars(asked) | {"folder": asked.folder / name}) for name in ("shipped", "own"))
    yield measured(shipped)
    minutes = sum(json.loads(line)["seconds"] for line in (run / "metrics.jsonl").read_text().splitlines()) / 60
    yield measured(own, run / "model.keras") | {"trained": said, "training_minutes": round(minutes, 1)}


def measured(asked, origin=None):
    row = slim.measured(NET, asked, origin)
    del row["cpu_minutes"]  # counts all rows
    return row


def table(found):
    heads = ["Arm fp32", "Arm int8", "accuracy", "repaired", "lost before training", "lost after 1 epoch"]
    lines, first = [], found[0]
    for row in found:
        shares = [f"{row['instructions'][name][1] / first['instructions'][name][0]:.3f}" for name in slim.SCHEMES]
        whole, repaired, tuned = (100 * row["accuracy"][which] for which in ("whole", "repaired", "slim"))
        best = 100 * first["accuracy"]["whole"]
        points = [f"{number:.2f}" for number in (whole, repaired, best - repaired, best - tuned)]
        name = "with `--slimmable`" if "trained" in row else "without"
        lines.append([name, row["for"], *shares, *points])
    return markdown(["trained", "slimmed for"], heads, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--for", dest="target", default="phone-int8")
    parser.add_argument("--folder", type=Path, default=Path("slimmable-runs"))
    parser.add_argument("--count", metavar="COMMAND", help="needed: prints millions of Arm instructions of a file")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    asked = parser.parse_args()
    if not asked.table:
        if not asked.count:
            parser.error("--count is needed")
        asked = argparse.Namespace(**vars(asked), latency=SHARE, recipe="slim", epochs=1, seed=0, idle=False)
        found = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
        files.write_json(RESULTS, [row for row in found if row["for"] != asked.target] + list(rows(asked)))
    put(MARKS, table(json.loads(RESULTS.read_text())), slim.DOCUMENT)


if __name__ == "__main__":
    main()
