"""Opens the Keras model in a file. The content decides what a file is; a file without a model gets a message for its
kind.

It opens `.keras` files and whole models in `.h5`, those of Keras 3, and those of Keras 2 that Keras 3 can build. No
code in a file is run: Keras loads in its safe mode, and HDF5 is read in a child process.
"""

import contextlib
import json
import lzma
import re
import shutil
import struct
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from resdense_keras import compat
from resdense_keras.errors import RequestError, WorkError, first_line
from resdense_keras.preprocessing import MOST_JSON_BYTES

from . import keras_2
from .keras_2 import DOTS, WHOLE, name_of

SUFFIXES = (".keras", ".h5", ".hdf5")  # of Keras' files with a model
KERAS, HDF5, ZIP = "config.json", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
# What zipfile raises for a damaged archive; NotImplementedError is for a method or a version that it does not know.
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, NotImplementedError)
# What following a configuration raises where it is not as Keras writes it.
MISWRITTEN = (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)
OPERATION = "Operation"  # behind the name of a class of keras.ops
NEEDED = "give a catalogue name, or a .keras or .h5 file that Keras saved"
KERAS_2_WAY = (
    "build the same net in Keras 3 and move the weights: `import tf_keras`, "
    "`net.set_weights(tf_keras.models.load_model({path!r}).get_weights())`, `net.save('net.keras')`; or "
    "`--weights {name}` beside the catalogue name of the same net"
)
SAVED_MODEL_WAY = (
    "where the model is still there in Python: model.save('model.keras'); from the folder, with the Keras that "
    "made it: `import tf_keras; tf_keras.models.load_model({path!r}).save('model.h5')`"
)


def is_path(name_or_file, known):
    """Whether the text names a file or folder: it exists or is written like a path, and is not a catalogue name."""
    text = str(name_or_file)
    if text in known:
        return False
    path = Path(text)
    return path.exists() or path.name != text or bool(re.fullmatch(r"\.[A-Za-z]\w*", path.suffix))


def open_model(path):
    """The Keras model in a file.

    Raises:
        RequestError: there is no such file, or it holds no model that Keras 3 can build; says what it is and what to
            do.
        WorkError: the file is damaged.
    """
    path = Path(path)
    if path.is_dir():
        raise _folder(path)
    if not path.is_file():
        raise RequestError(f"there is no file {str(path)!r}", NEEDED)
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(ZIP):
        return _from_archive(path)
    if head.startswith(HDF5):
        return _from_hdf5(path)
    raise _other(path, head)


def _from_archive(path):
    with _archive(path) as archive:
        names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):
            raise _torch(path)
        if names and all(name.endswith(".npy") for name in names):
            raise _weights(path)
        if KERAS not in names:
            raise _no_model(path, names)
        config, version = _json(path, archive, KERAS), _version(path, archive)
        if version.startswith(("1.", "2.")):
            return _from_keras_2(path, archive, config, version)
    _check_lambdas(path, config)
    with _with_suffix(path, ".keras") as file:
        return _loaded(path, file, config)


def _from_hdf5(path):
    from resdense_keras.weights.whole_models import hdf5_model, holds_model

    found = holds_model(path)
    if found is None:
        raise _weights(path)
    version = str(found["keras_version"])
    old = version.startswith(("1.", "2."))

    def named(config):
        try:
            return _name_operations(keras_2.with_layers_of_keras_3(config) if old else config)
        except RequestError:
            raise
        except MISWRITTEN as error:
            raise _keras_2(path, version, _reason(error)) if old else _miswritten(path, _reason(error)) from error

    with hdf5_model(path, named) as (copy, config):
        _check_lambdas(path, config)
        try:
            return _loaded(path, copy, config)
        except WorkError as error:
            if old:
                raise _keras_2(path, version, error.message) from error
            raise


