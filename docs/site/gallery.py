"""The gallery, made from the catalogue and from the stored measurements; each figure links to its JSON."""

import json
from itertools import groupby

from resdense_keras import catalog, densenets, resnets, weights
from resdense_keras.weights import table

WIDTH, HEIGHT = 96, 28  # of a drawing, in pixels
RESULTS, SHIPPED = "benchmarks/results", "resdense_keras/weights/shipped"
GROUPS = {
    "ResNets for 224x224 images": resnets.RESNETS,
    "DenseNets for 224x224 images": densenets.DENSENETS,
    "ResNets for 32x32 images": resnets.CIFAR_RESNETS,
    "DenseNets for 32x32 images": densenets.CIFAR_DENSENETS,
    "Nets for 8x8 digits": resnets.DIGITS_RESNETS | densenets.DIGITS_DENSENETS,
}


def pages(root):
    """{path in the repository that its links are relative to: Markdown}."""
    return {"docs/site/gallery.md": "\n\n".join([TITLE, *map(_group, GROUPS), *_measured(root)]) + "\n"}


TITLE = """# Gallery

What can be built, and what was measured of it. `resdense models --json` prints the first part.

In the drawings each step is a block, its height the channels that come out of it: a ResNet keeps its width inside a
stage, a DenseNet grows with every layer and halves between the stages. MACs are multiply-adds of one image; memory is
what training keeps of one image until the gradient has come back. Published accuracies are those of the weights'
authors, measured ones were measured here, on all test images; each links to its record with date and machine."""


def _group(title):
    lines = [
        f"## {title}",
        "",
        "| net | blocks | parameters | MACs | memory | weights | published | measured |",
        "|---|---|--:|--:|--:|---|--:|--:|",
    ]
    for name in GROUPS[title]:
        row = catalog.sizes()[name]
        cells = (
            f"{{py:func}}`~resdense_keras.{name}`",
            drawing(name),
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['macs'] / 1e9:.3f} G",
            f"{row['activation_bytes'] / 2**20:.1f} MiB",
            ", ".join(weights.names(name)),
            ", ".join(f"{100 * row.accuracy:.1f} %" for row in table.WEIGHTS if row.model == name),
            ", ".join(f"[{100 * row.accuracy:.1f} %]({_log(row)})" for row in table.SHIPPED if row.model == name),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _log(row):
    return f"../../{SHIPPED}/{row.model}-{row.name}.json"


