"""`.npz` and `.safetensors` files: headers first, arrays one by one.

Neither format can run code (pickled arrays are refused), and both readers check every length, so they need no child
process.
"""

import math
import zipfile

import numpy as np

from .headers import Header, refusal


class NpzFile:
    """A zip of .npy files, as np.savez writes it."""

    def __init__(self, path):
        self._path = path
        self._archive = zipfile.ZipFile(path)
        try:
            self.headers = {}
            for member in self._archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in self.headers or name == member.filename:
                    raise refusal(path, "it is not an .npy file, or it is there twice", member.filename)
                self.headers[name] = self._header(member, name)
        except BaseException:
            self.close()
            raise

    def read(self, name):
        with self._archive.open(f"{name}.npy") as member:
            array = np.lib.format.read_array(member, allow_pickle=False)
            member.read()  # to the end, where zipfile compares the checksum
            return array

    def close(self):
        self._archive.close()

    def _header(self, member, name):
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refusal(self._path, "it is packed as np.savez never does", name)
        with self._archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in readers:
                raise refusal(self._path, f"its .npy version is {version}; known: 1.0, 2.0", name)
            shape, _, dtype = readers[version](file)
            if dtype.kind not in "fiub":  # object arrays are pickles
                raise refusal(self._path, f"its type is {dtype}, and only numbers are read", name)
            declared = file.tell() + math.prod(shape) * dtype.itemsize
        if declared != member.file_size:
            raise refusal(self._path, f"its header declares {declared} bytes, the archive {member.file_size}", name)
        return Header(tuple(shape), dtype.name)


class SafetensorsFile:
    """Hugging Face's format; the library checks that all offsets lie in the file and do not overlap."""

    _DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"} | {
        f"{kind}{bits}": f"{word}{bits}" for kind, word in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
    }

    def __init__(self, path):
        from safetensors import safe_open

        self._file = safe_open(path, framework="numpy")
        self.headers = {}
        for name in self._file.keys():  # noqa: SIM118  the library's own method, it is not a mapping
            part = self._file.get_slice(name)
            dtype = part.get_dtype()
            if dtype not in self._DTYPES:
                raise refusal(path, f"its type is {dtype}; known: {', '.join(self._DTYPES)}", name)
            self.headers[name] = Header(tuple(part.get_shape()), self._DTYPES[dtype])

    def read(self, name):
        array = self._file.get_tensor(name)
        return array.astype("float32") if self.headers[name].dtype == "bfloat16" else array

    def close(self):
        del self._file  # unmaps it
