"""HDF5 files (`.h5`, and the one inside a `.keras`), read by a child process that may die.

The HDF5 library is written in C and trusts its files: of 60,000 mutated ones, 70 crashed the process or blocked it for
over 20 s. So a child opens the file and the parent limits its time, which costs about 0.3 s per file. They communicate
by pipes: the child writes one JSON line with all headers, then a line and the raw bytes of each tensor that the parent
asks for by name.
"""

import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np

from .headers import Header, refusal

SECONDS = 15  # seconds for a small file; larger ones get a second more for each 20 MB
BYTES_A_SECOND = 20e6
MEMORY_BYTES = 2 << 30  # bytes of address space, in addition to four times the file; most of it is never used
ZIP_MAGIC = b"PK\x03\x04"
INNER = "model.weights.h5"  # a .keras file is a zip; its config.json and metadata.json are never read
DEPTH = 32  # groups in groups
# Attributes that Keras writes; long ones are in numbered pieces.
MODEL_ATTRIBUTE = re.compile(r"(model_config|keras_version|backend|layer_names|weight_names)\d{0,4}")
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # any other would load a plug-in


class Hdf5File:
    """Headers of all datasets of an HDF5 or `.keras` file, and their arrays one by one."""

    def __init__(self, path):
        self._path = path
        self._seconds = SECONDS + path.stat().st_size / BYTES_A_SECOND
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(path.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        self._late = threading.Event()
        self._clock = threading.Timer(self._seconds, self._stop)
        self._clock.daemon = True
        self._clock.start()
        try:
            headers = self._answer()["headers"]
            self.headers = {name: Header(tuple(shape), dtype, layer) for name, shape, dtype, layer in headers}
        except BaseException:
            self.close()
            raise

    def read(self, name):
        with contextlib.suppress(BrokenPipeError):  # a dead child; _answer says how it died
            self._child.stdin.write(json.dumps(name).encode() + b"\n")
            self._child.stdin.flush()
        self._answer(name)
        header = self.headers[name]
        count = math.prod(header.shape) * np.dtype(header.dtype).itemsize
        data = self._child.stdout.read(count)
        if len(data) < count:
            self._died(name)
        return np.frombuffer(data, np.dtype(header.dtype).newbyteorder("<")).reshape(header.shape)

    def attributes(self):
        """{group ("" for the file itself): {name: text or list of texts}}: the attributes that make a file of weights a
        model."""
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(b"null\n")
            self._child.stdin.flush()
        return self._answer()["attributes"]

    def close(self):
        self._clock.cancel()
        self._child.kill()
        self._child.wait()
        self._child.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # a request that the child died before reading
            self._child.stdin.close()

    def _stop(self):
        self._late.set()
        self._child.kill()

    def _answer(self, tensor=None):
        """The child's next line; raises where the child refused the file or died."""
        line = self._child.stdout.readline()
        if not line.endswith(b"\n"):
            self._died(tensor)
        answer = json.loads(line)
        if "refused" in answer:
            raise refusal(self._path, answer["refused"], answer.get("tensor") or tensor)
        return answer

    def _died(self, tensor):
        code = self._child.wait()
        took_too_long = f"it took longer than {self._seconds:.0f} s to read"
        raise refusal(
            self._path, took_too_long if self._late.is_set() else f"the process that read it died (exit {code})", tensor
        )


def _environment():
    """Environment of the child: the same packages as here, no HDF5 plug-ins, no thread pools."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
        "HDF5_PLUGIN_PRELOAD": "::",
        "HDF5_USE_FILE_LOCKING": "FALSE",  # nothing is written, and some network disks cannot lock
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


# The child


class _Refused(Exception):
    def __init__(self, reason, tensor=None):
        super().__init__(reason)
        self.tensor = tensor


def _serve(path):
    _limit_memory(path.stat().st_size)
    import h5py

    tensor = None
    try:
        with _weights_file(path) as weights, h5py.File(weights, "r") as file:
            found = dict(_datasets(file, h5py))
            _reply(headers=[[name, data.shape, data.dtype.name, layer] for name, (data, layer) in found.items()])
            for line in sys.stdin:
                tensor = json.loads(line)
                if tensor is None:
                    _reply(attributes=_attributes(file, h5py))
                    continue
                array = np.ascontiguousarray(found[tensor][0][()])
                _reply(bytes=array.nbytes)
                sys.stdout.buffer.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
                sys.stdout.buffer.flush()
    except _Refused as error:
        _reply(refused=str(error), tensor=error.tensor)
    except Exception as error:  # any error of the library for a damaged file
        _reply(refused=f"{type(error).__name__}: {str(error)[:300]}", tensor=tensor)


def _reply(**answer):
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def _limit_memory(file_bytes):
    with contextlib.suppress(ImportError, ValueError, OSError):  # not Unix, or a lower limit is set already
        import resource

        limit = MEMORY_BYTES + 4 * file_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@contextlib.contextmanager
def _weights_file(path):
    """An open file with the weights of `path`: the file itself, or an unnamed copy of the one inside a .keras file.

    It is copied as a whole, because zipfile verifies the checksum only then.
    """
    with path.open("rb") as file:
        if file.read(4) != ZIP_MAGIC:
            file.seek(0)
            yield file
            return
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryFile() as copy:
        if INNER not in archive.namelist():
            raise _Refused(f"it holds no {INNER}")
        member = archive.getinfo(INNER)
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > path.stat().st_size:
            raise _Refused(f"its {INNER} is compressed, which Keras never does")
        with archive.open(member) as source:
            shutil.copyfileobj(source, copy)
        yield copy


def _datasets(group, h5py, path="", seen=None):
    """Yields (name, (dataset, layer name)) of all datasets, after the checks that need no data."""
    seen = set() if seen is None else seen
    if path.count("/") >= DEPTH:
        raise _Refused(f"its groups are nested deeper than {DEPTH}", path)
    layer = group.attrs.get("name") if path.endswith("/vars") else None
    for key in group:
        name = f"{path}/{key}".lstrip("/")
        link = group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise _Refused(f"it is a {type(link).__name__}: links to elsewhere are never followed", name)
        item = group[key]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise _Refused("it is a second link to an object of the file", name)
        seen.add(address)
        if isinstance(item, h5py.Group):
            yield from _datasets(item, h5py, f"{path}/{key}", seen)
        elif isinstance(item, h5py.Dataset):
            _check_storage(item, name)
            yield name, (item, layer if isinstance(layer, str) and len(layer) < 1000 else None)


def _attributes(file, h5py):
    """The attributes of the file and its groups in which Keras keeps a model's layers."""
    found = {}

    def look(name, item):
        if isinstance(item, h5py.Group):
            kept = {key: _text(value) for key, value in item.attrs.items() if MODEL_ATTRIBUTE.fullmatch(key)}
            if kept:
                found[name] = kept

    look("", file)
    file.visititems(look)
    return found


def _text(value):
    """An attribute as text; an array as a list of texts."""
    if isinstance(value, np.ndarray):
        return [_text(part) for part in value.ravel().tolist()]
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _check_storage(dataset, name):
    if dataset.shape is None or dataset.dtype.kind not in "fiub":
        raise _Refused(f"its type is {dataset.dtype}, and only numbers are read", name)
    if dataset.is_virtual or dataset.external:
        raise _Refused("its data lie in another file", name)
    plan = dataset.id.get_create_plist()
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if not set(filters) <= set(FILTERS):
        raise _Refused(f"it is packed with HDF5 filter {filters}; known: {', '.join(FILTERS.values())}", name)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
