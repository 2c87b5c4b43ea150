"""What training on for a file gives: the shipped CIFAR-10 nets as int8, qat and pruned files over all test images.

    RESDENSE_CIFAR10=cifar10.npz python benchmarks/aware.py    # half an hour on 2 cores
    python benchmarks/aware.py --net resnet20 --scheme pruned  # what was not measured again keeps its stored figures

Goals: `qat` is right at least as often as `int8`, and `pruned`, half of whose weights are zero, at most 0.5 point less
often than `fp32`. Writes the accuracies, the sizes, plain and zipped, and the minutes of each net's training to
benchmarks/results/ and to docs/rewriting.md. No file is refused for its accuracy, which is what we ask for.
"""

import argparse
import datetime
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import rewriting_document

import resdense_keras
from resdense_export import environment, pipeline
from resdense_export.progress import steps
from resdense_export.tflite.timing import machine
from resdense_keras import data, files

RESULTS = Path(__file__).parent / "results"
MARKS = ("<!-- table: python benchmarks/aware.py -->\n", "<!-- end of aware -->\n")
NETS = ("resnet20", "densenet_bc22_16")
SCHEMES = ("fp32", "int8", "qat", "pruned")
KEPT = ("accuracy", "agreement", "bytes", "zipped_bytes")
POINTS = 0.5


def measure(name, dataset, schemes):
    """{scheme: {"accuracy", "agreement", "bytes", "zipped_bytes"}}, and "minutes" where all schemes were made."""
    net = resdense_keras.create(name, weights="cifar10", include_preprocessing=True)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, steps(len(schemes) + 2) as progress:
        report = pipeline.export(
            net,
            Path(folder) / "bundle",
            list(schemes),
            name=name,
            dataset=dataset,
            rounds=20,
            steps=progress,
            max_drop=100,
            min_agreement=0,
        )
    rows = {row["scheme"]: {key: row[key] for key in KEPT} for row in report["models"][0]["exports"]}
    minutes = {"minutes": round((time.perf_counter() - begun) / 60, 1)}
    return (minutes if set(schemes) == set(SCHEMES) else {}) | rows


def newest():
    """The result that was stored last."""
    return json.loads(sorted(RESULTS.glob("aware-*.json"))[-1].read_text())


def table(nets):
    """Lines of the table in docs/rewriting.md."""
    lines = ["| net | " + " | ".join(SCHEMES) + " | pruned, zipped | minutes |", "|---|" + "--:|" * (2 + len(SCHEMES))]
    for name, row in nets.items():
        cells = [f"{100 * row[scheme]['accuracy']:.2f} %" for scheme in SCHEMES]
        zipped = f"{row['pruned']['zipped_bytes'] / row['fp32']['bytes']:.2f} of fp32"
        lines.append(f"| {name} | " + " | ".join([*cells, zipped, f"{row['minutes']:.1f}"]) + " |")
    return [line + "\n" for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--net", choices=NETS, action="append", help="default: both")
    parser.add_argument("--scheme", choices=SCHEMES, action="append", help="default: all")
    given, found = parser.parse_args(), {}
    dataset, stored = data.load(os.environ["RESDENSE_CIFAR10"]), newest() if given.net or given.scheme else {}
    for name in NETS:
        found[name] = stored.get(name, {})
        if name in (given.net or NETS):
            found[name] = found[name] | measure(name, dataset, given.scheme or SCHEMES)
            print(name, found[name], flush=True)
    today = datetime.date.today().isoformat()
    result = {"benchmark": "aware", "date": today, "machine": machine(), "versions": environment.versions()}
    goals = {"qat_minus_int8_points": 0, "fp32_minus_pruned_points": POINTS}
    files.write_json(RESULTS / f"aware-{today}.json", result | {"images": len(dataset.test), "goals": goals, **found})
    rewriting_document.put(MARKS, table(found))


if __name__ == "__main__":
    main()
