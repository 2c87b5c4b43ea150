"""The state of a training in one file: arrays, and the place at which to go on.

It is a safetensors file whose metadata hold a JSON text and a sha256 of all arrays, so a file that can be read is as it
was written. It needs only NumPy, so that tests can kill a saving process many times.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from .. import files
from ..errors import RequestError, WorkError

SCHEMA = "resdense-state/1"


def best_file(out, epoch):
    """File of a run folder with the weights of its best epoch; 0 is a slim net before the training."""
    return out / "checkpoints" / f"best-{epoch:04d}.safetensors"


def save(path, arrays, place):
    """Writes {name: array} and the JSON-able `place` to `path`, whole or not at all.

    Raises:
        WorkError: an array is not finite (such a state is never saved), or the disk is full, see `files.writing`.
    """
    from safetensors.numpy import save as serialize

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise WorkError(f"{name} is not finite, so the state was not saved", "the checkpoint before it is whole")
    text = json.dumps(place, allow_nan=False)
    metadata = {"schema": SCHEMA, "place": text, "sha256": _digest(arrays, text)}
    files.write_bytes(path, serialize(arrays, metadata))


def load(path):
    """({name: array}, place) of a file that `save` wrote.

    Raises:
        RequestError: the file is of another kind or version, incomplete, or changed.
    """
    from safetensors import SafetensorError, safe_open

    hint = "remove the file to start from the beginning, or pass another `--out`"
    try:
        with safe_open(Path(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("schema") != SCHEMA:
                written = metadata.get("schema", "no such mark")
                raise RequestError(
                    f"{path} is not a state of this version: {written} is in it, {SCHEMA} is read here", hint
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(f"{path} is damaged: {error}", hint) from error
    text = metadata.get("place", "")
    if _digest(arrays, text) != metadata.get("sha256"):
        raise RequestError(f"{path} is damaged: its sha256 is not the one that was written with it", hint)
    return arrays, json.loads(text)


def _digest(arrays, text):
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
