"""What `resdense slim --show` takes on other people's nets at 224 pixels, and what it predicts against what is counted.

    python benchmarks/slim_foreign.py ResNet50 --count "$ARM/instructions"    # one net a call, 1 to 3 minutes
    python benchmarks/slim_foreign.py --table                                 # docs/slimming.md alone

keras.applications' nets with random weights; their batch norms have foreign.py's statistics. A net is saved, opened and
planned by what the command runs, on 64 generated images. The planned net is built, exported in fp32 and int8 beside the
whole one, and the Arm instructions of both are counted. The table has wall seconds: take an idle machine. The peak of
memory is that of this process when the plan is there. Adds the row to benchmarks/results/slim_foreign.json and writes
the table of docs/slimming.md.
"""

import argparse
import datetime
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from rewriting_document import markdown, millions, put

from resdense_export import environment
from resdense_export.tflite.timing import machine
from resdense_keras import files

RESULTS = Path(__file__).parent / "results" / "slim_foreign.json"
DOCUMENT = Path(__file__).parents[1] / "docs" / "slimming.md"
MARKS = ("<!-- table: python benchmarks/slim_foreign.py --table -->\n", "<!-- end of slim_foreign -->\n")
NETS = ("ResNet50", "DenseNet121", "EfficientNetV2B0", "MobileNetV2")
FILES = ("fp32", "int8")
CALIBRATION = 20  # images of the int8 files, whose instructions do not depend on them
SHARE = 0.5  # of the MACs


def measured(name, folder, count=None, say=None):
    """The row of one net; with `count`, the program that prints millions of a file, instructions too.

    Args:
        folder: Where the net and its files are written.
        say: Function of a line about what was done.
    """
    import resource

    import keras
    from foreign import randomize

    from resdense_cli.commands.slim import GENERATED
    from resdense_export import sources
    from resdense_export.making.slimming import process
    from resdense_export.making.slimming.building import build

    keras.utils.set_random_seed(0)
    path, watch = folder / f"{name}.keras", _Watch(say)
    randomize(getattr(keras.applications, name)(weights=None)).save(path)
    watch.lap("made")
    net = sources.model(path)
    images = sources.generated_images(net.image_shape, GENERATED)
    watch.lap("opened")
    planned = process.show(net, None, process.SlimRequest(SHARE), images=images, tell=watch.tell)
    watch.lap("plan")
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    thin = build(planned.net, planned.plan.keep, name="thin").model
    watch.lap("build")
    found = process.as_json(planned, name, process.SlimRequest(SHARE))
    row = {"net": name, "asked": SHARE, "for": "phone-int8", "created": datetime.date.today().isoformat(),
           "command": f"python benchmarks/slim_foreign.py {name}", "machine": machine(),
           "versions": environment.versions(), "images": planned.images, "peak_bytes": peak,
           "macs": found["macs"], "predicted": found["predicted"], "layers": len(found["widths"]),
           "removed_blocks": len(found["removed_blocks"]), "thin": _measures(thin)}  # fmt: skip
    sides = {"whole": net.model, "thin": thin}
    paths = {which: _exported(model, which, images[:CALIBRATION], folder) for which, model in sides.items()}
    watch.lap("export")
    if count:
        row["instructions"] = {
            scheme: [millions(count, paths[which][scheme]) for which in ("whole", "thin")] for scheme in FILES
        }
        watch.lap("count")
    return row | {"bytes": {scheme: [paths[which][scheme].stat().st_size for which in paths] for scheme in FILES},
                  "seconds": watch.laps, "wall": watch.wall}  # fmt: skip


class _Watch:
    """Seconds of each part of the work: `laps` of all processor cores together, and `wall`. The command's first line
    about its plan ends the scores."""

    def __init__(self, say):
        self.say, self.laps, self.wall, self.now = say or _nothing, {}, {}, (_used(), time.monotonic())

    def lap(self, part):
        before, self.now = self.now, (_used(), time.monotonic())
        for found, now, then in zip((self.laps, self.wall), self.now, before, strict=True):
            found[part] = round(found.get(part, 0) + now - then, 1)
        self.say(f"{part}: {self.laps[part]} s")

    def tell(self, line):
        self.say(line)
        if line.startswith("plan:") and "scores" not in self.laps:
            self.lap("scores")


def _used():
    """Processor seconds of this process and of its children that ended."""
    return sum(os.times()[:4])


def _nothing(line):
    pass


def _measures(model):
    """{"macs", "parameters"} of a net as Keras has it."""
    import resdense_keras

    return {"macs": resdense_keras.profile(model).macs, "parameters": model.count_params()}


def _exported(model, which, images, folder):
    """{scheme: path} of the files that `resdense export` makes of a net."""
    from resdense_export.making.float_files import float_files
    from resdense_export.making.quantization import quantize
    from resdense_export.schemes import SCHEMES

    floating, paths = float_files(model), {}
    for scheme in FILES:
        paths[scheme] = folder / f"{which}-{scheme}.tflite"
        paths[scheme].write_bytes(quantize(floating(SCHEMES[scheme].graph), scheme, images))
    return paths


def shares(row):
    """{scheme: (share of the instructions that was predicted, counted share or None)}."""
    found = {}
    for scheme in FILES:
        before, after = row["predicted"]["instructions"][scheme]
        counted = row.get("instructions", {}).get(scheme)
        found[scheme] = (after / before, counted[1] / counted[0] if counted else None)
    return found


def table(rows):
    """Lines of the table of docs/slimming.md."""
    lines, heads = [], ["MACs"]
    heads += [f"Arm {scheme}: {what}" for scheme in FILES for what in ("predicted", "counted")]
    heads += ["ranking, s", "plan, s", "peak, GiB"]
    for name in NETS:
        for row in (row for row in rows if row["net"] == name):
            cells = [name, f"{row['macs'][1] / row['macs'][0]:.3f}"]
            for pair in shares(row).values():
                cells += ["–" if share is None else f"{share:.3f}" for share in pair]
            cells += [f"{row['wall'][part]:.0f}" for part in ("scores", "plan")]
            cells.append(f"{row['peak_bytes'] / 2**30:.1f}")
            lines.append(cells)
    return markdown(["net"], heads, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", nargs="?", choices=NETS)
    parser.add_argument("--count", metavar="COMMAND", help="prints millions of Arm instructions of a file")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    asked = parser.parse_args()
    if not asked.table and asked.net is None:
        parser.error("name a net, or pass --table")
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    if not asked.table:
        from resdense_cli.output import start_tensorflow

        start_tensorflow()
        with tempfile.TemporaryDirectory() as folder:
            row = measured(asked.net, Path(folder), asked.count, lambda line: print(line, file=sys.stderr, flush=True))
        rows = [old for old in rows if old["net"] != row["net"]] + [row]
        files.write_json(RESULTS, rows)
    put(MARKS, table(rows), DOCUMENT)


if __name__ == "__main__":
    main()
