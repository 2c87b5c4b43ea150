"""What the time of a .tflite file goes to: each of its operators run in a file of its own, and added up by kind.

    python benchmarks/export.py --part files --folder FOLDER && python benchmarks/operators.py --folder FOLDER
    python benchmarks/operators.py --count "$ARM/python"    # instructions on an emulated core: no noise

DenseNet-121 and ResNet-50 V2, ours and stock, in fp32 and int8: milliseconds on one thread, the fastest of 20 runs of
each operator. An operator alone finds its input in the caches and pays for a start of the interpreter, so the sum is
not the time of the whole file, which stands below it; an idle machine is needed. `--count` gives the Arm instructions
of DenseNet-121's operators in fp16, dynamic and int8 instead. Both write benchmarks/results/ and a table of
docs/rewriting.md.
"""

import argparse
import datetime
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import rewriting_document

from export import IMAGES, build, our_files
from resdense_export import environment
from resdense_export.making.conversion import convert
from resdense_export.making.float_files import float_nodes
from resdense_export.making.quantization import calibrate, quantize
from resdense_export.nets.emitting import emit
from resdense_export.nets.node import Node
from resdense_export.nets.rewriting.editing import Editor
from resdense_export.sources import generated_images
from resdense_export.tflite import flatbuffer, running
from resdense_export.tflite.timing import machine
from resdense_keras import files

RESULTS, HERE = Path(__file__).parent / "results", Path(__file__).parent
MARKS = ("<!-- table: python benchmarks/operators.py -->\n", "<!-- end of operators -->\n")
NETS, SCHEMES, KINDS = ("densenet121", "resnet50_v2"), ("fp32", "int8"), ("ours", "stock")
RUNS = 20
COUNT_MARKS = ("<!-- table: python benchmarks/operators.py --count -->\n", "<!-- end of counted operators -->\n")
TRIED_MARKS = ("<!-- table: tries of python benchmarks/operators.py --count -->\n", "<!-- end of tries -->\n")
COUNTED, COUNTED_SCHEMES = "densenet121", ("fp16", "dynamic", "int8")
LISTED = 0.01  # of a file's time: kinds of operators below this in every file are one row
_EMPTY = flatbuffer.schema.BufferT()


def fastest(content):
    """Milliseconds of the fastest of RUNS inferences of a file given as bytes, on one thread."""
    with rewriting_document.on_disk(content) as path:
        return min(running.time_rounds([path], RUNS)[0]) / 1e6


