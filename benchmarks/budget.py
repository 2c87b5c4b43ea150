"""`resdense export --budget 0.1` of a trained CIFAR-10 net over all 10,000 test images: is the budget kept?

    RESDENSE_CIFAR10=cifar10.npz RESDENSE_CHECKPOINTS=DIR python benchmarks/budget.py densenet_bc100_12   # an hour

Writes what model.json says of it (points, rounds, layers, the test result) to benchmarks/results/.
"""

import argparse
import datetime
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from checkpoints import CHECKPOINTS, load

from resdense_export import environment, pipeline
from resdense_export.progress import steps
from resdense_export.sources import preprocessing_inside
from resdense_export.tflite.timing import machine
from resdense_keras import data, files

RESULTS = Path(__file__).parent / "results"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", choices=CHECKPOINTS)
    parser.add_argument("--points", type=float, default=0.1)
    arguments = parser.parse_args()
    net = load(arguments.checkpoint)
    dataset = data.load(os.environ["RESDENSE_CIFAR10"])
    with tempfile.TemporaryDirectory() as folder, steps(3) as progress:
        out = Path(folder) / "bundle"
        report = pipeline.export(
            net,
            out,
            ["fp32", "int8"],
            name=arguments.checkpoint,
            dataset=dataset,
            preprocessing=preprocessing_inside(net),
            budget=arguments.points,
            rounds=20,
            steps=progress,
        )
        told = json.loads((out / "model.json").read_text())["budget"]
    exports = report["models"][0]["exports"]
    today = datetime.date.today().isoformat()
    result = {
        "benchmark": "budget",
        "date": today,
        "machine": machine(),
        "versions": environment.versions(),
        "model": arguments.checkpoint,
        "images": len(dataset.test),
        "files": {row["scheme"]: {key: row[key] for key in ("bytes", "accuracy", "agreement")} for row in exports},
        "budget": told,
    }
    for row in told["rounds"]:
        print(f"{row['float_layers']} of {told['layers']} layers in float: {row['lost_points']:.2f} points lost")
    files.write_json(RESULTS / f"budget-{arguments.checkpoint}-{today}.json", result)


if __name__ == "__main__":
    main()
