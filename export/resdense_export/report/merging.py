"""Combines the reports of several folders into one."""

import copy
import shutil
from pathlib import Path

from resdense_keras import files
from resdense_keras.errors import RequestError, WorkError

from . import units
from .devices import browser
from .schema import read_report


def read(folders):
    """[(folder, its report)] for two or more folders.

    Raises:
        RequestError: there are fewer, a folder is given twice, or one has no report.
    """
    folders = [Path(folder) for folder in folders]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        shown = ", ".join(map(str, folders))
        raise RequestError(f"{shown} was given; give two or more different folders")
    return [(folder, read_report(folder)) for folder in folders]


def merged(found):
    """(report of all models in order, {folder in the report: its bundle}); `file` paths begin with that folder.

    Values that differ between the reports, such as numbers of images, are null; names that differ are listed. A model
    that shares its name with another gets the name of its folder added.
    """
    models, places = [], {}
    names = [model["name"] for _, report in found for model in report["models"]]
    for folder, report in found:
        for model in copy.deepcopy(report["models"]):
            name = model["name"] if names.count(model["name"]) == 1 else f"{model['name']}-{folder.resolve().name}"
            while name in {other["name"] for other in models}:
                name += "-2"
            model["name"] = name
            for export in model["exports"]:
                source = folder / export["file"]
                places[name] = source.parent
                export["file"] = f"{name}/{source.name}"
            models.append(model)
    reports = [report for _, report in found]
    versions = dict.fromkeys(name for report in reports for name in report["versions"])
    return {
        **reports[0],
        "seed": _same([report["seed"] for report in reports]),
        "versions": {name: _listed([report["versions"].get(name) for report in reports]) for name in versions},
        "data": _data([report["data"] for report in reports]),
        "models": models,
    }, places


def copy_bundles(places, out):
    """Copies each bundle to its folder in `out`, without its own report.

    Raises:
        WorkError: a file has changed since it was written.
    """
    for place, source in places.items():
        if problems := files.verify_manifest(source):
            raise WorkError(f"{source}: {'; '.join(problems[:3])}", "export the net again")
        shutil.copytree(source, out / place, ignore=shutil.ignore_patterns("report.*", ".*"))


def of_browsers(measurements):
    """The measurements of browsers, which stay when this computer measures again."""
    return [row for row in measurements if browser(row)]


def _data(rows):
    keys = dict.fromkeys(key for row in rows for key in row)
    merged = {key: _same([row.get(key) for row in rows]) for key in keys}
    merged["spec"] = _listed([row["spec"] for row in rows]) or None
    if merged.get("understood", "") is None:
        del merged["understood"]
    if doubts := dict.fromkeys(doubt for row in rows for doubt in row.get("calibration_doubts", ())):
        merged["calibration_doubts"] = list(doubts)
    if any(row["test"] for row in rows) and merged.get("judged_sha256") is None:
        merged["note"] = "it is not known whether all nets were judged on the same images."
    return merged


def _same(values):
    return values[0] if all(value == values[0] for value in values) else None


def _listed(values):
    """`a`, or `a and b` where they differ."""
    different = [value for value in dict.fromkeys(values) if value]
    return units.listing(different) if different else ""
