"""What the command line names - a net, a file, data, labels - as objects."""

import dataclasses
import json
import math
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resdense_keras.data import resizing
from resdense_keras.errors import RequestError, WorkError, unknown


@dataclass(frozen=True)
class Net:
    """A model to export.

    Attributes:
        preprocessing: What stands inside it as JSON, or "unknown".
        class_names: Of the weights or the training run, or None.
        resize: How photos were resized where it was trained, of data.resizing.RULES; None where that is not known.
        training: The TrainingRequest of the run that the file lies in, or None.
    """

    name: str
    model: Any
    preprocessing: Any
    class_names: tuple[str, ...] | None = None
    resize: str | None = None
    training: Any = None

    @property
    def batch_size(self):
        """Of its training, or None."""
        return self.training and self.training.recipe.batch_size

    @property
    def image_shape(self):
        """(H, W, C) of one image, None where a size is open."""
        return self.model.input_shape[1:]

    @property
    def takes_pixels(self):
        """Whether the input is known to be pixels in [0, 255]."""
        return self.preprocessing != "unknown"


def model(name_or_file, weights=None, options=None, image_size=None, preprocessing=None, softmax=False):
    """The net of that catalogue name, its normalisation inside, or the model of a .keras file.

    Args:
        name_or_file: Name in the catalogue, or path of a .keras file.
        weights, options: For the builder.
        image_size: Side in pixels, where the model leaves it open.
        preprocessing: What the model's pixels mean: a key of PREPROCESSING or "model/weights", which is then put in
            front of it, or "none" for a model that takes pixels in [0, 255] as they are.
        softmax: Put a softmax behind it.
    Raises:
        RequestError: no such model, or one that these do not fit.
    """
    if str(name_or_file).endswith(".keras"):
        net = _from_file(Path(name_or_file), weights, options, image_size, preprocessing)
    else:
        net = _from_catalogue(str(name_or_file), weights, options, image_size, preprocessing)
    return dataclasses.replace(net, model=_with_softmax(net.model)) if softmax else net


def _from_catalogue(name, weights, options, image_size, preprocessing):
    import resdense_keras

    if name not in resdense_keras.list_models() and (inside := Path(name) / "model.keras").is_file():
        raise RequestError(f"{name} is the folder of a training run", f"give its model: {inside}")
    options = dict(options or {})
    if image_size is not None:
        channels = resdense_keras.catalog.sizes()[name]["input_shape"][2]
        options.setdefault("input_shape", (image_size, image_size, channels))
    if preprocessing is not None:
        if "include_preprocessing" in options:
            raise RequestError("--preprocessing and --set include_preprocessing were given", "leave one of them out")
        options["include_preprocessing"] = _record(preprocessing) or False
    options.setdefault("include_preprocessing", True)
    built = resdense_keras.create(name, weights=weights, **options)
    if weights is None:
        print("warning: no --weights: the net is untrained, its gates and timings mean little", file=sys.stderr)
    known = preprocessing_inside(built)
    if preprocessing == "none":
        known = _as_they_are(built.input_shape[-1])
    return Net(name, built, known, names_of_weights(weights, built.output_shape[-1]), resizing.DEFAULT)


def _from_file(path, weights, options, image_size, preprocessing):
    for flag, value in (("--weights", weights), ("--set", options)):
        if value:
            message = f"{flag} was given with the file {path.name}; it belongs to a catalogue name"
            raise RequestError(message, f"leave {flag} out")
    loaded = _loaded(path)
    shape = image_shape(loaded, image_size)
    inside = preprocessing_inside(loaded)
    if preprocessing is not None and inside != "unknown":
        raise RequestError(
            f"--preprocessing {preprocessing} was given; {path.name} has its normalisation inside",
            "leave --preprocessing out",
        )
    record = preprocessing and _record(preprocessing)
    if record and len(record.mean) != shape[-1]:
        message = f"--preprocessing {preprocessing} has {len(record.mean)} channels, {path.name} takes {shape[-1]}"
        raise RequestError(message, "say what the pixels of this model mean")
    if record or None in loaded.input_shape[1:]:
        loaded = _with_input(loaded, shape, record)
    known = preprocessing_inside(loaded) if record else inside
    if preprocessing == "none":
        known = _as_they_are(shape[-1])
    run = _training_of_run(path)
    resize = run and (run.resize or resizing.DEFAULT)
    return Net(path.stem, loaded, known, _labels_of_run(path, loaded.output_shape[-1]), resize, run)


