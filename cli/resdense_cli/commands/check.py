"""`resdense check`: gates and manifests of files and bundles, made here or elsewhere."""

import contextlib
import json
from pathlib import Path
from typing import Annotated

import typer

from resdense_export.limits import Limits
from resdense_keras import files
from resdense_keras.errors import RequestError, WorkError

from ..options import SPECS, ImageSize, Json
from ..output import columns, print_result

ORDER = 50


def command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE_OR_DIR...", help=".tflite files, bundles, or folders of bundles.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SPEC",
            help=f"Images: {SPECS}. Also measures accuracy on the test split, and judges it against --against by the "
            f"defaults of `resdense export` (--max-drop {Limits.max_drop:g}, --min-agreement "
            f"{Limits.min_agreement:g}). Files are given pixels from 0 to 255, so the accuracy of one that was made "
            "for others, such as 0 to 1, means nothing. Default: no images.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="Float .tflite file of the same net. Default: the fp32 file of the bundle.",
        ),
    ] = None,
    image_size: ImageSize = None,
    as_json: Json = False,
):
    """Check the gates and manifests of .tflite files and bundles, made here or elsewhere."""
    if against is not None and data is None:
        raise RequestError("--against was given without --data", "files are compared on images: pass --data SPEC")
    if against is not None and not against.is_file():
        raise RequestError(
            f"there is no file {str(against)!r}", "--against takes the float .tflite file of the same net"
        )
    findings = inspect(paths, data, against, image_size)
    print_result(findings, table, as_json)
    failed = [finding["path"] for finding in findings if finding["problems"]]
    if failed:
        raise WorkError(f"{len(failed)} of {len(findings)} failed: {', '.join(failed)}", "do not ship these files")


def inspect(paths, data=None, against=None, image_size=None):
    """The findings on each .tflite file, and on each folder with a manifest.

    Args:
        paths: .tflite files, bundles, or folders of bundles.
        data: Data spec whose test split measures the accuracy, or None.
        against: Float .tflite file to judge against; default: the fp32 file of the bundle. Without either the accuracy
            is reported, but not judged.
    Returns:
        [{"path", "problems": [sentence], "unproved": sentence or None, "notes": [sentence], "gates", "accuracy"}],
        `gates` is None for folders; `accuracy` is a fraction, None without data.
    Raises:
        RequestError: a path does not exist, or a folder has no .tflite file.
    """
    return [finding for path in paths for finding in _inspect(Path(path), data, against, image_size)]


def _inspect(path, data, against, image_size):
    from resdense_export.models import opening

    if path.is_file() and path.suffix.lower() in opening.SUFFIXES:
        raise RequestError(
            f"{path} is a Keras model; .tflite files and bundles are checked",
            f"`resdense export {path} --out DIR` makes one, `resdense eval` measures the model itself",
        )
    if path.is_file():
        yield _judged(path, data, against, image_size)
        return
    if not path.is_dir():
        raise RequestError(f"there is no file or folder {str(path)!r}", "give .tflite files or bundles")
    found = sorted(path.rglob("*.tflite"))
    if not found:
        raise RequestError(f"{str(path)!r} holds no .tflite file", "give a folder that `resdense export` made")
    for folder in sorted({file.parent for file in (*found, *path.rglob(files.MANIFEST))}):
        yield {
            "path": str(folder),
            "problems": files.verify_manifest(folder),
            "unproved": None,
            "notes": [],
            "gates": None,
            "accuracy": None,
        }
    for file in found:
        yield _judged(file, data, against, image_size)


def _judged(path, data, against, image_size):
    from resdense_export.judging.check import check
    from resdense_export.verdicts import unproved

    # Each file gets its own child process: a hostile file could falsify the result of the next one.
    images = _on_images(path, data, against, image_size) if data else {}
    found = check(path, float_layers=_float_layers(path), partitions=_partitions(path), **images)
    problems = [f"{gate}: {why}" for gate, why in found.failures.items()]
    return {
        "path": str(path),
        "problems": problems,
        "unproved": unproved(found.record()),
        "notes": list(found.notes),
        "gates": found.gates,
        "accuracy": found.accuracy,
    }


def _on_images(path, data, against, image_size):
    """Arguments of `check` for the test images of `data`: the outputs of the float file are the expected ones."""
    from resdense_export.judging import on_data

    twin = against or on_data.float_twin(path)
    dataset, expected = on_data.answered(twin or path, data, image_size)
    found = {"images": dataset.test.array(), "classes": on_data.has_classes(path), "model": expected if twin else None}
    return found | ({"labels": dataset.test.labels} if found["classes"] else {})


def _partitions(path):
    """Number of pieces in which XNNPACK runs the fp32 file beside an fp16 one of the same net; None where there is no
    fp32 file."""
    from resdense_export.tflite.child import Child, Fault

    net, dash, _ = path.name.rpartition("-fp16.")
    twin = path.with_name(f"{net}-fp32.tflite")
    if not dash or not twin.is_file():
        return None
    with Child() as child, contextlib.suppress(Fault):
        return child.open(twin)["delegated"]["partitions"]


def _float_layers(path):
    """The layers that an int8 file keeps in float, by the model.json beside it; none without a model.json."""
    try:
        kept = json.loads((path.parent / "model.json").read_bytes())["files"][path.name]["float_layers"]
        return [name for name in kept if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def table(rows):
    """The table of `resdense check`, with one line per problem and note."""
    with_data = any(row["accuracy"] is not None for row in rows)
    shown = columns("path", "result", *([">accuracy"] if with_data else []), "")
    for row in rows:
        share = [] if not with_data else ["" if row["accuracy"] is None else f"{row['accuracy']:.2%}"]
        open_question = [row["unproved"]] if row["unproved"] else []
        lines = [*row["problems"], *open_question, *(f"note: {note}" for note in row["notes"])]
        result = "failed" if row["problems"] else "not proved" if open_question else "passed"
        shown.add_row(row["path"], result, *share, "\n".join(lines))
    shown.caption, shown.caption_justify, shown.caption_style = _what_was_checked(rows), "left", ""
    return shown


def _what_was_checked(rows):
    """The line below the table: what `passed` stands for where no file was compared on images."""
    files_ = [row for row in rows if row["gates"] is not None]
    if any(row["gates"].get(gate) for row in files_ for gate in ("parity", "accuracy", "agreement")):
        return None
    gates = dict.fromkeys(name for row in files_ for name, found in row["gates"].items() if found)
    return (
        f"checked without images: {', '.join(gates)}{', checksums' if len(rows) > len(files_) else ''}. Accuracy and "
        "agreement were not judged: pass --data SPEC; MODEL_CARD.md says what the export found."
    )
