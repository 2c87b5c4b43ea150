r"""What `resdense slim` loses and saves on trained CIFAR-10 nets: accuracy on all test images, bytes, Arm instructions.

    python benchmarks/slim.py densenet_bc22_16 --macs 0.5 --epochs 1 --folder FOLDER --count "$ARM/instructions"
    python benchmarks/slim.py resnet20 --latency 0.66 --folder FOLDER --count "$ARM/instructions"
    python benchmarks/slim.py densenet_bc22_16 --latency 0.58 --recipe fast --folder FOLDER --count "$ARM/instructions"
    python benchmarks/slim.py resnet20 --max-drop 1 --folder FOLDER --count "$ARM/instructions"
    python benchmarks/slim.py --table                                                       # docs/slimming.md alone

One row of slim.json a call, by the commands that a user types: slim, eval on the 10,000 test images, export. FOLDER
keeps the run, and the same call goes on with one that was stopped. `repaired` is the net before any training. CPU
minutes are of all processes of the row, the teacher's answers included. `minutes` is the wall time of `slim`, kept if
`--idle` says that nothing else runs: that of a shared machine says little. Adds the row to benchmarks/results/slim.json
and writes the tables of docs/slimming.md, in which the seeds of one request are one line.
"""

import argparse
import datetime
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from rewriting_document import markdown, millions, put

from resdense_export import environment
from resdense_export.tflite.timing import machine
from resdense_keras import files

RESULTS = Path(__file__).parent / "results" / "slim.json"
DOCUMENT = Path(__file__).parents[1] / "docs" / "slimming.md"
MARKS = ("<!-- table: python benchmarks/slim.py --table -->\n", "<!-- end of table -->\n")
OF_DETAILS = ("<!-- table of details: python benchmarks/slim.py --table -->\n", "<!-- end of table: details -->\n")
OF_RECIPES = ("<!-- table of recipes: python benchmarks/slim.py --table -->\n", "<!-- end of table: recipes -->\n")
SHIPPED = {"densenet_bc22_16": "densenet_bc22_16", "resnet20_shipped": "resnet20"}  # the others are checkpoints.py's
SCHEMES = ("fp32", "int8")
ASKED = ("net", "asked for", "recipe, epochs")  # columns that tell requests apart
FLAGS = ("macs", "latency", "max_drop")  # of a request; one has a value
ROWS = (  # (net, flag, value, for, recipe, epochs) that are to be measured, in the table's order
    ("densenet_bc22_16", "macs", 0.5, "phone-int8", "slim", 1),
    ("densenet_bc22_16", "macs", 0.5, "phone-int8", "slim", 8),
    ("densenet_bc22_16", "latency", 0.58, "phone-int8", "slim", 6),
    ("densenet_bc22_16", "latency", 0.58, "phone-int8", "slim", 7),
    ("densenet_bc22_16", "latency", 0.58, "phone-int8", "fast", 7),
    ("densenet_bc22_16", "latency", 0.58, "phone-int8", "fast", 8),
    ("densenet_bc100_12", "macs", 0.5, "phone-int8", "slim", 3),
    ("resnet20_shipped", "macs", 0.5, "phone-int8", "slim", 8),
    ("resnet20_shipped", "macs", 0.5, "phone-int8", "fast", 8),
    ("resnet20", "latency", 0.66, "phone-int8", "slim", 3),
    ("resnet20", "latency", 0.66, "phone-int8", "slim", 8),
    ("resnet20", "max_drop", 1, "phone-int8", "slim", 8),
    ("resnet20", "macs", 0.5, "phone-int8", "slim", 8),
    ("resnet20", "macs", 0.5, "phone-int8", "fast", 8),
    ("resnet20", "macs", 0.5, "phone-float", "slim", 8),
    ("resnet20", "macs", 0.5, "phone-float", "slim", 16),
    ("resnet56", "macs", 0.5, "phone-int8", "slim", 8),
    ("resnet56", "macs", 0.5, "phone-int8", "slim", 16),
)


