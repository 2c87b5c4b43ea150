"""Makes models in HDF5 files (`model.save("net.h5")`) safe for Keras to read.

Keras reads them with the HDF5 library, which a damaged file can crash. So the child of hdf5.py reads the file, and
Keras gets a new file with the same layers and tensors and nothing else.
"""

import contextlib
import json
import tempfile
from pathlib import Path

from ..errors import RequestError, first_line
from .headers import refusal
from .reader import opened

TENSORS = "model_weights/"


@contextlib.contextmanager
def hdf5_model(path, change=lambda config: config):
    """(path of a new .h5 file of the same model, its configuration as JSON) for the body of a `with`.

    Args:
        change: Function of the configuration, for the new file.
    Raises:
        RequestError: the file is damaged or hostile.
    """
    with opened(path) as file, tempfile.TemporaryDirectory() as folder:
        attributes = file.attributes()
        copy, config = Path(folder) / "model.h5", change(_config(path, attributes[""]["model_config"]))
        attributes[""]["model_config"] = json.dumps(config)
        _write(copy, attributes, {name: file.read(name) for name in file.headers if name.startswith(TENSORS)})
        yield copy, config


def _config(path, text):
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refusal(path, f"its model_config is not JSON: {first_line(error)}") from error
    if not isinstance(config, dict):
        raise refusal(path, f"its model_config is a {type(config).__name__}, not a dictionary")
    return config


def holds_model(path):
    """{"keras_version": ...} of an HDF5 file that holds a model; None for a file that holds only weights."""
    with opened(path) as file:
        own = file.attributes().get("", {})
    return {"keras_version": own.get("keras_version")} if isinstance(own.get("model_config"), str) else None


def _write(path, attributes, tensors):
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in attributes.items():
            if name and not f"{name}/".startswith(TENSORS):
                continue
            group = file.require_group(name) if name else file
            for key, value in values.items():
                group.attrs[key] = value
        for name, array in tensors.items():
            try:
                file.create_dataset(name, data=array)
            except (ValueError, OSError) as error:
                raise RequestError(f"cannot load {path}: {name!r} is there twice") from error
