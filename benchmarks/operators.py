"""What the time of a .tflite file goes to: each of its operators run in a file of its own, and added up by kind.

    python benchmarks/export.py --part files --folder FOLDER && python benchmarks/operators.py --folder FOLDER

DenseNet-121 and ResNet-50 V2, ours and stock, in fp32 and int8: milliseconds on one thread, the fastest of 20 runs of
each operator. An operator alone finds its input in the caches and pays for a start of the interpreter, so the sum is
not the time of the whole file, which stands below it. Writes benchmarks/results/ and the table of docs/rewriting.md; an
idle machine is needed.
"""

import argparse
import datetime
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import rewriting_document

from resdense_export import environment
from resdense_export.tflite import flatbuffer, running
from resdense_export.tflite.timing import machine
from resdense_keras import files

RESULTS = Path(__file__).parent / "results"
MARKS = ("<!-- table: python benchmarks/operators.py -->\n", "<!-- end of operators -->\n")
NETS, SCHEMES, KINDS = ("densenet121", "resnet50_v2"), ("fp32", "int8"), ("ours", "stock")
RUNS = 20
LISTED = 0.01  # of a file's time: kinds of operators below this in every file are one row
_EMPTY = flatbuffer.schema.BufferT()


def fastest(content):
    """Milliseconds of the fastest of RUNS inferences of a file given as bytes, on one thread."""
    with rewriting_document.on_disk(content) as path:
        return min(running.time_rounds([path], RUNS)[0]) / 1e6


def alone(content):
    """(name, bytes of a file of this operator alone) of each operator of a file."""
    names = [operator.name for operator in flatbuffer.read(content)[0].operators]
    tree = flatbuffer.unpack(content)
    graph = tree.subgraphs[0]
    tensors, operators, buffers = graph.tensors, graph.operators, tree.buffers
    tree.metadata, tree.metadataBuffer, tree.signatureDefs = [], [], []
    for name, operator in zip(names, operators, strict=True):
        used = [int(number) for number in (*operator.inputs, *operator.outputs) if number >= 0]
        kept = {number: place for place, number in enumerate(dict.fromkeys(used))}
        graph.tensors = [tensors[number] for number in kept]
        graph.operators = [_renumbered(operator, kept)]
        constants = {tensors[number].buffer for number in kept} | {0}
        tree.buffers = [buffer if place in constants else _EMPTY for place, buffer in enumerate(buffers)]
        graph.inputs = [
            kept[int(number)]
            for number in operator.inputs
            if number >= 0 and buffers[tensors[number].buffer].data is None
        ]
        graph.outputs = [kept[int(number)] for number in operator.outputs]
        yield name, flatbuffer.pack(tree)


def _renumbered(operator, kept):
    """The operator with its tensors' new numbers."""
    copy = flatbuffer.schema.OperatorT()
    vars(copy).update(vars(operator))
    copy.inputs = [kept.get(int(number), -1) for number in operator.inputs]
    copy.outputs = [kept[int(number)] for number in operator.outputs]
    return copy


def profile(content):
    """{"operators": {name: {"number", "ms"}}, "sum_ms", "whole_ms"} of a file given as bytes."""
    rows = {}
    for name, single in alone(content):
        row = rows.setdefault(name, {"number": 0, "ms": 0.0})
        row["number"] += 1
        row["ms"] += fastest(single)
    rows = {
        name: {"number": row["number"], "ms": round(row["ms"], 4)}
        for name, row in sorted(rows.items(), key=lambda item: -item[1]["ms"])
    }
    whole = fastest(content)
    return {
        "operators": rows,
        "sum_ms": round(sum(row["ms"] for row in rows.values()), 3),
        "whole_ms": round(whole, 3),
    }


def table(found):
    """Lines of a table: a row an operator, a column a file, `number: ms` in each cell."""
    listed = dict.fromkeys(
        name
        for each in found.values()
        for name, row in each["operators"].items()
        if row["ms"] >= LISTED * each["sum_ms"]
    )
    lines = ["| operator | " + " | ".join(found) + " |\n", "|---|" + "--:|" * len(found) + "\n"]
    for name in listed:
        cells = [each["operators"].get(name) for each in found.values()]
        lines.append(f"| {name} | " + " | ".join(f"{c['number']}: {c['ms']:.2f}" if c else "–" for c in cells) + " |\n")
    rest = [[row for name, row in each["operators"].items() if name not in listed] for each in found.values()]
    cells = [f"{sum(row['number'] for row in rows)}: {sum(row['ms'] for row in rows):.2f}" for rows in rest]
    lines.append("| all others | " + " | ".join(cells) + " |\n")
    lines.append("| sum | " + " | ".join(f"{each['sum_ms']:.2f}" for each in found.values()) + " |\n")
    lines.append("| the whole file | " + " | ".join(f"{each['whole_ms']:.2f}" for each in found.values()) + " |\n")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="files of benchmarks/export.py --folder")
    folder, found = parser.parse_args().folder, {}
    for net in NETS:
        for scheme in SCHEMES:
            for kind in KINDS:
                content = (folder / f"{net}-{kind}-{scheme}.tflite").read_bytes()
                found[f"{net} {scheme}, {kind}"] = row = profile(content)
                print(net, scheme, kind, row, flush=True)
    today = datetime.date.today().isoformat()
    result = {"benchmark": "operators", "date": today, "machine": machine(), "versions": environment.versions()}
    files.write_json(RESULTS / f"operators-{today}.json", result | {"runs": RUNS, "files": found})
    rewriting_document.put(MARKS, table(found))


if __name__ == "__main__":
    main()