def measured(name, asked, origin=None):
    """The row of one net; of its file `origin` where that is given."""
    ((flag, value),) = ((flag, value) for flag in FLAGS if (value := getattr(asked, flag, None)) is not None)
    row = {"net": name, flag: value, "for": asked.target, "recipe": asked.recipe, "epochs": asked.epochs}
    row["seed"] = asked.seed
    folder = asked.folder / folder_of(row)
    whole, data = folder / f"{name}.keras", os.environ["RESDENSE_CIFAR10"]
    if not whole.is_file():
        save(name, whole, origin)
    target = (f"--{flag.replace('_', '-')}", value, "--for", asked.target)
    if flag == "latency" and asked.count:
        target += ("--count", asked.count)
    slim = ("slim", whole, "--data", data, *target, "--recipe", asked.recipe)
    slim += ("--epochs", asked.epochs, "--seed", asked.seed)
    slim += ("--out", folder / "run", "--resume")
    fresh, start = not (folder / "run").exists(), time.monotonic()
    try:
        command(*slim)
    finally:
        minutes = cpu_minutes(folder)
        files.write_text(folder / "minutes", f"{minutes}")
    if asked.idle and fresh:
        row["minutes"] = round((time.monotonic() - start) / 60, 1)
    own = json.loads((folder / "run" / "slim.json").read_text())
    said = " ".join(map(str, ("resdense", *slim))).replace(f"{folder}/", "").replace(data, "cifar10")
    row |= {
        "created": datetime.date.today().isoformat(),
        "cpu_minutes": round(minutes, 1),
        "command": said.replace(asked.count or "COMMAND", "COMMAND"),
        "machine": machine(),
        "versions": environment.versions(),
        "plan": own,
    }
    run = folder / "run"
    judged = {"whole": whole, "repaired": run / "checkpoints" / "slim.keras", "slim": run / "model.keras"}
    row["accuracy"] = {which: accuracy(path, data) for which, path in judged.items()}
    row["held_out"] = held_out(judged, data)
    row["instructions"], row["bytes"] = {}, {}
    for which, path in (("whole", whole), ("slim", folder / "run" / "model.keras")):
        add_files(row, path, data, folder / f"{which}-files", asked.count)
    return row


def add_files(row, path, data, out, count):
    """Exports a model to `out`, and adds to a row's lists of each scheme the bytes and the counted instructions."""
    command("export", path, "--data", data, "--schemes", ",".join(SCHEMES), "--out", out, "--overwrite")
    for scheme in SCHEMES:
        (file,) = out.glob(f"*-{scheme}.tflite")
        row["bytes"].setdefault(scheme, []).append(file.stat().st_size)
        if count:
            row["instructions"].setdefault(scheme, []).append(millions(count, file))


def save(name, path, origin=None):
    import resdense_keras

    path.parent.mkdir(parents=True, exist_ok=True)
    if origin:
        shutil.copy(origin, path)
        return
    if name in SHIPPED:
        model = resdense_keras.create(SHIPPED[name], weights="cifar10", include_preprocessing=True)
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
    """{"images", "whole", "repaired"}: accuracies on the held-out training images that `slim --max-drop` looks at;
    {"trained_on"}: that of the whole net on as many of the images that nets are trained on."""
    import keras

    from resdense_export.making.slimming import search
    from resdense_keras.data import load
    from resdense_keras.data.dataset import representative

    dataset = load(data)
    held = search.held_out(dataset)
    chosen = representative(dataset.train, len(held[1]))
    trained_on = dataset.train.array(chosen), dataset.train.labels[chosen]
    whole, repaired = (keras.saving.load_model(judged[which], compile=False) for which in ("whole", "repaired"))
    judgements = {"whole": (whole, *held), "repaired": (repaired, *held), "trained_on": (whole, *trained_on)}
    return {"images": len(chosen)} | {key: float(search.right(*given).mean()) for key, given in judgements.items()}


def cpu_minutes(folder, who=resource.RUSAGE_CHILDREN):
    """Of the children of this process (or of `who`), and of earlier calls for the same row."""
    used, earlier = resource.getrusage(who), folder / "minutes"
    before = float(earlier.read_text()) if earlier.is_file() else 0.0
    return before + (used.ru_utime + used.ru_stime) / 60


def table(rows):
    """The first table of docs/slimming.md, a line for each request; what was not measured is named below it."""
    requests, lines = by_request(rows), []
    for request, seeds in requests.items():
        found, idle = figures(seeds), [row["minutes"] for row in seeds if "minutes" in row]
        lines.append([*asked_for(request), *(found[key] for key in ("lost", "mean fp32", "mean int8")),
                      spread(idle, 0) if idle else "", len(seeds)])  # fmt: skip
    missing = [
        f"{net} at {flag} {value:g} for {target}, {epochs} epochs of {recipe}"
        for net, flag, value, target, recipe, epochs in (request for request in ROWS if request not in requests)
    ]
    told = f"\nNot run yet: {'; '.join(missing)}.\n" if missing else ""
    return markdown(ASKED, ["lost", "Arm fp32", "Arm int8", "minutes", "seeds"], lines) + told


def details(rows):
    """The table with the other figures of the same lines."""
    lines = []
    for request, seeds in by_request(rows).items():
        found = figures(seeds)
        keys = ("whole", "repaired", "slim", "macs", "bytes", "range fp32", "range int8")
        lines.append([*asked_for(request), *(found[key] for key in keys),
                      spread([row["cpu_minutes"] for row in seeds], 0)])  # fmt: skip
    heads = ["accuracy", "repaired", "tuned", "MACs", "bytes int8", "range fp32", "range int8", "CPU minutes"]
    return markdown(ASKED, heads, lines)


