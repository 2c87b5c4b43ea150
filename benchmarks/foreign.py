"""Other people's nets, whole: our files of keras.applications' and kimm's nets against Keras and the stock converter's.

    pip install --no-deps --target KIMM kimm
    python benchmarks/foreign.py --kimm KIMM --count "$ARM/instructions"    # an hour; --net NAME for one
    python benchmarks/foreign.py --kimm KIMM --folder FOLDER                # makes the files, which FOLDER keeps
    python benchmarks/foreign.py --folder FOLDER --pairs 60                 # and their latencies: an idle machine
    python benchmarks/foreign.py --net VGG16 --scheme dynamic --count ...   # one file of it again
    python benchmarks/foreign.py --table                                    # the table of docs/rewriting.md

Nobody trained these nets: their weights are random. The statistics of their batch norms are those of generated images
times random factors, so that an image's numbers reach the end of the net; with statistics that fit nothing all images
have one answer, and any file would be near it. The 1,000 outputs are logits for the same reason. 100 generated images
calibrate, others are answered, and parity is the gate. keras.applications' nets are opened from the .keras file that
they were saved in; kimm's classes are its own, so its nets go in from Python. Each net has a record in
benchmarks/results/foreign.json. A net that is measured again replaces its own; where the new one lacks latencies, or
the count of a file of the same size, the old ones stay.
"""

import argparse
import datetime
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import rewriting_document
from rewriting_document import millions

from export import ratio
from resdense_export import pipeline, sources
from resdense_export.bundle.request import ExportRequest
from resdense_export.limits import Limits
from resdense_export.models import fitness
from resdense_export.report.schema import REPORT, read_report
from resdense_export.schemes import standard_schemes
from resdense_export.sources import Net, generated_images
from resdense_export.tflite import running
from resdense_export.tflite.timing import machine
from resdense_keras import data, files
from resdense_keras.errors import WorkError

RESULT = Path(__file__).parent / "results" / "foreign.json"
MARKS = ("<!-- table: python benchmarks/foreign.py -->\n", "<!-- end of foreign -->\n")
TIMED = ("<!-- table: python benchmarks/foreign.py --pairs -->\n", "<!-- end of foreign's latencies -->\n")
CALIBRATING, ANSWERED = 100, 20
HELD_OUT = 12  # of the training images, which `data.load` keeps for validation: a tenth of each of two classes
COUNTED = "millions_of_instructions"
GOAL = 1.02  # of Arm instructions and of latency against stock's, at most


@dataclass(frozen=True)
class Foreign:
    """A net of another package: its builder's name, and the side of its images in pixels."""

    builder: str
    side: int = 224
    kimm: bool = False


NETS = {
    "MobileNetV2": Foreign("MobileNetV2"),
    "MobileNetV3Small": Foreign("MobileNetV3Small"),
    "EfficientNetV2B0": Foreign("EfficientNetV2B0"),
    "ConvNeXtTiny": Foreign("ConvNeXtTiny"),
    "NASNetMobile": Foreign("NASNetMobile"),
    "InceptionV3": Foreign("InceptionV3", side=299),
    "Xception": Foreign("Xception", side=299),
    "VGG16": Foreign("VGG16"),
    "kimm-ResNet50": Foreign("ResNet50", kimm=True),
    "kimm-DenseNet121": Foreign("DenseNet121", kimm=True),
}


def build(name, folder):
    """The sources.Net of that name, as a user would hand it in."""
    row = NETS[name]
    keras.utils.set_random_seed(0)
    shape = (row.side, row.side, 3)
    if row.kimm:
        import kimm

        made = getattr(kimm.models, row.builder)(weights=None, input_shape=shape, classifier_activation="linear")
        return Net(name, fitness.fitted(randomize(made)), "unknown")
    made = getattr(keras.applications, row.builder)(weights=None, input_shape=shape, classifier_activation=None)
    path = folder / f"{name}.keras"
    randomize(made).save(path)
    return sources.model(path)


