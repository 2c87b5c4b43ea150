"""Writes README.md's table from a stored report: `python docs/readme_table.py [report.json]`.

Without an argument the stored report is used (benchmarks/results/compare.json); with one, it is stored first. A test
checks that README and stored report agree.
"""

import json
import sys
from pathlib import Path

from resdense_keras import files

ROOT = Path(__file__).parent.parent
STORED = ROOT / "benchmarks" / "results" / "compare.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- table: python docs/readme_table.py -->", "<!-- end of table -->"
FAMILIES = {"resnet": "ResNet", "densenet": "DenseNet-BC", "plain": "plain, no shortcut"}


def table(report):
    """The Markdown of the README's table: a column a net, a row a property."""
    nets = report["models"]
    rows = {
        "": [f"{FAMILIES.get(net['family'], net['family'])} (`{net['name']}`)" for net in nets],
        "connection": [
            {"resnet": "`y = x + F(x)`", "densenet": "`y = [x, F(x)]`"}.get(net["family"], "`y = F(x)`") for net in nets
        ],
        "parameters": [f"{net['parameters']:,}" for net in nets],
        "MACs of one image": [f"{net['macs'] / 1e6:.1f} M" for net in nets],
        "activations kept for the gradient": [f"{net['activation_bytes'] / 1024:.0f} KiB" for net in nets],
        "peak memory of a training step": [_mib(net["peak_training_bytes"]) for net in nets],
        "activations alive at once in inference": [f"{net['inference_peak_bytes'] / 1024:.0f} KiB" for net in nets],
        f"test accuracy, {len(nets[0]['accuracy_by_seed'])} seeds": [_spread(net["accuracy_by_seed"]) for net in nets],
    }
    for scheme in ("fp32", "int8"):
        exports = [_export(net, scheme) for net in nets]
        rows[f"{scheme} file"] = [f"{export['bytes'] / 1000:.0f} kB" if export else "–" for export in exports]
        rows[f"{scheme} accuracy"] = [f"{100 * export['accuracy']:.1f} %" if export else "–" for export in exports]
        rows[f"{scheme} latency, one thread"] = [_latency(export) for export in exports]
    header, *body = [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    return "\n".join([header, "|---|" + "--:|" * len(nets), *body, "", _source(report)])


def _source(report):
    data, machine = report["data"], report["machine"]
    return (
        f"`{report['command']}` on {report['created'][:10]}, {data['spec']}: {data['train']:,} training and "
        f"{data['test']} test images of {data['image_shape'][0]}x{data['image_shape'][1]}; {machine['cpu']}, "
        f"{machine['cores']} cores. Seeds vary as shown; latencies compare within this run only."
    )


def _export(net, scheme):
    found = (e for e in net["exports"] if (e["scheme"], e["converter"]) == (scheme, "rewritten"))
    return next(found, None)


def _latency(export):
    return f"{export['measurements'][0]['median_ms']:.3f} ms" if export and export["measurements"] else "–"


def _mib(count):
    return "–" if count is None else f"{count / 2**20:.0f} MiB"


def _spread(accuracies):
    low, high = min(accuracies), max(accuracies)
    mean = sum(accuracies) / len(accuracies)
    return f"{100 * mean:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def with_table(readme, report):
    """The README's text with the table of `report` between the two marks."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{table(report)}\n{END}{rest.split(END)[1]}"


def main():
    if len(sys.argv) > 1:
        files.write_json(STORED, json.loads(Path(sys.argv[1]).read_text()))
    files.write_text(README, with_table(README.read_text(), json.loads(STORED.read_text())))


if __name__ == "__main__":
    main()
