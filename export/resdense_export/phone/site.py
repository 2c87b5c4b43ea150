"""What the server offers: a bundle or a folder of bundles, read once into a table of exact paths."""

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
    """One thing that can be fetched: a file, which is read piece by piece, or bytes. `private` things need the token.

    `stamp` is the file's stamp when the server started: a file that was made again since then is not the one that the
    page lists.
    """

    source: Path | bytes
    kind: str
    private: bool
    stamp: tuple[int, ...] | None = None

    def opened(self):
        """(size in bytes, iterator over the content). A slow reader keeps only one piece in memory.

        Raises:
            OSError: the file is gone or was replaced.
        """
        if isinstance(self.source, bytes):
            return len(self.source), iter([self.source])
        file = self.source.open("rb")
        found = os.fstat(file.fileno())
        if self.stamp not in (None, _stamp(found)):
            file.close()
            raise FileNotFoundError(self.source)
        return found.st_size, _pieces(file)


@dataclass(frozen=True)
class Bundle:
    """One net of a report with the folder of its files.

    Attributes:
        report: Folder of its report.json.
        number: Its index in that report's `models`.
        folder: Folder of its files.
        description: Content of model.json.
        golden: golden.json's images without the probabilities, or None.
        labels: Class names, or None.
        files: {file of the report: (sha256, address)}.
    """

    report: Path
    number: int
    folder: Path
    description: dict
    golden: dict | None
    labels: list[str] | None
    files: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass
class Site:
    """All that is served from one folder.

    Attributes:
        folder: The folder that the user named.
        bundles: The bundles in it.
        table: {path of a request: Served}; the runtime's files are added when they are available.
    """

    folder: Path
    bundles: list[Bundle]
    table: dict[str, Served] = field(default_factory=dict)

    @cached_property
    def reports(self):
        """The folders that hold a report.json, each once."""
        return list(dict.fromkeys(bundle.report for bundle in self.bundles))

    @cached_property
    def locked(self):
        """The folders that no other run may write to while a report grows.

        `resdense export` locks its bundle and `compare` its folder of bundles, so it is not enough to lock the folder
        that is served. The order is always the same, so that two processes that need several locks cannot block each
        other.
        """
        return sorted({self.folder, *self.reports, *(bundle.folder for bundle in self.bundles)})

    def catalog(self):
        """What the page needs to know, as JSON: nets, files, and all measurements so far.

        Raises:
            ResdenseError, LookupError: a report has changed and cannot be used.
            WorkError: all files of a net were made again since the start.
        """
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
    """The Site of a bundle or a folder of bundles; every file is compared with its manifest.

    Raises:
        RequestError: there is no such folder, or no report in it.
        WorkError: a file is not as it was written.
    """
    folder = Path(folder)
    if folder.is_file():
        raise RequestError(f"{str(folder)!r} is a file, not a folder", f"give the bundle around it: {folder.parent}")
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
        site.table.update(_models(number, bundle))
        site.table.update(_golden(number, bundle))
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


def _models(number, bundle):
    """The .tflite files of one bundle under numbers, so that no file name is part of an address."""
    table = {}
    for place, export in enumerate(read_report(bundle.report)["models"][bundle.number]["exports"]):
        path, address = bundle.report / export["file"], f"/model/{number}/{place}.tflite"
        if path.is_file():
            table[address] = _served(path)
            bundle.files[export["file"]] = export["sha256"], address
    return table


def _golden(number, bundle):
    """Its golden images, also under numbers."""
    table = {}
    if bundle.golden:
        folder = bundle.folder / "golden"
        table[f"/golden/{number}/golden.json"] = _served(folder / "golden.json")
        known = {path.name: path for path in folder.glob("*.png")}
        for place, row in enumerate(bundle.golden["images"]):
            if row["image"] in known:
                table[f"/golden/{number}/{place}.png"] = _served(known[row["image"]])
    return table


def _served(path, private=True):
    return Served(path, _KINDS[path.suffix], private, _stamp(path.stat()) if private else None)


def _stamp(status):
    return status.st_ino, status.st_size, status.st_mtime_ns


def _model(number, bundle, model):
    """One net, for the page."""
    golden = bundle.golden and {
        "tolerance": bundle.golden["tolerance"],
        "probabilities": f"/golden/{number}/golden.json",
        "images": [
            {"url": f"/golden/{number}/{place}.png", "label": row["label"]}
            for place, row in enumerate(bundle.golden["images"])
        ],
    }
    keys = ("file", "scheme", "converter", "bytes", "sha256", "accuracy")
    exports = [export for export in model["exports"] if bundle.files.get(export["file"], "")[:1] == (export["sha256"],)]
    if bundle.files and not exports:
        raise WorkError(f"{bundle.folder} was made again since the start", "start `resdense phone` again")
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
                "url": bundle.files[export["file"]][1],
                "zipped_bytes": export.get("zipped_bytes"),
                "measurements": export["measurements"],
            }
            for export in exports
        ],
    }


def _pieces(file):
    with file:
        while piece := file.read(CHUNK):
            yield piece