def randomize(model, seed=0):
    """Gives batch norms and LayerScales the weights of trained ones: see the module."""
    random = np.random.default_rng(seed)
    parts = list(model._flatten_layers(include_self=False, recursive=True))
    norms = [layer for layer in parts if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        for weight, low, high in ((layer.gamma, 0.7, 1.3), (layer.beta, -0.2, 0.2)):
            if weight is not None:
                weight.assign(random.uniform(low, high, weight.shape))
    for layer in parts:
        if type(layer).__name__ == "LayerScale":  # ConvNeXt's begins at 1e-6, which switches its blocks off
            layer.gamma.assign(random.uniform(0.1, 0.5, layer.gamma.shape))
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(generated_images(model.input_shape[1:], 8, seed=2).astype("float32"), training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
        mean, variance = (np.asarray(weight) for weight in (layer.moving_mean, layer.moving_variance))
        layer.moving_mean.assign(mean + np.sqrt(variance) * random.uniform(-0.2, 0.2, mean.shape))
        layer.moving_variance.assign(variance * random.uniform(0.7, 1.3, mean.shape) + 1e-3)
    return model


def generated_data(shape, folder):
    """A Dataset of generated images, CALIBRATING of them to calibrate with; what they are called means nothing."""
    train = CALIBRATING + HELD_OUT
    images = generated_images(shape, train + ANSWERED, seed=1)
    labels = np.arange(len(images)) % 2
    path = folder / "generated.npz"
    np.savez(path, x_train=images[:train], y_train=labels[:train], x_test=images[train:], y_test=labels[train:])
    dataset = data.load(path)
    assert len(dataset.train) == CALIBRATING
    return dataset


def exported(net, dataset, folder, schemes=None, stock=True):
    """The model's entry of the report: our files, with `stock` stock's too, those that failed under "rejected"."""
    limits = Limits(max_drop=100, min_agreement=0)  # parity is the gate
    request = ExportRequest(folder, schemes, has_data=True, limits=limits, baseline=stock, rounds=3)
    try:
        report = pipeline.export_net(net, request, dataset)
    except WorkError as error:
        if error.report is None:
            raise
        report = error.report
    return report["models"][0]


def measure(name, pairs, command, schemes=None, uncounted=(), stock=True, folder=None):
    """The record of one net; default: all standard schemes beside `stock`, and each file's instructions counted where
    `command` is. `folder` keeps the files, and those that it has are not made again."""
    counting = set(schemes or standard_schemes()) - set(uncounted)
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        bundle = (folder or temporary) / name
        if (bundle / REPORT).is_file():
            model = read_report(bundle)["models"][0]
            made = {export["scheme"] for export in model["exports"]} | set(model["rejected"])
            if missing := set(schemes or standard_schemes()) - made:
                sys.exit(f"{bundle} lacks {', '.join(sorted(missing))}: remove it, or name its schemes by --scheme")
        else:
            net = build(name, temporary)
            model = exported(net, generated_data(net.image_shape, temporary), bundle, schemes, stock)
        found = {"parameters": model["parameters"], "rejected": model["rejected"], "files": {}}
        for export in model["exports"]:
            scheme = found["files"].setdefault(export["scheme"], {})
            count = command and export["scheme"] in counting
            scheme["ours" if export["converter"] == "rewritten" else "stock"] = {
                "bytes": export["bytes"],
                "max_difference": export["max_difference"],
                "agreement": export["agreement"],
                "parity": export["gates"]["parity"],
                "int8": export["gates"]["int8"],
                "opens": export["gates"]["opens"]["passed"],
                **({COUNTED: counted(command, bundle / export["file"])} if count else {}),
            }
        if pairs:
            found["latency"] = latencies(bundle, model["exports"], pairs)
    return found


def counted(command, path):
    """Millions of instructions, or None of a file that does not run there."""
    try:
        return millions(command, path)
    except Exception as error:  # an emulator's end says no more than that
        print(f"{path.name}: {error}", file=sys.stderr)
        return None


def latencies(folder, exports, pairs):
    """{scheme: {"ours_ms", "stock_ms", "ratio"}} on one thread, both files by turns."""
    random, found = np.random.default_rng(0), {}
    for scheme in standard_schemes():
        paths = {row["converter"]: folder / row["file"] for row in exports if row["scheme"] == scheme}
        if len(paths) < 2:
            continue
        ours, stock = running.time_rounds([paths["rewritten"], paths["stock"]], pairs)
        medians = {"ours_ms": np.median(ours) / 1e6, "stock_ms": np.median(stock) / 1e6}
        found[scheme] = {key: round(float(value), 3) for key, value in medians.items()}
        found[scheme]["ratio"] = ratio(ours, stock, random)
    return {"pairs": pairs, **found}


def write(name, found):
    today = datetime.date.today().isoformat()
    names = ("tensorflow", "keras", "ai-edge-litert", "litert-quantizer")
    about = {"date": today, "machine": machine(), "versions": {each: version(each) for each in names}}
    stored = json.loads(RESULT.read_text()) if RESULT.exists() else {"benchmark": "foreign", "nets": {}}
    before = stored["nets"].get(name, {})
    kept = {scheme: rows for scheme, rows in before.get("files", {}).items() if scheme not in found["rejected"]}
    rejected = {scheme: why for scheme, why in before.get("rejected", {}).items() if scheme not in found["files"]}
    for scheme, kinds in found["files"].items():
        for kind, row in kinds.items():
            old = kept.get(scheme, {}).get(kind, {})
            if old.get("bytes") == row["bytes"] and COUNTED in old:
                row.setdefault(COUNTED, old[COUNTED])
    found |= {"files": kept | found["files"], "rejected": rejected | found["rejected"]}
    stored["nets"][name] = {**{key: before[key] for key in ("latency",) if key in before}, **about, **found}
    files.write_json(RESULT, stored)


def table():
    """Lines of the table in docs/rewriting.md."""
    stored, schemes = json.loads(RESULT.read_text())["nets"], standard_schemes()
    lines = ["| net | fp32: from Keras | int8: from Keras | " + " | ".join(schemes) + " |"]
    lines.append("|---|--:|--:|" + "--:|" * len(schemes))
    for name in (name for name in NETS if name in stored):
        record = stored[name]
        cells = [difference(record, "fp32"), difference(record, "int8"), *(cell(record, each) for each in schemes)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [line + "\n" for line in lines]


def latency_table():
    """Lines of the table of latencies in docs/rewriting.md."""
    stored, schemes = json.loads(RESULT.read_text())["nets"], standard_schemes()
    lines = [f"| net | {' | '.join(schemes)} | pairs |\n", "|---|" + "--:|" * (len(schemes) + 1) + "\n"]
    for name in (name for name in NETS if "latency" in stored.get(name, {})):
        timed = stored[name]["latency"]
        cells = [timed_cell(timed[scheme]) if scheme in timed else "–" for scheme in schemes]
        lines.append(f"| {name} | {' | '.join(cells)} | {timed['pairs']} |\n")
    return lines


def timed_cell(found):
    """What a file takes of the time of stock's, bold where it is beyond the goal by the whole interval."""
    over = found["ratio"]
    both = f"{found['ours_ms']:.3g} / {found['stock_ms']:.3g} ms"
    text = f"{over['median']:.3f} ({over['low']:.3f}–{over['high']:.3f}; {both})"
    return text if over["low"] <= GOAL else f"**{text}**"


def difference(record, scheme):
    rows = record["files"].get(scheme, {})
    return " / ".join(f"{rows[kind]['max_difference']:.2g}" if kind in rows else "–" for kind in ("ours", "stock"))


def cell(record, scheme):
    """What a scheme's file takes of stock's instructions, bold where it is beyond the goal; "–" where none was made."""
    if scheme in record["rejected"]:
        return f"failed: {', '.join(record['rejected'][scheme])}"
    if scheme not in record["files"]:
        return "–"
    rows = record["files"][scheme]
    ours, theirs = (rows.get(kind, {}).get(COUNTED) for kind in ("ours", "stock"))
    if ours is None or theirs is None:
        return f"{ours:.4g} / – M" if ours else "made"
    text = f"{ours / theirs:.3f} ({ours:.4g} / {theirs:.4g} M)"
    return text if ours / theirs <= GOAL else f"**{text}**"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--net", choices=NETS, action="append", help="default: all")
    parser.add_argument(
        "--scheme", choices=standard_schemes(), action="append", help="default: all; others stay stored"
    )
    parser.add_argument("--kimm", type=Path, help="the folder that kimm was installed into")
    parser.add_argument("--count", help="program that prints `FILE MILLIONS`")
    parser.add_argument(
        "--uncounted",
        choices=standard_schemes(),
        action="append",
        default=[],
        help="schemes whose instructions are not counted: half precision is emulated slowly, minutes a file",
    )
    parser.add_argument("--folder", type=Path, help="keeps the files; those that it has are not made again")
    parser.add_argument("--pairs", type=int, default=0, help="of latencies; default: none")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.kimm:
        sys.path.insert(0, str(arguments.kimm))
    if not arguments.table:
        for name in arguments.net or NETS:
            found = measure(
                name, arguments.pairs, arguments.count, arguments.scheme, arguments.uncounted, folder=arguments.folder
            )
            write(name, found)
            print(name, json.dumps(found), flush=True)
            keras.utils.clear_session()
    rewriting_document.put(MARKS, table())
    rewriting_document.put(TIMED, latency_table())


if __name__ == "__main__":
    main()