def channels(name):
    """[[channels after each block] of each stage], up to a factor."""
    row = {
        key: value
        for group in GROUPS.values()
        for net, row in group.items()
        if net == name
        for key, value in row.items()
    }
    if catalog.family(name) == "densenet":
        growth, bottleneck = row.get("growth_rate", 32 if "blocks" in row else 12), row.get("bottleneck", True)
        blocks = row.get("blocks") or [(row["depth"] - 4) // (6 if bottleneck else 3)] * 3
        stages, width = [], 2 * growth if bottleneck else 16
        for count in blocks:
            stages.append([width + growth * (number + 1) for number in range(count)])
            width = int(stages[-1][-1] * row.get("compression", 0.5))
        return stages
    blocks = row.get("blocks") or [(row["depth"] - 2) // (9 if row.get("block") == "bottleneck" else 6)] * 3
    return [[2**stage] * count for stage, count in enumerate(blocks)]


def drawing(name):
    """The net's channels, block by block, as an inline picture."""
    stages = channels(name)
    total, most = sum(map(len, stages)), max(map(max, stages))
    step, x, paths = (WIDTH - 3 * (len(stages) - 1)) / total, 0.0, []
    for stage in stages:
        path = f"M{x:.1f} {HEIGHT}"
        for value, same in groupby(stage):
            path += f"V{HEIGHT - (HEIGHT - 2) * value / most:.1f}"
            x += step * len(list(same))
            path += f"H{x:.1f}"
        paths.append(f'<path d="{path}V{HEIGHT}Z"/>')
        x += 3
    what = f"{len(stages)} stages of {', '.join(str(len(stage)) for stage in stages)} blocks"
    family = catalog.family(name)
    return (
        f'<svg class="net {family}" role="img" aria-label="{what}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(paths)}</svg>'
    )


# What was measured


def _measured(root):
    yield "## Trained weights in the package\n\n" + _shipped(root)
    yield "## Compared on digits\n\n" + _compared(root)
    yield "## Accuracy of exported files\n\n" + _accuracies(root)
    yield "## Exported files against the stock converter's\n\n" + _exports(root)
    yield "## All records\n\n" + _records(root)


def _shipped(root):
    lines = ["| net | data | epochs | time | test accuracy | curve | record |", "|---|---|--:|--:|--:|---|---|"]
    for row in table.SHIPPED:
        found = _read(root, f"{SHIPPED}/{row.model}-{row.name}.json")
        lines.append(
            f"| `{row.model}` | {row.name} | {len(found['history'])} | {found['train_seconds'] / 60:.1f} min "
            f"| {100 * found['accuracy']:.2f} % | {_curve(found['history'])} | {_origin(found, _log(row))} |"
        )
    return "\n".join(lines)


def _curve(history):
    """Accuracy on the held-out images over the epochs, from 0 to 1."""
    step = WIDTH / max(1, len(history) - 1)
    points = " ".join(
        f"{number * step:.1f},{HEIGHT - HEIGHT * row['val_accuracy']:.1f}" for number, row in enumerate(history)
    )
    what = f"held-out accuracy from {history[0]['val_accuracy']:.2f} to {history[-1]['val_accuracy']:.2f}"
    return (
        f'<svg class="curve" role="img" aria-label="{what}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}"><polyline points="{points}"/></svg>'
    )


def _compared(root):
    report = _read(root, f"{RESULTS}/compare.json")
    lines = ["| net | scheme | file | accuracy | latency, one thread |", "|---|---|--:|--:|--:|"]
    for net in report["models"]:
        for export in net["exports"]:
            time = export["measurements"][0]["median_ms"] if export["measurements"] else None
            lines.append(
                f"| `{net['name']}` | {export['scheme']} | {export['bytes'] / 1e3:.0f} kB "
                f"| {100 * export['accuracy']:.1f} % | {'–' if time is None else f'{time:.3f} ms'} |"
            )
    return "\n".join([*lines, "", _origin(report, f"../../{RESULTS}/compare.json")])


def _accuracies(root):
    found = _read(root, f"{RESULTS}/export-accuracy.json")["nets"]
    schemes = ("fp32", "dynamic", "int8")
    lines = [f"| published checkpoint | images | Keras | {' | '.join(schemes)} |", "|---|--:|--:|" + "--:|" * 3]
    for name, row in found.items():
        if isinstance(row, dict) and "float" in row:
            shares = " | ".join(f"{100 * row[scheme]['accuracy']:.2f} %" for scheme in schemes)
            lines.append(f"| `{name}` | {row['images']:,} | {100 * row['float']:.2f} % | {shares} |")
    return "\n".join([*lines, "", _origin(found, f"../../{RESULTS}/export-accuracy.json")])


def _exports(root):
    lines = ["| net | scheme | ours | stock | ours / stock | record |", "|---|---|--:|--:|--:|---|"]
    for path in sorted(root.glob(f"{RESULTS}/export-*.json")):
        found = json.loads(path.read_text())
        times = found.get("times")
        for scheme, row in (times or {}).get("latency", {}).items():
            ratio = row["over_stock"]
            lines.append(
                f"| `{found['of']}` | {scheme} | {row['ours_ms']:.2f} ms | {row['stock_ms']:.2f} ms "
                f"| {ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}) "
                f"| {_origin(times, f'../../{RESULTS}/{path.name}')} |"
            )
    why = "The reasons are in [rewriting before converting](../rewriting.md)."
    return "\n".join([*lines, "", why])


def _records(root):
    lines = ["| record | date | machine |", "|---|---|---|"]
    for path in sorted(root.glob(f"{RESULTS}/*.json")):
        date, machine = _when(json.loads(path.read_text()))
        lines.append(f"| [{path.stem}](../../{RESULTS}/{path.name}) | {date} | {machine} |")
    return "\n".join(lines)


def _origin(record, link):
    """A link to a record with its date and machine."""
    return f"[{', '.join(filter(None, _when(record)))}]({link})"


def _when(record):
    """(date, machine) of a record, of its first part where it has several; "" where it does not say."""
    values = list(record.values()) if isinstance(record, dict) else record
    parts = [part for part in (record, *values) if isinstance(part, dict)]
    date = next(
        (str(part.get("date") or part["created"])[:10] for part in parts if part.keys() & {"date", "created"}), ""
    )
    machine = next((part["machine"] for part in parts if isinstance(part.get("machine"), dict)), None)
    return date, f"{machine['cpu']}, {machine['cores']} cores" if machine else ""


def _read(root, path):
    return json.loads((root / path).read_text(encoding="utf-8"))
