"""Makes report.html: one page that needs no other file, for phones and wide screens, light and dark."""

import re
from pathlib import Path
from statistics import fmean

from ..limits import WEAK_BELOW, WEAK_CALIBRATION
from ..right_answers import worst_first
from ..schemes import SCHEMES
from ..verdicts import open_gates, unproved
from . import devices, units, view, words
from .palette import COLOURS, light

# Rows of the table of nets: (title, function that writes the value, key in a model's entry).
ROWS = (
    ("parameters", units.whole, "parameters"),
    ("multiply-adds, one image", units.short, "macs"),
    ("activation memory, one training image", units.size, "activation_bytes"),
    ("peak memory, inference (counted)", units.size, "inference_peak_bytes"),
    ("peak memory, training step (measured)", units.size, "peak_training_bytes"),
    ("epochs", units.whole, "epochs"),
    ("training time", units.seconds, "train_seconds"),
)

MOST_CLASSES = 20  # in the table of classes; report.json has all

MEANINGS = (
    ("accuracy", "Share of test images whose most probable class, by the file or net, is the right one."),
    (
        "95 % interval",
        "The accuracy that other test images or seeds would give lies in it. A difference within it is noise.",
    ),
    ("parameters", "Numbers that the net stores: trained ones and moving statistics."),
    ("multiply-adds", "Multiplications with an addition, in convolutions and dense layers, for one image."),
    (
        "activation memory",
        "Bytes (as float32) of all tensors that training keeps of one image for the backward pass, each counted once.",
    ),
    ("peak memory, inference", "The largest sum of tensors alive at once while one image goes through the net."),
    ("peak memory, training", "Memory that one training step of a whole batch took on this machine."),
    ("agreement", "Share of test images for which the file and the float Keras model name the same class."),
    ("largest difference", "Largest difference of an output (usually a probability) from the Keras model's."),
    ("latency", "Milliseconds for one image: the median, and the range from the 10th to the 90th percentile."),
    (
        "×2 slower, ×2 faster",
        "A browser's median divided by this computer's for the same file: another machine, and WebAssembly.",
    ),
    ("delegated", "Operators that XNNPACK's fast kernels run, and in how many pieces; slow kernels run the rest."),
    (
        "gates",
        "Checks of a file: it opens, is finite, keeps its accuracy ... A file of ours that fails is not written.",
    ),
    (
        "not proved",
        "The limit lies inside the 95 % interval, so the figure may keep it or not. The file is written and may be "
        "used; the number of test images that would prove it is calculated from what these measured.",
    ),
    (
        "paired",
        "The 95 % interval of a difference in accuracy comes from the test images on which the two files differ; both "
        "were judged on the same images.",
    ),
    (
        "Arm instructions",
        "Instructions of one inference on one thread, counted on an emulated core; nearly the same every time.",
    ),
    ("kB, MB", "1,000 and 1,000,000 bytes."),
)