def _loaded(path):
    import keras

    if not path.is_file():
        raise RequestError(f"there is no file {str(path)!r}", "give a catalogue name or a .keras file")
    print(f"note: {path.name} is loaded in Keras' safe mode; only open models that you trust", file=sys.stderr)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a file that it cannot read
        for name, kind in _foreign_layers(path):
            raise RequestError(
                f"layer {name!r} of {path.name} is of class {kind}, which is not Keras' own",
                "export it from Python, where the class is known: resdense_export.export(model, folder)",
            ) from error
        reason = next(iter(str(error).splitlines()), "")[:200]
        raise WorkError(
            f"Keras cannot load {path.name}: {reason}", "is it a .keras file of built-in layers?"
        ) from error


def _foreign_layers(path):
    """(name, class) of each layer of a .keras file whose class does not come with Keras; none of a damaged file."""
    try:
        with zipfile.ZipFile(path) as archive:
            waiting = [json.loads(archive.read("config.json"))]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return
    while waiting:
        entry = waiting.pop(0)
        if isinstance(entry, dict):
            if "class_name" in entry and not str(entry.get("module")).startswith("keras"):
                name = (entry.get("config") or {}).get("name")
                if name is not None:
                    yield name, entry["class_name"]
            waiting.extend(entry.values())
        elif isinstance(entry, list):
            waiting.extend(entry)


def _record(preprocessing):
    """The Preprocessing of that name, or None for "none"."""
    from resdense_keras.preprocessing import PREPROCESSING
    from resdense_keras.weights.ends import record

    if preprocessing == "none":
        return None
    if "/" not in preprocessing and preprocessing not in PREPROCESSING:
        raise unknown("preprocessing", preprocessing, [*PREPROCESSING, "MODEL/WEIGHTS", "none"])
    return record(preprocessing)


def _with_input(model, shape, record):
    """`model` for images of `shape` alone, behind the normalisation of `record` if there is one."""
    import keras

    image = keras.Input(shape)
    return keras.Model(image, model(record.apply(image) if record else image), name=model.name)


def _with_softmax(model):
    import keras

    if len(model.output_shape) != 2:
        raise RequestError(f"--softmax was given; the model's output is {model.output_shape}, not (None, classes)")
    outputs = model.predict(generated_images(model.input_shape[1:], count=2), verbose=0)
    if are_probabilities(outputs):
        raise RequestError("--softmax was given; the model's outputs are probabilities already", "leave it out")
    return keras.Model(model.inputs, keras.layers.Softmax(name="softmax")(model.outputs[0]), name=model.name)


def preprocessing_inside(model):
    """{"channels", "scale", "offset"} of the layers that our builders put first, or "unknown" for any other model.

    x * scale + offset, a number a channel, in the order of `channels`: "BGR" where a flip of the last axis comes first,
    as in weights from Caffe. The model itself takes RGB.
    """
    import keras

    layer = next((layer for layer in model.layers if layer.name == "preprocessing"), None)
    if not isinstance(layer, keras.layers.Rescaling):
        return "unknown"
    scale, offset = (np.ravel(values).astype(float).tolist() for values in (layer.scale, layer.offset))
    flipped = type(layer.input._keras_history.operation).__name__ == "Flip"
    return {"scale": scale, "offset": offset, "channels": "BGR" if flipped else _channels(model.input_shape[-1])}


def _as_they_are(channels):
    return {"scale": [1.0] * channels, "offset": [0.0] * channels, "channels": _channels(channels)}


def _channels(count):
    return {1: "L", 3: "RGB", 4: "RGBA"}.get(count, "other")


def names_of_weights(weights, outputs):
    """The class names of a named set of weights, or None; Keras' index is fetched for "imagenet"."""
    from resdense_keras.data import class_names
    from resdense_keras.weights import download

    if weights == "imagenet" and outputs == 1000:
        try:
            index = json.loads(download.class_index().read_text())
        except WorkError as error:
            print(f"warning: no class names: {error}", file=sys.stderr)
            return None
        return tuple(index[str(number)][1] for number in range(1000))
    known = {"cifar10": class_names.CIFAR10, "digits": tuple("0123456789")}.get(weights)
    return known if known and len(known) == outputs else None


def _labels_of_run(path, outputs):
    """The names in the labels.txt that a training run leaves beside its model.keras, where it has one an output."""
    beside = path.with_name("labels.txt")
    if not beside.is_file():
        return None
    names = labels(beside)
    if len(names) == outputs:
        return names
    print(f"note: {beside} has {len(names)} names, the model {outputs} outputs: left out", file=sys.stderr)
    return None


def _training_of_run(path):
    """The TrainingRequest in the config.yaml that a training run leaves beside its model.keras."""
    from resdense_keras import training

    beside = path.with_name("config.yaml")
    try:
        return training.TrainingRequest.from_config(training.read_config(beside)) if beside.is_file() else None
    except (RequestError, KeyError, TypeError):  # it is something else, or was changed
        return None