def _loaded(path, file, config):
    import keras

    import resdense_keras.recompute  # noqa: F401  (registers the one layer of this package)

    print(f"note: {path.name} is loaded in Keras' safe mode; only open models that you trust", file=sys.stderr)
    try:
        return keras.saving.load_model(file, custom_objects=_operations(), compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a file that it cannot read
        if unknown := next(_foreign(config), None):
            raise RequestError(
                f"{unknown} of {path.name} is not Keras' own: its code is not in the file",
                "export it from Python, where the code is known: resdense_export.export(model, folder)",
            ) from error
        damaged = isinstance(error, DAMAGE)
        hint = "get the file again, it is damaged" if damaged else "save it anew with the present Keras"
        raise WorkError(f"Keras cannot load {path.name}: {first_line(error)}", hint) from error


def _operations():
    """{name: class} of keras.ops' operations, which an HDF5 file names without their module."""
    import keras

    found, waiting = {}, [keras.Operation]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if compat.is_keras_operation(kind):
            found[kind.__name__ + OPERATION] = kind
    return found


def _name_operations(entry):
    """A configuration from HDF5 in which an operation, such as x + 1, is distinguished from a layer of the same name.

    Both are listed among a model's layers, but only the configuration of a layer has `trainable`.
    """
    known = set(_operations())
    for part in (part for part in _entries(entry) if "inbound_nodes" in part):
        name, config = part["class_name"], part.get("config")
        if name == "GetItem":
            _spell_ellipses(part["inbound_nodes"])
        if isinstance(name, str) and isinstance(config, dict) and "trainable" not in config:
            part["class_name"] = name + OPERATION if name + OPERATION in known else name
    return entry


def _spell_ellipses(calls):
    """Puts full slices in place of the `...` of x[..., 2], at which Keras' reader of HDF5 gives up."""
    for call in calls:
        with contextlib.suppress(KeyError, TypeError, ValueError):  # not as Keras writes it: its reader says so
            tensor, key = call["args"]
            (dots,) = (place for place, part in enumerate(key) if isinstance(part, dict) and part["class_name"] == DOTS)
            missing = len(tensor["config"]["shape"]) - sum(part is not None for part in key) + 1
            call["args"] = [tensor, [*key[:dots], *[WHOLE] * missing, *key[dots + 1 :]]]


@contextlib.contextmanager
def _with_suffix(path, suffix):
    """`path` under a name with the ending that Keras wants."""
    if path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copyfile(path, Path(folder) / f"model{suffix}"))


@contextlib.contextmanager
def _archive(path):
    """The zip archive in a file, for the body of a `with`."""
    try:
        archive = zipfile.ZipFile(path)
    except (*DAMAGE, OSError, ValueError) as error:
        raise WorkError(f"{path.name} is damaged or cut short: its end is missing", "get the file again") from error
    with archive:
        yield archive


def _read(path, archive, name):
    """The content of a member of an archive, by name or ZipInfo."""
    member = name if isinstance(name, zipfile.ZipInfo) else archive.getinfo(name)
    if member.flag_bits & 1:
        raise WorkError(f"{path.name} is encrypted", "unpack it with its password and pack it again without one")
    try:
        return archive.read(member)
    except (*DAMAGE, OSError, RuntimeError) as error:
        reason = f"{member.filename} in it cannot be read ({first_line(error)})"
        raise WorkError(f"{path.name} is damaged: {reason}", "get the file again") from error


