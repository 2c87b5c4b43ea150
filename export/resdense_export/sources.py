"""Turns what the command line names (a net, a file, data, labels) into objects."""

import dataclasses
import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resdense_keras import compat
from resdense_keras.data import resizing
from resdense_keras.errors import RequestError, WorkError, unknown

from .models import answers, fitness, opening, pixels, trained_pixels

UNKNOWN_PIXELS = (
    "{name} has no normalisation at its front and is given pixels from 0 to 255; if it was trained on others, say so "
    "by --preprocessing: 0..1 (x / 255), -1..1 (x / 127.5 - 1) or imagenet"
)


@dataclass(frozen=True)
class Net:
    """A model to export.

    Attributes:
        preprocessing: The normalisation inside it as JSON, or "unknown".
        class_names: Class names of the weights or the training run, or None.
        resize: How photos were resized in its training, a name of data.resizing.RULES; None where that is not known.
        training: TrainingRequest of the training run that the file belongs to, or None.
        family: "resnet", "densenet", "plain" or "other"; None where it was not determined.
        slimmed: What was removed from a slim net and how it was trained, see `_slimmed`; None for other nets.
    """

    name: str
    model: Any
    preprocessing: Any
    class_names: tuple[str, ...] | None = None
    resize: str | None = None
    training: Any = None
    family: str | None = None
    slimmed: dict[str, Any] | None = None

    @property
    def batch_size(self):
        """Of its training, or None."""
        return self.training and self.training.recipe.batch_size

    @property
    def answers(self):
        """What its outputs mean, a key of answers.MEANINGS."""
        return answers.kind(self.model)

    @property
    def outputs_are(self):
        """ "classes" where a single output stands for two classes, else "outputs"."""
        return "classes" if self.answers == answers.TWO else "outputs"

    @property
    def image_shape(self):
        """(H, W, C) of one image, None where a size is open."""
        return self.model.input_shape[1:]

    @property
    def takes_pixels(self):
        """Whether the input is known to be pixels in [0, 255]."""
        return self.preprocessing != "unknown"


def model(name_or_file, weights=None, options=None, image_size=None, preprocessing=None, softmax=False):
    """The catalogue's net of that name with its normalisation inside, or the model in a file.

    Args:
        name_or_file: Name in the catalogue, or path of a .keras or .h5 file.
        weights, options: Arguments of the builder.
        image_size: Side in pixels, where the model leaves it open.
        preprocessing: The normalisation that the model expects: a key of PREPROCESSING or "model/weights", which is
            then put in front of it, or "none" for a model that takes pixels in [0, 255].
        softmax: Add a softmax after the model's output.
    Raises:
        RequestError: there is no such model, or the arguments do not fit it.
    """
    from resdense_keras import list_models

    if opening.is_path(name_or_file, list_models()):
        net = _from_file(Path(name_or_file), weights, options, image_size, preprocessing)
    else:
        net = _from_catalogue(str(name_or_file), weights, options, image_size, preprocessing)
    return dataclasses.replace(net, model=_with_softmax(net.model)) if softmax else net


def _from_catalogue(name, weights, options, image_size, preprocessing):
    import resdense_keras
    from resdense_keras.catalog import family

    options = dict(options or {})
    if image_size is not None:
        channels = resdense_keras.catalog.sizes()[name]["input_shape"][2]
        options.setdefault("input_shape", (image_size, image_size, channels))
    if preprocessing is not None:
        if "include_preprocessing" in options:
            raise RequestError("--preprocessing and --set include_preprocessing were given", "leave one of them out")
        channels = (options.get("input_shape") or resdense_keras.catalog.sizes()[name]["input_shape"])[-1]
        options["include_preprocessing"] = _record(preprocessing, channels) or False
    elif "include_preprocessing" not in options and weights is not None:
        options["include_preprocessing"] = trained_pixels.trained_pixels(name, weights) or True
    options.setdefault("include_preprocessing", True)
    built = fitness.fitted(resdense_keras.create(name, weights=weights, **options))
    if weights is None:
        print("warning: no --weights: the net is untrained, so its gates mean nothing", file=sys.stderr)
    known = preprocessing_inside(built)
    if preprocessing == "none":
        known = _as_they_are(built.input_shape[-1])
    names = names_of_weights(weights, built.output_shape[-1])
    return Net(name, built, known, names, resizing.DEFAULT, family=family(name))