def alone(content):
    """(name, bytes of a file of this operator alone) of each operator of a file.

    An operator takes the DEQUANTIZE nodes of its own float16 constants with it, and the file's metadata, by which it is
    computed in float16.
    """
    names = [operator.name for operator in flatbuffer.read(content)[0].operators]
    tree = flatbuffer.unpack(content)
    graph = tree.subgraphs[0]
    tensors, operators, buffers = graph.tensors, graph.operators, tree.buffers
    tree.signatureDefs = []
    constant = {number for number, tensor in enumerate(tensors) if buffers[tensor.buffer].data is not None}
    unpacking = {
        int(operator.outputs[0]): operator
        for name, operator in zip(names, operators, strict=True)
        if name == "DEQUANTIZE" and int(operator.inputs[0]) in constant
    }
    for name, operator in zip(names, operators, strict=True):
        if int(operator.outputs[0]) in unpacking:
            continue
        before = [unpacking[int(number)] for number in operator.inputs if int(number) in unpacking]
        made = {int(each.outputs[0]) for each in before}
        used = [int(i) for each in (*before, operator) for i in (*each.inputs, *each.outputs) if i >= 0]
        kept = {number: place for place, number in enumerate(dict.fromkeys(used))}
        graph.tensors = [tensors[number] for number in kept]
        graph.operators = [_renumbered(each, kept) for each in (*before, operator)]
        needed = {tensors[number].buffer for number in kept} | {0} | {entry.buffer for entry in tree.metadata or ()}
        tree.buffers = [buffer if place in needed else _EMPTY for place, buffer in enumerate(buffers)]
        graph.inputs = [
            kept[int(number)]
            for number in operator.inputs
            if number >= 0 and int(number) not in constant and int(number) not in made
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


def tries(model, images):
    """{what was tried: bytes of an int8 file}: one change each to what is no convolution. Some give other answers."""

    def made(change=lambda graph: None, ranges=None):
        graph = Editor(float_nodes(model, "int8"))
        change(graph)
        content = convert(emit(graph.done().nodes, model.name))
        return quantize(content, "int8", images, ranges=ranges and ranges(content))

    def without(name):
        return lambda graph: graph.drop(graph[name])

    def windows(graph):
        (pool,) = graph.kinds("GlobalAveragePooling2D")
        height, width, channels = graph.source(pool).shape
        attributes = {"pool_size": (height, width), "strides": (1, 1), "padding": "valid"}
        window = Node("window", "AveragePooling2D", pool.inputs, (1, 1, channels), pool.dtype, attributes)
        graph.change(pool, kind="Reshape", inputs=(graph.add(window).name,), attributes={})

    def one_side(graph):
        pad = graph["stem_pool_pad"]
        height, width, channels = pad.shape
        graph.change(pad, shape=(height - 1, width - 1, channels), attributes={"padding": ((1, 0), (1, 0))})

    def whole_bounds(content):
        """The int8 file with each constant of a MAXIMUM repeated until nothing has to be broadcast."""
        names, tree = [operator.name for operator in flatbuffer.read(content)[0].operators], flatbuffer.unpack(content)
        graph = tree.subgraphs[0]
        for name, operator in zip(names, graph.operators, strict=True):
            if name == "MAXIMUM":
                image, bound = sorted(
                    (graph.tensors[number] for number in operator.inputs),
                    key=lambda tensor: tree.buffers[tensor.buffer].data is not None,
                )
                buffer, values = flatbuffer.schema.BufferT(), tree.buffers[bound.buffer].data.view(np.int8)
                buffer.data = np.broadcast_to(values, image.shape).reshape(-1).view(np.uint8)
                bound.buffer, bound.shape = len(tree.buffers), image.shape
                tree.buffers.append(buffer)
        return flatbuffer.pack(tree)

    def all_at_once(graph):
        for node in graph.kinds("Concatenate"):
            parts = [graph[name] for name in node.inputs]
            graph.change(
                node, inputs=sum((part.inputs if part.kind == "Concatenate" else (part.name,) for part in parts), ())
            )

    def passed_on(content):
        """The ranges with that of the first dense block also before the pool: the quantizer gives a pool one range."""
        ranges, graph = calibrate(content, images), flatbuffer.read(content)[0]
        keys = {name[: flatbuffer.NAME]: name for name in ranges}
        for operator in reversed(graph.operators):
            if operator.name == "MAX_POOL_2D" or (
                operator.name == "PAD" and graph.tensors[operator.inputs[0]].shape[3] == 64
            ):
                before, behind = (keys[graph.tensors[each[0]].name] for each in (operator.inputs, operator.outputs))
                ranges[before] = ranges[behind]
        return ranges

    return {
        "as it is": made(),
        "constants of MAXIMUM as large as its input (a larger file)": whole_bounds(made()),
        "each CONCATENATION of all its parts at once": made(all_at_once),
        "no requantization behind the first pool": made(ranges=passed_on),
        "the first pool's padding on two sides instead of four": made(one_side),
        "MEAN as AVERAGE_POOL_2D": made(windows),
        "no normalisation of the input (other answers)": made(without("preprocessing")),
        "no SOFTMAX (logits)": made(without("predictions_activation")),
    }


def counted(python, content):
    """{"operators": {name: {"number", "millions"}}, "sum_millions", "whole_millions"} on an emulated Arm core."""
    singles, rows = [*alone(content)], {}
    whole, *each = instructions(python, [content, *(made for _, made in singles)])
    for (name, _), millions in zip(singles, each, strict=True):
        row = rows.setdefault(name, {"number": 0, "millions": 0.0})
        row["number"] += 1
        row["millions"] += millions
    rows = {
        name: {"number": row["number"], "millions": round(row["millions"], 4)}
        for name, row in sorted(rows.items(), key=lambda item: -item[1]["millions"])
    }
    return {"operators": rows, "sum_millions": round(sum(each), 2), "whole_millions": round(whole, 2)}


def instructions(python, contents):
    """Millions of Arm instructions of one inference of each of these files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{place}.tflite" for place in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        command = [*shlex.split(python), HERE / "counted.py", *paths]
        ran = subprocess.run(command, env=os.environ | {"COUNT": "1"}, capture_output=True, text=True, check=True)
    spans = [int(line.split()[1]) / 1e6 for line in ran.stderr.splitlines() if line.startswith("instructions ")]
    return spans[::2]  # every other span lies between two files


def table(found, unit):
    """Lines of a table: a row an operator, a column a file, `number: ms` (or millions) in each cell."""
    listed = dict.fromkeys(
        name
        for each in found.values()
        for name, row in each["operators"].items()
        if row[unit] >= LISTED * each[f"sum_{unit}"]
    )
    lines = ["| operator | " + " | ".join(found) + " |\n", "|---|" + "--:|" * len(found) + "\n"]
    for name in listed:
        cells = [each["operators"].get(name) for each in found.values()]
        lines.append(f"| {name} | " + " | ".join(f"{c['number']}: {c[unit]:.2f}" if c else "–" for c in cells) + " |\n")
    rest = [[row for name, row in each["operators"].items() if name not in listed] for each in found.values()]
    cells = [f"{sum(row['number'] for row in rows)}: {sum(row[unit] for row in rows):.2f}" for rows in rest]
    lines.append("| all others | " + " | ".join(cells) + " |\n")
    lines.append("| sum | " + " | ".join(f"{each[f'sum_{unit}']:.2f}" for each in found.values()) + " |\n")
    lines.append("| the whole file | " + " | ".join(f"{each[f'whole_{unit}']:.2f}" for each in found.values()) + " |\n")
    return lines


def tried_table(tried):
    """Lines of a table: what was tried, the millions of instructions, and how many fewer they are."""
    first = next(iter(tried.values()))
    lines = ["| tried on DenseNet-121 in int8 | millions | change |\n", "|---|--:|--:|\n"]
    for what, found in tried.items():
        lines.append(f"| {what} | {found:.2f} | {100 * (found / first - 1):+.2f} % |\n")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="files of benchmarks/export.py --folder, for the times")
    parser.add_argument("--count", metavar="PYTHON", help="runs Python on the Arm core and counts; see counted.py")
    given, found = parser.parse_args(), {}
    if given.count:
        model = build(COUNTED)
        for scheme, content in our_files(
            model, generated_images(model.input_shape[1:], IMAGES), COUNTED_SCHEMES
        ).items():
            found[f"{COUNTED} {scheme}"] = row = counted(given.count, content)
            print(scheme, row, flush=True)
        made = tries(model, generated_images(model.input_shape[1:], IMAGES))
        tried = dict(zip(made, instructions(given.count, made.values()), strict=True))
        write("operators-counted", {"files": found, "tried_millions": tried})
        rewriting_document.put(COUNT_MARKS, table(found, "millions"))
        rewriting_document.put(TRIED_MARKS, tried_table(tried))
    if given.folder:
        for net in NETS:
            for scheme in SCHEMES:
                for kind in KINDS:
                    content = (given.folder / f"{net}-{kind}-{scheme}.tflite").read_bytes()
                    found[f"{net} {scheme}, {kind}"] = row = profile(content)
                    print(net, scheme, kind, row, flush=True)
        write("operators", {"runs": RUNS, "files": found})
        rewriting_document.put(MARKS, table(found, "ms"))


def write(name, found):
    """Stores a result with its date and machine."""
    today = datetime.date.today().isoformat()
    common = {"benchmark": name, "date": today, "machine": machine(), "versions": environment.versions()}
    files.write_json(RESULTS / f"{name}-{today}.json", common | found)


if __name__ == "__main__":
    main()
