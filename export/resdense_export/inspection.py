"""`resdense check`: gates and manifests of files and bundles, made here or elsewhere."""

import json
from pathlib import Path

from resdense_keras import files
from resdense_keras.errors import RequestError

from .gates import check


def inspect(paths):
    """What is wrong with each .tflite file, and with each folder that has a manifest.

    Args:
        paths: .tflite files, bundles, or folders of bundles.
    Returns:
        [{"path", "problems": [sentence], "gates"}], folders with `gates` null.
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
        yield {"path": str(folder), "problems": files.verify_manifest(folder), "gates": None}
    for file in found:
        yield _judged(file)


def _judged(path):
    # A child process of its own: a hostile file could skew the next one's result.
    found = check(path, float_layers=_float_layers(path))
    problems = [f"{gate}: {why}" for gate, why in found.failures.items()]
    return {"path": str(path), "problems": problems, "gates": found.gates}


def _float_layers(path):
    """The layers that the model.json beside an int8 file says it keeps in float; a file alone keeps none."""
    try:
        kept = json.loads((path.parent / "model.json").read_bytes())["files"][path.name]["float_layers"]
        return [name for name in kept if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