def _from_file(path, weights, options, image_size, preprocessing):
    for flag, value in (("--weights", weights), ("--set", options)):
        if value:
            message = f"{flag} was given with the file {path.name}; it belongs to a catalogue name"
            raise RequestError(message, f"leave {flag} out")
    loaded = fitness.fitted(opening.open_model(path))
    shape = image_shape(loaded, image_size)
    inside = preprocessing_inside(loaded)
    if preprocessing is not None and (found := pixels.front(loaded)).names:
        raise RequestError(
            f"--preprocessing {preprocessing} was given; {path.name} normalises its pixels already, in "
            f"{', '.join(found.names)} ({type(_operation(loaded, found.names[0])).__name__})",
            "leave --preprocessing out",
        )
    record = preprocessing and _record(preprocessing, shape[-1])
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
    classes = answers.classes(answers.kind(loaded), loaded.output_shape[-1])
    names = _labels_of_run(path, classes)
    return Net(_name(path, loaded, run), loaded, known, names, resize, run, _family(loaded), _slimmed(path, run))


def _name(path, model, run):
    """The name for files and report: that of the net, which a training run writes into its model.keras, or the file's
    stem."""
    from resdense_keras import list_models

    of_run = (run and run.slim) or re.sub(r"_slim\d+$", "", model.name) in list_models()
    return model.name if of_run and path.name == "model.keras" else path.stem


def _family(model):
    """The family of a net, by its name in a training run, or by its structure."""
    from resdense_keras.catalog import family
    from resdense_keras.families import recognised

    named = family(re.sub(r"_slim\d+$", "", model.name))
    return recognised(model) if named == "other" else named


def _operation(model, name):
    return next(call.operation for call in fitness.calls(model) if call.operation.name == name)


def _record(preprocessing, channels):
    """The Preprocessing of that name for images of so many channels, or None for "none"."""
    from resdense_keras.preprocessing import PREPROCESSING
    from resdense_keras.weights.pixels_and_classes import record

    if preprocessing == "none":
        return None
    if "/" not in preprocessing and preprocessing not in PREPROCESSING:
        raise unknown("preprocessing", preprocessing, [*PREPROCESSING, "MODEL/WEIGHTS", "none"])
    return record(preprocessing).for_channels(channels)


def _with_input(model, shape, record):
    """`model` for images of `shape`, after the normalisation of `record` if there is one.

    Its layers are called once more: a model inside a model would keep the sizes that it was built with, and those that
    are open stop the rewrites that need them.
    """
    import keras

    graph = compat.graph(model)
    (own,) = graph.inputs
    image = keras.Input(shape, dtype=None if record else own.dtype, name=compat.maker(own)[0].name)
    normalised = record.apply(image) if record else image
    for call in compat.calls(keras.Model(image, normalised)):
        if not call.is_input:
            call.operation.name = _free(call.operation.name, graph)
    try:
        outputs = compat.run_through(graph, normalised, lambda operation: operation)
    except ValueError as error:
        raise RequestError(
            f"images of {shape[0]}x{shape[1]} do not fit model {model.name!r}: one of its layers gets too few pixels",
            "pass a larger --image-size, such as the one that it was trained with",
        ) from error
    return keras.Model(image, outputs, name=model.name)


def _free(name, graph):
    """`name`, with more signs where an operation of the graph has it."""
    taken = {operation.name for operation in graph.operations}
    while name in taken:
        name += "_"
    return name


def _with_softmax(model):
    import keras

    if len(model.output_shape) != 2:
        raise RequestError(f"--softmax was given; the model's output is {model.output_shape}, not (None, classes)")
    if model.output_shape[-1] == 1:
        raise RequestError(
            "--softmax was given; the model has one output, and a softmax of one number is always 1",
            "leave it out; for the probability of the second of two classes, end the model with a sigmoid",
        )
    if answers.kind(model) in answers.PROBABLE:
        raise RequestError("--softmax was given; the model's outputs are probabilities already", "leave it out")
    outputs = model.predict(generated_images(model.input_shape[1:], count=2), verbose=0)
    if answers.are_probabilities(outputs):
        raise RequestError("--softmax was given; the model's outputs are probabilities already", "leave it out")
    softmax = keras.layers.Softmax(name=_free("softmax", compat.graph(model)))
    return keras.Model(model.inputs, softmax(model.outputs[0]), name=model.name)


