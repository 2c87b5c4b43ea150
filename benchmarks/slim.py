r"""What `resdense slim` loses and saves on trained CIFAR-10 nets: accuracy on all test images, bytes, Arm instructions.

    python benchmarks/slim.py densenet_bc22_16 --macs 0.5 --epochs 1 --folder FOLDER --count "$ARM/instructions"
    python benchmarks/slim.py --table                                                       # docs/slimming.md alone

One row a call, by the commands that a user types: slim, eval on the 10,000 test images, export. FOLDER keeps the run,
and the same call goes on with one that was stopped. `repaired` is the net before any training. CPU minutes are of all
processes of the row, the teacher's answers included; wall time of a shared machine says little. Adds the row to
benchmarks/results/slim.json and writes the table of docs/slimming.md.
"""

import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from rewriting_document import millions

from resdense_export import environment
from resdense_export.tflite.timing import machine
from resdense_keras import files

RESULTS = Path(__file__).parent / "results" / "slim.json"
DOCUMENT = Path(__file__).parents[1] / "docs" / "slimming.md"
MARKS = ("<!-- table: python benchmarks/slim.py --table -->\n", "<!-- end of table -->\n")
SHIPPED = {"densenet_bc22_16": "cifar10"}  # the others are checkpoints.py's
SCHEMES = ("fp32", "int8")
ROWS = (  # (net, share of the MACs, for, epochs) that were to be measured
    ("densenet_bc22_16", 0.5, "phone-int8", 8),
    ("resnet20", 0.65, "phone-int8", 8),
    ("resnet20", 0.5, "phone-int8", 8),
    ("resnet20", 0.5, "phone-float", 8),
    ("resnet56", 0.5, "phone-int8", 8),
    ("densenet_bc100_12", 0.5, "phone-int8", 8),
)


def measured(name, asked):
    """The row of one net."""
    folder = asked.folder / f"{name}-{asked.macs:g}-{asked.target}-{asked.epochs}-{asked.seed}"
    whole, data = folder / f"{name}.keras", os.environ["RESDENSE_CIFAR10"]
    if not whole.is_file():
        save(name, whole)
    target = ("--macs", asked.macs, "--for", asked.target, "--epochs", asked.epochs, "--seed", asked.seed)
    slim = ("slim", whole, "--data", data, *target, "--out", folder / "run", "--resume")
    try:
        command(*slim)
    finally:
        minutes = cpu_minutes(folder)
        files.write_text(folder / "minutes", f"{minutes}")
    own = json.loads((folder / "run" / "slim.json").read_text())
    row = {"net": name, "macs": asked.macs, "for": asked.target, "epochs": asked.epochs, "seed": asked.seed,
           "created": datetime.date.today().isoformat(), "cpu_minutes": round(minutes, 1),
           "command": " ".join(map(str, ("resdense", *slim))).replace(f"{folder}/", "").replace(data, "cifar10"),
           "machine": machine(), "versions": environment.versions(), "plan": own}  # fmt: skip
    run = folder / "run"
    judged = {"whole": whole, "repaired": run / "checkpoints" / "slim.keras", "slim": run / "model.keras"}
    row["accuracy"] = {which: accuracy(path, data) for which, path in judged.items()}
    row["held_out"] = held_out(judged, data)
    row["instructions"], row["bytes"] = {}, {}
    for which, path in (("whole", whole), ("slim", folder / "run" / "model.keras")):
        out = folder / f"{which}-files"
        command("export", path, "--data", data, "--schemes", ",".join(SCHEMES), "--out", out, "--overwrite")
        for scheme in SCHEMES:
            (file,) = out.glob(f"*-{scheme}.tflite")
            row["bytes"].setdefault(scheme, []).append(file.stat().st_size)
            if asked.count:
                row["instructions"].setdefault(scheme, []).append(millions(asked.count, file))
    return row


