"""What the server has to give: a bundle or a folder of bundles, read once into a table of exact paths."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from resdense_keras import files
from resdense_keras.errors import RequestError, WorkError

from ..limits import DRIFT
from ..report import read_report
from ..report.schema import REPORT
from ..schemes import shown

PAGE = Path(__file__).with_name("page")
SNIPPETS = Path(__file__).parents[1] / "bundle" / "snippets"
CHUNK = 64 * 1024
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".tflite": "application/octet-stream",
}


@dataclass(frozen=True)
class Served:
    """One thing that can be fetched: a file, read a piece at a time, or bytes. `private`: for holders of the token."""

    source: Path | bytes
    kind: str
    private: bool

    def opened(self):
        """(size in bytes, iterator over the content): a slow reader holds a piece of it in memory and no more."""
        if isinstance(self.source, bytes):
            return len(self.source), iter([self.source])
        file = self.source.open("rb")
        return os.fstat(file.fileno()).st_size, _pieces(file)


@dataclass(frozen=True)
class Bundle:
    """One net of a report with the folder of its files.

    Attributes:
        report: Folder of the report.json that it stands in.
        number: Its place in that report's `models`.
        folder: Where its files lie.
        description: model.json.
        golden: golden.json's images without the probabilities, or None.
        labels: Class names, or None.
    """

    report: Path
    number: int
    folder: Path
    description: dict
    golden: dict | None
    labels: list[str] | None


@dataclass
class Site:
    """Everything that is served from one folder.

    Attributes:
        folder: What the user named.
        bundles: Those in it.
        table: {path of a request: Served}; the runtime's files join it when they are there.
    """

    folder: Path
    bundles: list[Bundle]
    table: dict[str, Served] = field(default_factory=dict)

    @cached_property
    def reports(self):
        """The folders that hold a report.json, each once."""
        return list(dict.fromkeys(bundle.report for bundle in self.bundles))

    def catalog(self):
        """What the page has to know, as JSON: nets, files, and every measurement so far."""
        reports = {folder: read_report(folder) for folder in self.reports}
        return {
            "schema": "resdense-catalog/1",
            "drift": DRIFT,
            "models": [
                _model(number, bundle, reports[bundle.report]["models"][bundle.number])
                for number, bundle in enumerate(self.bundles)
            ],
        }


def read(folder):
    """The Site of a bundle or a folder of bundles, every file compared with its manifest.

    Raises:
        RequestError: no such folder, or no report in it.
        WorkError: a file is not as it was written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RequestError(f"there is no folder {str(folder)!r}", "give one that `resdense export` or `compare` made")
    places = [folder] if (folder / REPORT).is_file() else sorted(path.parent for path in folder.glob(f"*/{REPORT}"))
    bundles = [bundle for place in places for bundle in _bundles(place)]
    if not bundles:
        raise RequestError(
            f"{str(folder)!r} holds no bundle with a {REPORT}", "`resdense compare` and `resdense export` make one"
        )
    _check_unchanged({bundle.folder for bundle in bundles})
    site = Site(folder, bundles)
    site.table.update(page())
    for number, bundle in enumerate(bundles):
        site.table.update(_files(number, bundle))
    return site


def _bundles(place) -> Iterator[Bundle]:
    for number, model in enumerate(read_report(place)["models"]):
        if model["exports"]:
            folder = (place / model["exports"][0]["file"]).parent
            yield Bundle(place, number, folder, *_described(folder))


def _described(folder):
    """(model.json, golden without probabilities, labels) of a bundle."""
    try:
        description = json.loads((folder / "model.json").read_bytes())
        labels = folder / "labels.txt"
        golden = folder / "golden" / "golden.json"
        return (
            {key: description[key] for key in ("name", "input", "output")},
            _without_probabilities(json.loads(golden.read_bytes())) if golden.is_file() else None,
            labels.read_text("utf-8").splitlines() if labels.is_file() else None,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkError(f"{folder} is not a bundle: {error!r}", "make it again with `resdense export`") from error


def _without_probabilities(golden):
    images = [{"image": row["image"], "label": row["label"]} for row in golden["images"]]
    return {"tolerance": golden["tolerance"], "images": images}


def _check_unchanged(folders):
    problems = [f"{folder}: {problem}" for folder in sorted(folders) for problem in files.verify_manifest(folder)]
    if problems:
        raise WorkError(
            f"{problems[0]}" + (f", and {len(problems) - 1} more" if len(problems) > 1 else ""),
            "`resdense check` lists all; make the bundle again, nobody should measure changed files",
        )


def page():
    """The page and its modules, by their own names."""
    names = [SNIPPETS / "classify.mjs", *(path for path in PAGE.iterdir() if path.suffix in (".css", ".js"))]
    return {"/": _served(PAGE / "index.html", private=False)} | {
        f"/{path.name}": _served(path, private=False) for path in names
    }


def _files(number, bundle):
    """The files of one bundle, under numbers: no name of the disk is a part of an address."""
    report = read_report(bundle.report)["models"][bundle.number]
    table = {
        f"/model/{number}/{place}.tflite": _served(bundle.report / export["file"])
        for place, export in enumerate(report["exports"])
        if (bundle.report / export["file"]).is_file()
    }
    if bundle.golden:
        folder = bundle.folder / "golden"
        table[f"/golden/{number}/golden.json"] = _served(folder / "golden.json")
        known = {path.name: path for path in folder.glob("*.png")}
        for place, row in enumerate(bundle.golden["images"]):
            if row["image"] in known:
                table[f"/golden/{number}/{place}.png"] = _served(known[row["image"]])
    return table


def _served(path, private=True):
    return Served(path, _KINDS[path.suffix], private)


def _model(number, bundle, model):
    """One net as the page sees it."""
    golden = bundle.golden and {
        "tolerance": bundle.golden["tolerance"],
        "probabilities": f"/golden/{number}/golden.json",
        "images": [
            {"url": f"/golden/{number}/{place}.png", "label": row["label"]}
            for place, row in enumerate(bundle.golden["images"])
        ],
    }
    keys = ("file", "scheme", "converter", "bytes", "sha256", "accuracy")
    return {
        "name": model["name"],
        "family": model["family"],
        "input": bundle.description["input"],
        "output": bundle.description["output"],
        "labels": bundle.labels,
        "golden": golden,
        "files": [
            {
                **{key: export[key] for key in keys},
                **shown(export["scheme"]),
                "name": Path(export["file"]).name,
                "url": f"/model/{number}/{place}.tflite",
                "measurements": export["measurements"],
            }
            for place, export in enumerate(model["exports"])
            if (bundle.report / export["file"]).is_file()
        ],
    }


def _pieces(file):
    with file:
        while piece := file.read(CHUNK):
            yield piece