def way_to_classes(model):
    """A hint for a model whose numbers are not known to be classes."""
    if model.output_shape[1:] == (1,):
        return (
            "if it is the score of the second of two classes, add the sigmoid that makes it a probability: "
            "keras.Sequential([model, keras.layers.Activation('sigmoid')]).save('net.keras')"
        )
    return "evaluate a classifier: one number per class, from a Dense layer or a softmax"


def preprocessing_inside(model):
    """{"channels", "scale", "offset"} of the normalisation of pixels in [0, 255] at the model's front; "unknown" where
    none is found.

    It is x * scale + offset, with one number per channel in the order of `channels`: "BGR" where the last axis is
    flipped first, as for weights from Caffe. The model itself takes RGB.
    """
    found = pixels.front(model)
    if not found.takes_pixels:
        return "unknown"
    scale, offset = (values.astype(float).tolist() for values in (found.scale, found.offset))
    return {"scale": scale, "offset": offset, "channels": "BGR" if found.flipped else _channels(model.input_shape[-1])}


def _as_they_are(channels):
    return {"scale": [1.0] * channels, "offset": [0.0] * channels, "channels": _channels(channels)}


def _channels(count):
    return {1: "L", 3: "RGB", 4: "RGBA"}.get(count, "other")


def names_of_weights(weights, outputs):
    """The class names of a named set of weights, or None; for "imagenet" Keras' index is downloaded."""
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
    """The names in the labels.txt that a training run writes beside its model.keras, if there is one per output."""
    beside = path.with_name("labels.txt")
    if not beside.is_file():
        return None
    names = labels(beside)
    if len(names) == outputs:
        return names
    print(f"note: {beside} has {len(names)} names, the model {outputs} outputs: left out", file=sys.stderr)
    return None


def _training_of_run(path):
    """The TrainingRequest in the config.yaml that a training run writes beside its model.keras."""
    from resdense_keras import training

    beside = path.with_name("config.yaml")
    try:
        return training.TrainingRequest.from_config(training.read_config(beside)) if beside.is_file() else None
    except (RequestError, KeyError, TypeError):  # it is something else, or was changed
        return None


