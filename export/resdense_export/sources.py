"""What the command line names - a net, a file, data, labels - as objects."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resdense_keras.errors import RequestError, WorkError


@dataclass(frozen=True)
class Net:
    """A model to export; `preprocessing` is what stands inside it as JSON, or "unknown"."""

    name: str
    model: Any
    preprocessing: Any

    @property
    def image_shape(self):
        return self.model.input_shape[1:]


def model(name_or_file, weights=None, options=None, image_size=None):
    """The net of that catalogue name, its normalisation inside, or the model of a .keras file as it is."""
    if str(name_or_file).endswith(".keras"):
        return _from_file(Path(name_or_file), weights, options, image_size)
    import resdense_keras

    options = dict(options or {})
    if image_size is not None:
        options.setdefault("input_shape", (image_size, image_size, 3))
    options.setdefault("include_preprocessing", True)
    built = resdense_keras.create(str(name_or_file), weights=weights, **options)
    if weights is None:
        print("warning: no --weights: the net is untrained, its gates and timings mean little", file=sys.stderr)
    return Net(str(name_or_file), built, preprocessing_inside(built))


def _from_file(path, weights, options, image_size):
    import keras

    for flag, value in (("--weights", weights), ("--set", options), ("--image-size", image_size)):
        if value:
            message = f"{flag} was given with the file {path.name}; it belongs to a catalogue name"
            raise RequestError(message, f"leave {flag} out")
    if not path.is_file():
        raise RequestError(f"there is no file {str(path)!r}", "give a catalogue name or a .keras file")
    print(f"note: {path.name} is loaded in Keras' safe mode; only open models that you trust", file=sys.stderr)
    try:
        loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a file that it cannot read
        reason = next(iter(str(error).splitlines()), "")[:200]
        raise WorkError(
            f"Keras cannot load {path.name}: {reason}", "is it a .keras file of built-in layers?"
        ) from error
    return Net(path.stem, loaded, preprocessing_inside(loaded))


def preprocessing_inside(model):
    """{"channels", "scale", "offset"} of the layers that our builders put first, or "unknown" for any other model.

    x * scale + offset, a number a channel, in the order of `channels`: "BGR" where a flip of the last axis comes first,
    as in weights from Caffe. The model itself takes RGB.
    """
    import keras

    layer = next((layer for layer in model.layers if layer.name == "preprocessing"), None)
    if not isinstance(layer, keras.layers.Rescaling):
        return "unknown"
    flipped = type(layer.input._keras_history.operation).__name__ == "Flip"
    return {
        "channels": "BGR" if flipped else {1: "L", 3: "RGB", 4: "RGBA"}.get(layer.input.shape[-1], "other"),
        "scale": [float(value) for value in layer.scale],
        "offset": [float(value) for value in layer.offset],
    }


def dataset(spec, image_shape, image_size, on_bad_image):
    """The data of `spec` in the model's size.

    Raises:
        RequestError: images of another shape than the model takes.
    """
    from resdense_keras import data

    is_folder = Path(spec).is_dir()
    size = image_size or (tuple(image_shape[:2]) if is_folder and None not in image_shape[:2] else None)
    loaded = data.load(spec, image_size=size, on_bad_image=on_bad_image)
    if any(own not in (None, given) for own, given in zip(image_shape, loaded.image_shape, strict=True)):
        raise RequestError(f"{spec} has images of shape {loaded.image_shape}, the model takes {tuple(image_shape)}")
    return loaded


def labels(path):
    """The class names of a text file, one a line."""
    try:
        names = tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RequestError(f"--labels {path}: {reason}", "give a text file with a class name a line") from None
    if not names:
        raise RequestError(f"--labels {path} holds no names", "give a text file with a class name a line")
    return names
