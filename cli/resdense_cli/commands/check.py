"""`resdense check`: gates and manifests of files and bundles, made here or elsewhere."""

import contextlib
import json
from pathlib import Path
from typing import Annotated

import typer

from resdense_keras import files
from resdense_keras.errors import RequestError, WorkError

from ..options import Json
from ..output import columns, print_json, print_table

ORDER = 50


def command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE_OR_DIR...", help=".tflite files, bundles, or folders of bundles.")
    ],
    as_json: Json = False,
):
    """Gates and manifest of .tflite files and bundles, made here or elsewhere."""
    findings = inspect(paths)
    print_json(findings) if as_json else print_table(table(findings))
    failed = [finding["path"] for finding in findings if finding["problems"]]
    if failed:
        raise WorkError(f"{len(failed)} of {len(findings)} failed: {', '.join(failed)}", "do not ship these files")


def inspect(paths):
    """What is wrong with each .tflite file, and with each folder that has a manifest.

    Args:
        paths: .tflite files, bundles, or folders of bundles.
    Returns:
        [{"path", "problems": [sentence], "notes": [sentence], "gates"}], folders with `gates` null.
    Raises:
        RequestError: a path that does not exist, or a folder without a .tflite file.
    """
    return [finding for path in paths for finding in _inspect(Path(path))]


def _inspect(path):
    if path.is_file():
        yield _judged(path)
        return
    if not path.is_dir():
        raise RequestError(f"there is no file or folder {str(path)!r}", "give .tflite files or bundles")
    found = sorted(path.rglob("*.tflite"))
    if not found:
        raise RequestError(f"{str(path)!r} holds no .tflite file", "give a folder that `resdense export` made")
    for folder in sorted({file.parent for file in (*found, *path.rglob(files.MANIFEST))}):
        yield {"path": str(folder), "problems": files.verify_manifest(folder), "notes": [], "gates": None}
    for file in found:
        yield _judged(file)


def _judged(path):
    from resdense_export.judging.check import check

    # A child process of its own: a hostile file could skew the next one's result.
    found = check(path, float_layers=_float_layers(path), partitions=_partitions(path))
    problems = [f"{gate}: {why}" for gate, why in found.failures.items()]
    return {"path": str(path), "problems": problems, "notes": list(found.notes), "gates": found.gates}


def _partitions(path):
    """Pieces in which XNNPACK takes the fp32 file beside an fp16 one of the same net; None where there is none."""
    from resdense_export.tflite.child import Child, Fault

    net, dash, _ = path.name.rpartition("-fp16.")
    twin = path.with_name(f"{net}-fp32.tflite")
    if not dash or not twin.is_file():
        return None
    with Child() as child, contextlib.suppress(Fault):
        return child.open(twin)["delegated"]["partitions"]


def _float_layers(path):
    """The layers that the model.json beside an int8 file says it keeps in float; a file alone keeps none."""
    try:
        kept = json.loads((path.parent / "model.json").read_bytes())["files"][path.name]["float_layers"]
        return [name for name in kept if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def table(rows):
    """What `resdense check` found, a line each problem and note."""
    table = columns("path", "result", "")
    for row in rows:
        lines = [*row["problems"], *(f"note: {note}" for note in row["notes"])]
        table.add_row(row["path"], "failed" if row["problems"] else "passed", "\n".join(lines))
    return table