def class_names(net, dataset, file=None):
    """A name for each output: of the `--labels` file, else of the weights or run, else of the data; None of none.

    Raises:
        RequestError: a wrong number of names, or the data number their classes otherwise than the model.
    """
    outputs = net.model.output_shape[-1]
    if file is not None:
        names = labels(file)
        if len(names) != outputs:
            message = f"--labels {file} has {len(names)} names, the model {outputs} outputs"
            raise RequestError(message, "give a name a line, in the order of the outputs")
        return names
    given = dataset.class_names if dataset else None
    if net.class_names and given and net.class_names[: len(given)] != tuple(given):
        number = next((i for i, pair in enumerate(zip(net.class_names, given, strict=False)) if pair[0] != pair[1]), 0)
        raise RequestError(
            f"class {number} is {net.class_names[number]!r} for the model and {given[number]!r} in {dataset.spec}",
            "give data with the model's classes in its order, or say with --labels what the outputs mean",
        )
    return net.class_names or given


def dataset(spec, net, image_size=None, on_bad_image="fail", resize=None):
    """The data of `spec` in the size and the channels that a Net takes, photos resized as it was trained.

    Args:
        resize: How instead, of data.resizing.RULES; another way than the training's is warned of.
    Raises:
        RequestError: images of another shape than the model takes.
    """
    from resdense_keras import data

    image_shape, folder = net.image_shape, data.is_folder(spec)
    own = tuple(image_shape[:2]) if folder and None not in image_shape[:2] else None
    loaded = data.load(
        spec,
        image_size=image_size or own,
        channels=image_shape[-1] if folder else None,
        resize=(resize or net.resize or resizing.DEFAULT) if folder else (resize or resizing.DEFAULT),
        on_bad_image=on_bad_image,
    )
    _warn_of_resizing(net, loaded, resize)
    if any(side not in (None, given) for side, given in zip(image_shape, loaded.image_shape, strict=True)):
        raise RequestError(f"{spec} has images of shape {loaded.image_shape}, the model takes {tuple(image_shape)}")
    return loaded


def _warn_of_resizing(net, dataset, asked):
    """Warns where photos may be judged otherwise than the net was trained."""
    if dataset.found is None:
        return
    if asked and net.resize and asked != net.resize:
        print(f"warning: --resize {asked} was given; {net.name} was trained with {net.resize}", file=sys.stderr)
    height, width, _ = dataset.image_shape
    others = [size for size in dataset.found.sizes if size[0] * width != size[1] * height]
    if asked or net.resize or not others:
        return
    print(
        f"warning: photos such as {others[0][0]}x{others[0][1]} have another shape than the input of {height}x{width}: "
        f"here they are resized by {dataset.resize} ({resizing.RULES[dataset.resize].words}), while Keras' own loaders "
        f"stretch ({resizing.RULES['stretch'].words}); pass the one that {net.name} was trained with as --resize",
        file=sys.stderr,
    )


def labels(path):
    """The class names of a text file, one a line; a byte-order mark is no part of the first."""
    try:
        names = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RequestError(f"--labels {path}: {reason}", "give a text file with a class name a line") from None
    if not names:
        raise RequestError(f"--labels {path} holds no names", "give a text file with a class name a line")
    return names


def image_shape(model, image_size=None):
    """(H, W, C) of the file's input: the model's own, its open sizes filled from `image_size`."""
    inputs, outputs = ([end.name for end in getattr(model, side, None) or ()] for side in ("inputs", "outputs"))
    if (len(inputs), len(outputs)) != (1, 1):
        named = f"; its inputs are {', '.join(inputs)}, its outputs {', '.join(outputs)}" if inputs else ""
        name = getattr(model, "name", model)
        raise RequestError(
            f"model {name!r} is not a built Functional model with one input and one output{named}",
            "export a classifier: one image in, one vector of probabilities out",
        )
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) != 3 or shape[2] is None:
        raise RequestError(f"the model's input has shape {shape}; an image is (height, width, channels)")
    if image_size is None:
        if None in shape:
            raise RequestError(
                f"the model's input has shape {shape}: phones need a fixed image size", "pass --image-size, such as 224"
            )
        return shape
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or any(own not in (None, asked) for own, asked in zip(shape, size, strict=False)):
        raise RequestError(f"image size {image_size} was given; the model takes {shape[:2]}", "leave --image-size out")
    return (*size, shape[2])


def are_probabilities(outputs):
    """Whether each row of (N, classes) is a distribution; what a layer is called says less."""
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


def generated_images(shape, count=16, seed=0):
    """(count, *shape) uint8 images of blocks with some noise; noise alone would leave every unit near its mean."""
    height, width, channels = shape
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (count, math.ceil(height / 8), math.ceil(width / 8), channels))
    blocks = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
    return np.clip(blocks + random.normal(0, 16, blocks.shape), 0, 255).astype(np.uint8)
