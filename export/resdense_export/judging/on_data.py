"""Evaluates a .tflite file on the test images of a data spec, and finds the file to compare it with."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from resdense_keras.data import resizing
from resdense_keras.errors import RequestError, WorkError

from .. import sources
from ..models import answers
from ..tflite.child import Child, Fault

CHANNELS = (1, 3, 4)


def evaluate_file(path, spec, image_size=None, on_bad_image="fail", resize=None):
    """Figures of a .tflite file on the test images, in the form of training.evaluate.

    Raises:
        RequestError: there is no such file, its outputs are not classes, or the images have another shape, or more or
            other classes, than the file.
        WorkError: the file does not open or run, or an output is not finite.
    """
    from resdense_keras.training.evaluation import as_probabilities, figures

    if not has_classes(path):
        raise RequestError(f"{Path(path).name}: its outputs are not classes, says model.json", "evaluate a classifier")
    dataset, outputs = answered(path, spec, image_size, on_bad_image, resize)
    dataset.check_outputs(max(2, outputs.shape[1]))
    names = sources.agreed(_labels(path, max(2, outputs.shape[1])), dataset.class_names, dataset.spec)
    return figures(as_probabilities(outputs, Path(path).name), dataset.test.labels, names)


def answered(path, spec, image_size=None, on_bad_image="fail", resize=None):
    """(the Dataset of `spec` in the file's size, the file's outputs (N, numbers) for its test images).

    Photos are resized by `resize`; without it as the bundle's model.json says, or by the default.

    Raises:
        RequestError: the file does not take one image and give one output, or the images do not fit it.
    """
    if not Path(path).is_file():
        raise RequestError(f"there is no file {str(path)!r}", "give a .tflite file")
    with Child() as child:
        try:
            opened = child.open(path)
            _check_ends(Path(path).name, opened)
            shape = opened["input"]
            if not _told(path, "input"):
                print(
                    f"note: {Path(path).name} is given pixels from 0 to 255, because nothing beside it says what it "
                    "takes; if it was made for others, such as 0 to 1, its accuracy means nothing",
                    file=sys.stderr,
                )
            kind = answers.PROBABILITIES if has_classes(path) else answers.FEATURES
            net = SimpleNamespace(name=Path(path).name, image_shape=tuple(shape[1:]), resize=_rule(path), answers=kind)
            dataset = sources.dataset(spec, net, image_size, on_bad_image, resize)
            return dataset, child.run(path, dataset.test.array())
        except Fault as fault:
            raise WorkError(f"{Path(path).name}: {fault}", f"`resdense check {path}` says more") from None


def _check_ends(name, opened):
    """Refuses a file that is not (1, height, width, channels) -> one vector of numbers."""
    shape = opened["input"]
    if len(opened["signatures"]) > 1:
        message = f"{name} has several signatures ({', '.join(opened['signatures'])}), and one of them can be judged"
        raise RequestError(message, "convert the net with signature_keys=[...] of that one")
    for side in ("inputs", "outputs"):
        if len(opened[side]) != 1:
            message = f"{name} has {len(opened[side])} {side} ({', '.join(opened[side])}); one image in and one "
            raise RequestError(f"{message}vector of classes out can be judged", "convert the net with that part only")
    if len(shape) == 4 and shape[0] == 1 and shape[3] not in CHANNELS and shape[1] in CHANNELS:
        message = f"{name} takes {shape}, the channels first; images are given as (1, height, width, channels)"
        raise RequestError(message, "convert the net with channels last, which phones compute with")
    if len(shape) != 4 or shape[0] != 1:
        message = f"{name} takes {shape}, not one image (1, height, width, channels)"
        raise RequestError(message, "convert the net for a batch of one image")


def has_classes(path):
    """Whether a file's outputs are classes: False only where the model.json beside it says so."""
    output = _told(path, "output")
    return "classes" not in output or output["classes"] is not None


def float_twin(path):
    """The fp32 file in the bundle of a .tflite file; None outside a bundle, and for the fp32 file itself."""
    path = Path(path)
    rows = {name: row for name, row in _told(path, "files").items() if isinstance(row, dict)}
    names = [name for name, row in rows.items() if (row.get("scheme"), row.get("converter")) == ("fp32", "rewritten")]
    found = [path.with_name(name) for name in names if name == Path(name).name and name != path.name]
    return found[0] if found and found[0].is_file() else None


def _told(path, key):
    """One object of the model.json beside a file of a bundle; {} where there is none."""
    path = Path(path)
    try:
        told = json.loads((path.parent / "model.json").read_bytes())
        found = told[key] if path.name in told["files"] else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _rule(path):
    """The rule of data.resizing.RULES whose words are in model.json; None where there are none."""
    told = _told(path, "input").get("resize")
    return next((rule for rule in resizing.RULES if resizing.words(rule) == told), None)


def _labels(path, count):
    """The names in the bundle's labels.txt if there is one for each class, else None."""
    if (
        _told(path, "output").get("labels") != "labels.txt"
        or not (beside := Path(path).with_name("labels.txt")).is_file()
    ):
        return None
    names = sources.labels(beside)
    return names if len(names) == count else None