def recipes(rows):
    """The table of the requests that were trained by more than one recipe, beside how well the original learnt."""
    lines, trained = [], {}
    for (*asked, recipe, epochs), seeds in by_request(rows).items():
        trained.setdefault(tuple(asked), []).append((recipe, epochs, seeds))
    for (net, *asked), trainings in trained.items():
        if len({recipe for recipe, *_ in trainings}) < 2:
            continue
        fitted = [100 * row["held_out"]["trained_on"] for *_, seeds in trainings for row in seeds
                  if "trained_on" in row["held_out"]]  # fmt: skip
        for recipe, epochs, seeds in trainings:
            lines.append([*asked_for((net, *asked, recipe, epochs)), spread(fitted, 1), figures(seeds)["lost"],
                          spread([row["cpu_minutes"] for row in seeds], 0), len(seeds)])  # fmt: skip
    return markdown(ASKED, ["training accuracy", "lost", "CPU minutes", "seeds"], lines)


def asked_for(request):
    """The cells under ASKED; the target phone-int8 is not named."""
    net, flag, value, target, recipe, epochs = request
    other = "" if target == "phone-int8" else f", {target}"
    return net, f"{flag.replace('_', '-')} {value:g}{other}", f"{recipe}, {epochs}"


def by_request(rows):
    """{request: its rows, one for each seed}, in the table's order."""
    requests = {}
    for row in sorted(rows, key=place):
        requests.setdefault(request_of(row), []).append(row)
    return requests


def place(row):
    """The line of a row's request in the table; what ROWS has not comes last."""
    return [*ROWS, request_of(row)].index(request_of(row))


def folder_of(row):
    return "{}-{}{:g}-{}-{}-{}-{}".format(*request_of(row), row["seed"])


def request_of(row):
    """What was asked for, but the seed."""
    (flag,) = (flag for flag in FLAGS if flag in row)
    return row["net"], flag, row[flag], row["for"], row.get("recipe", "slim"), row["epochs"]


def figures(seeds):
    """{name: cell} of rows that differ in their seeds: shares, accuracies in percent, points lost."""
    ratios = lambda pairs: ([after / before for before, after in pairs], 3)  # noqa: E731
    found = {"macs": spread(*ratios([row["plan"]["macs"] for row in seeds]))}
    for scheme in SCHEMES:
        counted = [row["instructions"].get(scheme) for row in seeds]
        cells = mean_and_range(*ratios(counted)) if all(counted) else ("not counted", "")
        found[f"mean {scheme}"], found[f"range {scheme}"] = cells
        found[scheme] = together(*cells)
    found["bytes"] = spread(*ratios([row["bytes"]["int8"] for row in seeds]))
    for which in ("whole", "repaired", "slim"):
        found[which] = spread([100 * row["accuracy"][which] for row in seeds], 2)
    found["lost"] = spread([100 * (row["accuracy"]["whole"] - row["accuracy"]["slim"]) for row in seeds], 2)
    return found


def spread(numbers, digits):
    """The mean, and where they differ the range."""
    return together(*mean_and_range(numbers, digits))


def mean_and_range(numbers, digits):
    """The range is empty where the numbers are the same as shown."""
    mean, *ends = (f"{number:.{digits}f}" for number in (np.mean(numbers), min(numbers), max(numbers)))
    return mean, "" if {mean} == set(ends) else " to ".join(ends)


def together(mean, ends):
    return f"{mean} ({ends})" if ends else mean


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", nargs="?")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--macs", type=float)
    target.add_argument("--latency", type=float, help="counted where --count is given")
    target.add_argument("--max-drop", type=float)
    parser.add_argument("--for", dest="target", default="phone-int8")
    parser.add_argument("--recipe", default="slim")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("slim-runs"))
    parser.add_argument("--count", metavar="COMMAND", help="prints millions of Arm instructions of a file")
    parser.add_argument("--idle", action="store_true", help="nothing else runs: the minutes of a whole run are kept")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    asked = parser.parse_args()
    if not asked.table and not (asked.net and any(getattr(asked, flag) is not None for flag in FLAGS)):
        parser.error("name a net, and give one of --macs, --latency and --max-drop; or give --table")
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    if not asked.table:
        row = measured(asked.net, asked)
        rows = [old for old in rows if (request_of(old), old["seed"]) != (request_of(row), row["seed"])] + [row]
        files.write_json(RESULTS, rows)
    for marks, lines in ((MARKS, table), (OF_DETAILS, details), (OF_RECIPES, recipes)):
        put(marks, lines(rows), DOCUMENT)


if __name__ == "__main__":
    main()