def _json(path, archive, name):
    """The dictionary in a member of an archive that is JSON."""
    if archive.getinfo(name).file_size > MOST_JSON_BYTES:
        raise _miswritten(path, f"{name} has {archive.getinfo(name).file_size:,} bytes, of {MOST_JSON_BYTES:,} allowed")
    try:
        found = json.loads(_read(path, archive, name))
    except (ValueError, RecursionError) as error:
        raise _miswritten(path, f"{name} is not JSON: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise _miswritten(path, f"{name} holds a {type(found).__name__}, not a dictionary")
    return found


def _version(path, archive):
    """The version of Keras that wrote an archive; "" where it does not say so."""
    name = "metadata.json"
    return str(_json(path, archive, name).get("keras_version")) if name in archive.namelist() else ""


def _reason(error):
    return f"{type(error).__name__}: {first_line(error)}"


def _miswritten(path, reason):
    return WorkError(f"{path.name} is damaged, or was not written by Keras: {reason}", "get the file again")


def _entries(config):
    """Every {"class_name", "config"} of a configuration, the outer ones first."""
    waiting = [config]
    while waiting:
        entry = waiting.pop(0)
        if isinstance(entry, dict):
            if "class_name" in entry:
                yield entry
            waiting.extend(entry.values())
        elif isinstance(entry, list):
            waiting.extend(entry)


def _foreign(config):
    """Words for each part of a configuration whose code does not come with Keras: a model, layer, function or other
    object. Keras 3 writes `registered_name`, with the package in front where it is another's, and a module; HDF5 has
    the registered name as the class."""
    own = {key: value for key, value in (config or {}).items() if key != "compile_config"}  # that is not loaded
    for entry in _entries(own):
        kind, module = str(entry["class_name"]), str(entry.get("module") or "")
        registered = str(entry.get("registered_name") or kind)
        known = module.startswith("keras") or (not module and kind != "function" and ">" not in registered)
        if registered.startswith("resdense_keras>") or (known and ">" not in registered):
            continue
        if kind == "function":
            yield f"the function {str(entry.get('config')).rpartition('>')[2]!r}"
        elif entry is own:
            yield f"class {kind.rpartition('>')[2]}, the model"
        elif name_of(entry) is not None:
            yield f"layer {name_of(entry)!r} of class {kind.rpartition('>')[2]}"
        else:
            yield f"an object of class {kind.rpartition('>')[2]}"


def _check_lambdas(path, config):
    """Refuses a Lambda layer: it is code, which is never run. Nearly always it normalises pixels, so the hint says how
    to replace it."""
    for entry in _entries(config):
        if entry["class_name"] == "Lambda":
            raise RequestError(
                f"layer {name_of(entry)!r} of {path.name} is a Lambda: Python code in the file, which is never run",
                "put a layer of Keras in its place and save again: for pixels keras.layers.Rescaling, such as "
                "Rescaling(1 / 127.5, offset=-1) for x / 127.5 - 1",
            )


# Keras 2 and tf_keras


def _from_keras_2(path, archive, config, version):
    """The model in a .keras file of Keras 2, which describes layers in another way than Keras 3."""
    try:
        config = keras_2.as_keras_3(keras_2.with_layers_of_keras_3(config))
    except RequestError:
        raise
    except MISWRITTEN as error:
        raise _keras_2(path, version, _reason(error)) from error
    _check_lambdas(path, config)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.keras"
        with zipfile.ZipFile(copy, "w") as out:
            for member in archive.infolist():
                own = json.dumps(config) if member.filename == KERAS else _read(path, archive, member)
                out.writestr(member.filename, own)
        try:
            return _loaded(path, copy, None)
        except WorkError as error:
            raise _keras_2(path, version, error.message) from error


def _keras_2(path, version, reason):
    return RequestError(
        f"{path.name} was saved by Keras 2 (tf_keras {version}), and Keras 3 cannot build it: {reason}",
        KERAS_2_WAY.format(path=str(path), name=path.name),
    )


# What holds no model


def _folder(path):
    if (inside := path / "model.keras").is_file():
        return RequestError(f"{path} is the folder of a training run", f"give its model: {inside}")
    if (path / "saved_model.pb").is_file() or (path / "saved_model.pbtxt").is_file():
        return RequestError(
            f"{path} is a SavedModel folder: a graph without layers, which cannot be rewritten for a phone",
            SAVED_MODEL_WAY.format(path=str(path)),
        )
    if (path / KERAS).is_file() and (path / "model.weights.h5").is_file():
        return RequestError(
            f"{path} is a .keras file that was unpacked into a folder",
            f"pack it again: `cd {path} && zip -r ../net.keras .`",
        )
    return RequestError(f"{path} is a folder", NEEDED)


def _no_model(path, inside):
    """The error for a zip archive without config.json at its top; `inside` are the names of its members."""
    if model := next((name for name in inside if name.lower().endswith(SUFFIXES)), None):
        if not model.endswith("model.weights.h5"):
            return RequestError(f"{path.name} is an archive that holds {model}", f"unpack it and give {model}")
        return RequestError(
            f"{path.name} holds the parts of a .keras file in a folder: {model}",
            "pack the files themselves, so that config.json stands at the top of the archive",
        )
    return RequestError(f"{path.name} is a zip archive without a Keras model in it", NEEDED)


def _weights(path):
    return RequestError(
        f"{path.name} holds weights and no model",
        f"name the net that they belong to: `resdense export NAME --weights {path}`",
    )


def _torch(path):
    return RequestError(
        f"{path.name} is a PyTorch file: a pickle, which can run any code and is never opened",
        "save its tensors with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'), "
        "then `resdense export NAME --weights weights.safetensors`",
    )


def _other(path, head):
    """The message for a file that is neither an archive nor HDF5."""
    suffix = path.suffix.lower()
    if not head:
        return WorkError(f"{path.name} is empty", "get the file again")
    if head.startswith(b"version https://"):
        return RequestError(f"{path.name} is a pointer of Git LFS, not the file", "`git lfs pull` gets the file")
    if re.match(rb"\s*<(!doctype|html|\?xml)", head, re.IGNORECASE):
        return RequestError(f"{path.name} is a web page, not a model", "the download failed: get the file again")
    if head[4:8] == b"TFL3":
        return RequestError(
            f"{path.name} is a .tflite file already",
            f"`resdense check {path}` judges it; an export begins with the Keras model",
        )
    if suffix in (".pb", ".pbtxt"):
        return RequestError(
            f"{path.name} is a graph of TensorFlow without layers, which cannot be rewritten for a phone",
            SAVED_MODEL_WAY.format(path=str(path.parent)),
        )
    if suffix == ".safetensors" or head[8:10] == b'{"':
        return _weights(path)
    if head[:1] == b"\x80" or suffix in (".pt", ".pth", ".bin", ".pkl", ".pickle"):
        return _torch(path)
    if suffix == ".onnx":
        return RequestError(f"{path.name} is an ONNX model, which this package does not read", NEEDED)
    if suffix in (".index", ".ckpt") or ".data-" in path.name or path.name == "checkpoint":
        return RequestError(
            f"{path.name} is part of a TensorFlow checkpoint, which holds weights and no model",
            "load it in Python into the net that it belongs to, then net.save('model.keras')",
        )
    if suffix == ".json":
        return RequestError(
            f"{path.name} is text; a model's JSON describes the net without its weights",
            "in Python: keras.models.model_from_json(text), load_weights(...), save('net.keras')",
        )
    if suffix in SUFFIXES:
        return WorkError(f"{path.name} is damaged: neither a zip archive nor HDF5", "get the file again")
    return RequestError(f"{path.name} is not a Keras file", NEEDED)