def save(name, path):
    import resdense_keras

    path.parent.mkdir(parents=True, exist_ok=True)
    if name in SHIPPED:
        model = resdense_keras.create(name, weights=SHIPPED[name], include_preprocessing=True)
    else:
        from checkpoints import load

        model = load(name)
    model.save(path)


def command(*arguments):
    """What a command of `resdense` prints."""
    words = [sys.executable, "-m", "resdense_cli", *map(str, arguments)]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def accuracy(model, data):
    return json.loads(command("eval", model, "--data", data, "--json"))["accuracy"]


def held_out(judged, data):
    """{"images", "whole", "repaired"}: accuracies on the held-out training images that `slim --max-drop` looks at."""
    import keras

    from resdense_export.making.slimming import search
    from resdense_keras.data import load

    images, labels = search.held_out(load(data))
    found = {"images": len(labels)}
    for which in ("whole", "repaired"):
        model = keras.saving.load_model(judged[which], compile=False)
        found[which] = float(search.right(model, images, labels).mean())
    return found


def kept(row):
    """Of the points that the repaired net lost on held-out training images, the share that is lost on the test images
    after the training: what `slim --max-drop` reckons with."""
    found = row["held_out"]
    return (row["accuracy"]["whole"] - row["accuracy"]["slim"]) / (found["whole"] - found["repaired"])


def cpu_minutes(folder):
    """Of the children of this process, and of earlier calls for the same row."""
    used, earlier = resource.getrusage(resource.RUSAGE_CHILDREN), folder / "minutes"
    before = float(earlier.read_text()) if earlier.is_file() else 0.0
    return before + (used.ru_utime + used.ru_stime) / 60


def table(rows):
    """The table of docs/slimming.md; rows that were not measured are named below it."""
    heads = ("net", "asked for", "MACs", "Arm fp32", "Arm int8", "bytes int8", "accuracy", "repaired", "tuned", "lost",
             "kept", "epochs", "CPU minutes")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "--:|" * (len(heads) - 2)]
    for row in rows:
        found, (before, after) = row["accuracy"], row["plan"]["macs"]
        ratios = [f"{pair[1] / pair[0]:.3f}" for pair in row["instructions"].values()] or ["not counted"] * 2
        size = row["bytes"]["int8"]
        lines.append(
            f"| {row['net']} | {row['macs']:g}, {row['for']} | {after / before:.3f} | {ratios[0]} | {ratios[1]} | "
            f"{size[1] / size[0]:.3f} | {100 * found['whole']:.2f} | {100 * found['repaired']:.2f} | "
            f"{100 * found['slim']:.2f} | {100 * (found['whole'] - found['slim']):.2f} | "
            f"{f'{kept(row):.2f}' if 'held_out' in row else '–'} | {row['epochs']} | "
            f"{row['cpu_minutes']:.0f} |"
        )
    done = {(row["net"], row["macs"], row["for"], row["epochs"]) for row in rows}
    missing = [f"{net} at {share:g} for {target}, {epochs} epochs" for net, share, target, epochs in ROWS
               if (net, share, target, epochs) not in done]  # fmt: skip
    if missing:
        lines += ["", f"Not run yet: {'; '.join(missing)}."]
    return "".join(line + "\n" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", nargs="?")
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--for", dest="target", default="phone-int8")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("slim-runs"))
    parser.add_argument("--count", metavar="COMMAND", help="prints millions of Arm instructions of a file")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    asked = parser.parse_args()
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    if not asked.table:
        row = measured(asked.net, asked)
        key = ("net", "macs", "for", "epochs", "seed")
        rows = [old for old in rows if [old[k] for k in key] != [row[k] for k in key]] + [row]
        files.write_json(RESULTS, rows)
    text = DOCUMENT.read_text()
    head, _, rest = text.partition(MARKS[0])
    files.write_text(DOCUMENT, head + MARKS[0] + table(rows) + MARKS[1] + rest.partition(MARKS[1])[2])


if __name__ == "__main__":
    main()