def page(report, plots):
    """The whole page as text.

    Args:
        report: A validated report, `view.printable`.
        plots: {name: plots.Drawn}.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names come from phones and files
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template("report.html.jinja").render(
        title=title(report),
        report=report,
        summary=words.summary(report),
        nets=_nets(report),
        rows=_rows(report),
        conditions=view.conditions(report),
        beside=_beside(report),
        files=_files(report),
        counted=view.counted(report),
        places=_places(report),
        by_class=_by_class(report),
        most_classes=MOST_CLASSES,
        weak=any(export.get("weak") for model in report["models"] for export in model["exports"]),
        plots={name: (drawn, _inline(name, drawn.svg)) for name, drawn in plots.items()},
        meanings=_meanings(report),
        weak_below=WEAK_BELOW,
        weakly_calibrated=_weakly_calibrated(report),
        weak_calibration=WEAK_CALIBRATION,
        doubts=report["data"].get("calibration_doubts", ()),
        colours=COLOURS,
        origin=_origin(report),
    )


def _meanings(report):
    """(what, meaning) of everything that the page shows; schemes come last."""
    shown = [scheme for scheme in view.schemes(report["models"]) if scheme in SCHEMES]
    return [*MEANINGS, *((scheme, f"How a file stores numbers: {SCHEMES[scheme].meaning}") for scheme in shown)]


def title(report):
    """`ResNet and DenseNet on digits`, or the names of the nets."""
    models = report["models"]
    families = list(dict.fromkeys(view.label(model) for model in models if model["family"] in ("resnet", "densenet")))
    subject = units.listing(families) if len(families) == 2 else units.listing([model["name"] for model in models[:3]])
    return f"{subject} on {report['data']['spec']}" if report["data"]["spec"] else subject


def _breakable(name):
    """A name with places to break after its underscores and slashes."""
    from markupsafe import Markup, escape

    return Markup(re.sub("([_/])", r"\1<wbr>", str(escape(name))))


def _nets(report):
    return [
        {"name": model["name"], "family": view.look(model), "label": view.label(model)} for model in report["models"]
    ]


def _rows(report):
    """(what, [cell of each net]) for the table of nets; a cell is a list of lines."""
    images = view.test_images(report)
    rows = [(what, [[write(model[key])] for model in report["models"]]) for what, write, key in ROWS]
    rows.append(
        ("accuracy, exported weights", [[units.percent(model["accuracy"], images)] for model in report["models"]])
    )
    rows.append(("accuracy, mean over seeds", [_spread(model, images) for model in report["models"]]))
    return [(what, cells) for what, cells in rows if any(cell != [units.NOTHING] for cell in cells)]


def _spread(model, images):
    """Mean, lowest and highest value of the seeds."""
    seeds = model["accuracy_by_seed"]
    if len(seeds) < 2:
        return [units.NOTHING]
    spread = units.percents(min(seeds), max(seeds), images)
    return [units.percent(fmean(seeds), images), spread, units.count(len(seeds), "seed")]


def _files(report):
    """One group per net: its files as rows of the table, and the schemes that were not written."""
    conditions, computer = view.conditions(report), devices.computer(report)
    return [
        {
            "net": net,
            "rows": [_file(export, conditions, computer) for export in view.ordered(model)],
            "rejected": {
                scheme: "; ".join(f"{gate}: {why}" for gate, why in gates.items())
                for scheme, gates in model.get("rejected", {}).items()
            },
        }
        for net, model in zip(_nets(report), report["models"], strict=True)
    ]


def _beside(report):
    """The files of two nets, scheme by scheme: (the nets, the conditions, rows); None without two nets."""
    pair = view.pair(report)
    rows = view.side_by_side(report, pair) if pair else []
    if not rows:
        return None
    conditions, counted = view.conditions(report), view.counted(report)
    return [model["name"] for model in pair], conditions, [_both(row, conditions, counted) for row in rows]


def _both(row, conditions, counted):
    """One row: for each figure the two values and their difference or ratio."""
    exports, found, images = (row.first, row.second), row.difference, row.second["images"]
    cells = [_pair([export["bytes"] for export in exports], units.size)]
    if counted:
        cells.append(_pair([export.get("instructions") for export in exports], units.short))
    for condition in conditions:
        times = [view.measured(export, condition) for export in exports]
        cells.append(_pair([time and time["median_ms"] for time in times], units.milliseconds))
    shares = f"{units.percent(row.first['accuracy'], images)} → {units.percent(row.second['accuracy'], images)}"
    accuracy = [shares]
    if found is not None:
        change = found.reversed()
        kind = "paired" if row.paired else "not paired"
        accuracy.append(f"{_plus(change.value, images)} points")
        accuracy.append(f"{units.points(change.low, images)} to {units.points(change.high, images)}, {kind}")
    return {"scheme": row.scheme, "accuracy": accuracy, "cells": cells}


def _plus(value, images):
    text = units.points(value, images)
    return f"+{text}" if value > 0 and float(text) else text


def _pair(values, write):
    """[`318 kB → 160 kB`, `×0.50`]."""
    times = [f"×{values[1] / values[0]:.2f}"] if all(values) else []
    return [f"{write(values[0])} → {write(values[1])}", *times]


def _places(report):
    """The table of what ran where: (the browsers' conditions, one group per net with a row per file); None where
    nothing is known."""
    conditions = [found for found in view.conditions(report) if found != devices.computer(report)]
    exports = [export for model in report["models"] for export in model["exports"]]
    if not any(export["delegated"] for export in exports) and not conditions:
        return None
    groups = [
        {"net": net, "rows": [_place(export, conditions) for export in view.ordered(model)]}
        for net, model in zip(_nets(report), report["models"], strict=True)
    ]
    return conditions, groups


def _place(export, conditions):
    measured = [view.measured(export, condition) for condition in conditions]
    return {
        "scheme": export["scheme"],
        "stock": export["converter"] == "stock",
        "here": devices.delegated(export),
        "ran": [units.NOTHING if row is None else devices.ran(row) for row in measured],
    }


def _file(export, conditions, computer):
    here = computer and view.measured(export, computer)
    images, interval = export["images"], export["accuracy_interval"]
    difference = export["max_difference"]
    return {
        "scheme": export["scheme"],
        "stock": export["converter"] == "stock",
        "file": export["file"],
        "size": units.size(export["bytes"]),
        "zipped": export.get("zipped_bytes") and units.size(export["zipped_bytes"]),
        "accuracy": units.percent(export["accuracy"], images),
        "interval": interval and units.percents(*interval, images),
        "agreement": units.percent(export["agreement"], images),
        "difference": units.NOTHING if difference is None else f"{difference:.2g}",
        "instructions": units.short(export.get("instructions")),
        "latencies": [_time(view.measured(export, condition), here) for condition in conditions],
        "gates": _gates(export),
    }


def _time(measurement, here):
    """One cell: the median, its range, its ratio to the computer's median, and whether the answers differed."""
    if measurement is None:
        return {"median": units.NOTHING, "range": None, "times": None, "wrong": None}
    edges = measurement["p10_ms"], measurement["p90_ms"]
    shown = None if None in edges else " to ".join(units.significant(edge) for edge in edges)
    return {
        "median": units.milliseconds(measurement["median_ms"]),
        "range": shown,
        "times": devices.times_of_computer(measurement, here),
        "wrong": devices.wrong(measurement),
    }


def _gates(export):
    """How many gates the file passed, which it failed, and what its images do not prove."""
    judged = {name: gate for name, gate in export["gates"].items() if gate}
    failed = [(name, judged[name].get("detail", "")) for name in view.failed(export)]
    notes = [note for note in (unproved(export), view.in_float32(export)) if note]
    unclear = len(open_gates(export))
    passed = f"{len(judged) - len(failed) - unclear} passed" + (f", {unclear} not proved" if unclear else "")
    return {"passed": passed, "failed": failed, "notes": notes}


def _by_class(report):
    """(schemes, rows, number of classes): the classes of the one net of a report, the worst first, MOST_CLASSES at
    most; None where it has several nets or nothing is known of classes."""
    rows = worst_first(report["models"][0].get("by_class", ()))
    if len(report["models"]) > 1 or not rows:
        return None
    schemes = list(rows[0]["right"])
    shown = [
        (
            row["name"],
            units.whole(row["images"]),
            [units.percent(row["right"][scheme] / row["images"], row["images"]) for scheme in schemes],
        )
        for row in rows[:MOST_CLASSES]
    ]
    return schemes, shown, len(rows)


def _weakly_calibrated(report):
    """{number of images: [schemes]} of files that fewer than WEAK_CALIBRATION images calibrated, as text; None where
    there are none."""
    rows = [export for model in report["models"] for export in model["exports"]]
    few = [row for row in rows if 0 < (row.get("calibration_images") or 0) < WEAK_CALIBRATION]
    if not few:
        return None
    schemes = ", ".join(dict.fromkeys(row["scheme"] for row in few))
    return f"{schemes} on {min(row['calibration_images'] for row in few)}"


def _origin(report):
    """(what, text) on how the report was made."""
    machine, data = report["machine"], report["data"]
    splits = [
        f"{units.count(data[split], 'image')} {text}"
        for split, text in (("train", "to train on"), ("validation", "to watch"), ("test", "to judge on"))
        if data[split]
    ]
    shape = data["image_shape"] and f"{' × '.join(map(str, data['image_shape']))} (height, width, channels)"
    shape = shape and shape + (f", resized by {data['resize']}" if data.get("resize") else "")
    parts = [data["spec"], *splits, data["classes"] and units.count(data["classes"], "class", "classes"), shape]
    rows = [
        ("data", ", ".join(filter(None, parts)) or "none"),
        ("command", report["command"]),
        ("seed", units.whole(report["seed"])),
        ("made", report["created"]),
        ("machine", f"{machine['cpu'] or 'unknown'}, {units.count(machine['cores'] or 0, 'core')}"),
        ("instruction sets", ", ".join(machine["flags"]) or units.NOTHING),
        ("versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items())),
    ]
    for condition in view.conditions(report):
        rows.append(("measured on", ", ".join(filter(None, (condition.name, condition.os, condition.details)))))
    return rows


# The plots inside the page


def _inline(name, svg):
    """A plot for the page: its colours follow the theme, its ids are unique, its text has the page's font."""
    from xml.etree import ElementTree

    from markupsafe import Markup

    root = ElementTree.fromstring(svg)
    for definitions in root.findall(".//{*}defs"):
        for style in definitions.findall("{*}style"):
            definitions.remove(style)  # would apply to the whole page
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: _themed(name, key, value) for key, value in element.attrib.items()}
    for key in ("width", "height", "version"):
        del root.attrib[key]  # the page gives it its size
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-caption"}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _themed(name, key, value):
    """One attribute of a plot."""
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href"):
        return value.replace("#", f"#{name}-")
    value = value.replace("url(#", f"url(#{name}-")
    for colour in COLOURS:
        value = value.replace(light(colour), f"var(--{colour})")
    return re.sub("font-family: .*?(;|$)", r"font-family: inherit\1", value)
