"""Finds what is shown of a report: the files of a net, the devices, the pair to compare."""

import re
from dataclasses import dataclass, replace

from ..schemes import rank
from . import noise
from .palette import FAMILIES

# Characters that XML does not allow; a plot with one of them would not open.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FLOATS = {"fp32": "float32", "fp16": "float16"}  # what a GPU may compute in, by the page's names


@dataclass(frozen=True)
class Condition:
    """Where and how files were measured; times of two conditions are never combined into one number."""

    device: str
    runtime: str
    accelerator: str
    threads: int | None
    name: str
    os: str

    @property
    def key(self):
        """Key that tells conditions apart."""
        return self.device, self.runtime, self.accelerator, self.threads

    @property
    def details(self):
        """`ai-edge-litert 2.3.0, cpu, 1 thread`."""
        return ", ".join(part for part in (self.runtime, self.place) if part)

    @property
    def place(self):
        """`cpu, 1 thread`."""
        threads = self.threads and (f"{self.threads} thread" + "s" * (self.threads != 1))
        return ", ".join(part for part in (self.accelerator, threads) if part)


def printable(value):
    """A copy of JSON data in which every string can be shown: control characters become a replacement character."""
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [printable(item) for item in value]
    return _UNPRINTABLE.sub("\ufffd", value) if isinstance(value, str) else value


def with_looks(report):
    """The report with a `look` in each model: the family whose colour and line draw it.

    It is the model's own, but a further net of one family takes that of a family which the report does not have.
    """
    families, looks, models = [model["family"] for model in report["models"]], set(), []
    for model in report["models"]:
        spare = [name for name in FAMILIES if name not in looks and name not in families]
        look = spare[0] if model["family"] in looks and spare else model["family"]
        looks.add(look)
        models.append({**model, "look": look})
    return {**report, "models": models}


def look(model):
    """The family whose colour and line draw a model."""
    return model.get("look", model["family"])


def label(model):
    """`ResNet`."""
    return FAMILIES[model["family"]].label


def exports(model, converter="rewritten"):
    """{scheme: export} for one converter, in the order of the schemes."""
    found = {export["scheme"]: export for export in model["exports"] if export["converter"] == converter}
    return dict(sorted(found.items(), key=lambda item: rank(item[0])))


def ordered(model):
    """All files of a model by scheme; the stock converter's twin follows ours."""
    return sorted(model["exports"], key=lambda export: (rank(export["scheme"]), export["converter"]))


def schemes(models):
    """All schemes of some models, in order."""
    return sorted({export["scheme"] for model in models for export in model["exports"]}, key=rank)


def conditions(report):
    """The report's conditions, in the order in which they first appear.

    A device has the last name that it was given; of several devices with one name all but the first get a number.
    """
    found, names = {}, {}
    for model in report["models"]:
        for export in model["exports"]:
            for measurement in export["measurements"]:
                condition = _condition(measurement)
                found.setdefault(condition.key, condition)
                names[condition.device] = condition.name
    same = {}  # {name: devices that have it, in order}
    for device, name in names.items():
        same.setdefault(name, []).append(device)
    numbers = {device: place for devices in same.values() for place, device in enumerate(devices, start=1)}

    def named(device):
        return f"{names[device]} ({numbers[device]})" if numbers[device] > 1 else names[device]

    return [replace(condition, name=named(condition.device)) for condition in found.values()]


def measured(export, condition):
    """The measurement of a file under a condition, the last one where there are several; None without a median."""
    found = [row for row in export["measurements"] if _condition(row).key == condition.key]
    return found[-1] if found and found[-1]["median_ms"] is not None else None


def failed(export):
    """Names of the gates that a file failed."""
    return [name for name, gate in export["gates"].items() if gate and not gate["passed"]]


def in_float32(export):
    """Why a file of ours that could be computed in float16 is computed in float32; None for other files."""
    found = export["gates"].get("half_range")
    silent = found and export.get("half") is False and export["converter"] == "rewritten"
    return f"computed in float32: {found['detail']}" if silent else None


def _condition(measurement):
    device = measurement["device"]
    # Whether XNNPACK or a GPU runs a whole file depends on the file, not on the device, so all files share a column.
    accelerator = (measurement["accelerator"] or "").removeprefix("xnnpack-").removesuffix("-partial")
    # Only a GPU is asked for a precision; where the processor ran instead, it has its usual one.
    precision = accelerator == "webgpu" and measurement.get("precision")
    accelerator += f" in {FLOATS.get(precision, precision)}" if precision else ""
    return Condition(
        device["id"], measurement["runtime"], accelerator, measurement["threads"], device["name"], device["os"] or ""
    )


def test_images(report):
    """Number of images that the accuracies come from, or None."""
    counts = [export["images"] or 0 for model in report["models"] for export in model["exports"]]
    return report["data"]["test"] or max(counts, default=0) or None


def pair(report):
    """The two models that the words compare, in the report's order; None where there is only one.

    They are the ResNet and the DenseNet that are nearest in parameters; without such a pair the first two nets, with
    controls last.
    """
    models = report["models"]
    residual, dense = (_family(models, name) for name in ("resnet", "densenet"))
    if residual and dense:
        chosen = min(((one, two) for one in residual for two in dense), key=_size_ratio)
    else:
        chosen = sorted(models, key=lambda model: model["family"] == "plain")[:2]
    return tuple(sorted(chosen, key=_position(models))) if len(chosen) == 2 else None


def counted(report):
    """Whether Arm instructions of a file are known."""
    return any(export.get("instructions") for model in report["models"] for export in model["exports"])


@dataclass(frozen=True)
class Beside:
    """Files of one scheme of two nets; `difference`: noise.Difference of their accuracies or None, `paired` or not."""

    scheme: str
    first: dict
    second: dict
    difference: noise.Difference | None
    paired: bool


def side_by_side(report, pair):
    """A Beside for each scheme that both nets have."""
    first, second = (exports(model) for model in pair)
    same = bool(report["data"].get("judged_sha256"))
    return [
        Beside(
            scheme,
            first[scheme],
            second[scheme],
            noise.file_difference(first[scheme], second[scheme], same),
            noise.is_paired(first[scheme], second[scheme], same),
        )
        for scheme in first
        if scheme in second
    ]


def control(report, pair):
    """(plain net, ResNet of `pair`) where the report has both and the pair is not these two, else None."""
    plain, residual = _family(report["models"], "plain"), _family(pair, "resnet")
    if not (plain and residual) or _family(pair, "plain"):
        return None
    return min(((one, residual[0]) for one in plain), key=_size_ratio)


def _family(models, name):
    return [model for model in models if model["family"] == name]


def _position(models):
    return lambda model: next(place for place, other in enumerate(models) if other is model)


def _size_ratio(two):
    small, large = sorted(model["parameters"] or 0 for model in two)
    return large / small if small else float("inf")