def _slimmed(path, run):
    """{"from", "target", "macs", "parameters", "narrower", "removed_blocks", "scored", "repaired", "epochs", "teacher",
    "temperature"} of a run of `resdense slim`, for report.json; None for any other file.

    `epochs` is 0 where no epoch answered more held-out images rightly than the repaired net, which was kept then.
    """
    if not (run and run.slim):
        return None
    from resdense_keras.training import state

    try:
        plan = json.loads(path.with_name("slim.json").read_bytes())
        return {
            "from": plan["from"],
            "target": plan["target"],
            "macs": plan["macs"],
            "parameters": plan["predicted"]["parameters"],
            "narrower": sum(after > 0 for _, after in plan["widths"].values()),
            "removed_blocks": plan["removed_blocks"],
            "scored": plan["images"],
            "repaired": plan["repaired"],
            "epochs": 0 if state.best_file(path.parent, 0).is_file() else _epochs(path, run),
            "teacher": run.recipe.teacher,
            "temperature": run.recipe.temperature,
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # it was changed or is gone
        return None


def _epochs(path, run):
    """How many epochs a run was trained for; the recipe's `patience` may have ended it early."""
    trained = path.with_name("metrics.jsonl")
    return len(trained.read_text().splitlines()) if trained.is_file() else run.recipe.epochs


def class_names(net, dataset, file=None):
    """A name for each output: from the `--labels` file, else from the weights or run, else from the data; None where
    there are none.

    Raises:
        RequestError: the number of names is wrong, or the data's classes have another order than the model's.
    """
    count = answers.classes(net.answers, net.model.output_shape[-1])
    if count is None:
        if file is not None:
            raise RequestError("--labels was given; the model's numbers are not classes", "leave it out")
        return None
    if file is not None:
        names = labels(file)
        if len(names) != count:
            message = f"--labels {file} has {len(names)} names, the model {count} {net.outputs_are}"
            raise RequestError(message, "give one name per line, in the order of the outputs")
        return names
    return agreed(net.class_names, dataset.class_names if dataset else None, dataset and dataset.spec)


def agreed(own, given, spec):
    """The names of the classes: the model's `own`, or those that the data `spec` have.

    Raises:
        RequestError: the data's classes have another order than the model's.
    """
    if own and given and own[: len(given)] != tuple(given):
        number = next((i for i, pair in enumerate(zip(own, given, strict=False)) if pair[0] != pair[1]), 0)
        raise RequestError(
            f"class {number} is {own[number]!r} for the model and {given[number]!r} in {spec}",
            "give data with the model's classes in its order, or say with --labels what the outputs mean",
        )
    return own or given


def dataset(spec, net, image_size=None, on_bad_image="fail", resize=None):
    """The data of `spec` in the size and the channels that a Net takes; photos are resized as in its training.

    Args:
        resize: Another rule of data.resizing.RULES; a warning says where it differs from the training's.
    Raises:
        RequestError: the images have another shape than the model takes.
    """
    from resdense_keras import data

    image_shape, folder = net.image_shape, data.is_folder(spec)
    own = tuple(image_shape[:2]) if folder and None not in image_shape[:2] else None
    loaded = data.load(
        spec,
        image_size=image_size or own,
        channels=image_shape[-1] if folder else None,
        resize=resize_for(net, spec, resize),
        on_bad_image=on_bad_image,
        labelled=answers.has_classes(net.answers),
    )
    warn_of_resizing(net, loaded, resize)
    if any(side not in (None, given) for side, given in zip(image_shape, loaded.image_shape, strict=True)):
        raise RequestError(f"{spec} has images of shape {loaded.image_shape}, the model takes {tuple(image_shape)}")
    return loaded


def resize_for(net, spec, asked):
    """The rule of data.resizing.RULES for the images of `spec`: `asked`, or for photos that of the net's training."""
    from resdense_keras import data

    return asked or (net.resize if data.is_folder(spec) else None) or resizing.DEFAULT


def warn_of_resizing(net, dataset, asked):
    """Warns where photos may be resized in another way than in the net's training; `asked` is None for no wish."""
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
    """The class names of a text file, one per line; a byte-order mark does not belong to the first."""
    try:
        names = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RequestError(f"--labels {path}: {reason}", "give a text file with one class name per line") from None
    if not names:
        raise RequestError(f"--labels {path} holds no names", "give a text file with one class name per line")
    return names


def image_shape(model, image_size=None):
    """(H, W, C) of the file's input: the model's, with open sizes filled from `image_size`."""
    inputs, outputs = (
        [compat.maker(end)[0].name for end in getattr(model, side, None) or ()] for side in ("inputs", "outputs")
    )
    if (len(inputs), len(outputs)) != (1, 1):
        named = f"; its inputs are {', '.join(inputs)}, its outputs {', '.join(outputs)}" if inputs else ""
        name = getattr(model, "name", model)
        first = outputs[0] if outputs else "output"
        cut = f"cut one out: keras.Model(model.inputs, model.outputs[0]).save('one.keras') has {first!r} only"
        raise RequestError(
            f"model {name!r} is not a built Functional model with one input and one output{named}",
            cut if len(inputs) == 1 < len(outputs) else "export a net with one image in and one vector of numbers out",
        )
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) != 3 or shape[2] is None:
        raise RequestError(
            f"the model's input has shape {shape}; an image is (height, width, channels)",
            "this package exports nets for images; TensorFlow's own converter takes others: "
            "tf.lite.TFLiteConverter.from_keras_model(model)",
        )
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


def generated_images(shape, count=16, seed=0):
    """(count, *shape) uint8 images of blocks with some noise; pure noise would leave every unit near its mean."""
    height, width, channels = shape
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (count, math.ceil(height / 8), math.ceil(width / 8), channels))
    blocks = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
    return np.clip(blocks + random.normal(0, 16, blocks.shape), 0, 255).astype(np.uint8)
