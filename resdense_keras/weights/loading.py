"""`load_weights`: a file's tensors into a model, all of them or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import RequestError
from . import mapping, reader
from .headers import refusal, shortened

if TYPE_CHECKING:
    import keras

HEAD = "predictions/"
HEAD_RANK = 2  # axes of a dense kernel, the largest tensor of a head
FLOATS = ("float32", "float16", "bfloat16", "float64")
LISTED = 4  # entries of each kind in an error; the rest is counted


def load_weights(model: keras.Model, source: str | Path, *, head: str | None = None) -> keras.Model:
    """Loads the weights of `source` into `model`; on any error the model keeps the ones it has.

    It reads Keras' .weights.h5 and .keras (only the weights in it), keras.applications' .h5, and the tensors of timm,
    torchvision and the usual CIFAR nets as .safetensors or .npz. Names decide where a tensor goes, and shapes are
    checked before any bytes are read. Every tensor of the file needs a place in the model, and every weight of the
    model a tensor. What is not a weight is ignored: an optimizer's state, random states, `num_batches_tracked`.

    Args:
        model: Net of this package, or any model with these layer names.
        source: Path of the file (nothing in it is run, deserialized or unpickled), or the name of a set of weights of
            this net.
        head: None, or "skip" to ignore the dense head of the file, whatever its layers are called, and to leave that of
            the model as it is (for other classes, or a net without head).
    Returns:
        `model`.
    Raises:
        RequestError (a ValueError): the file is damaged or hostile, or does not fit; the message lists both sides with
            shapes.
    Example:
        >>> net = resdense_keras.resnet20_digits(weights="digits")
        >>> net.save_weights("mine.weights.h5")
        >>> resdense_keras.load_weights(resdense_keras.resnet20_digits(width=5), "mine.weights.h5").output_shape
        (None, 10)
    """
    if head not in (None, "skip"):
        raise RequestError(f"head={head!r} was given; allowed: None, 'skip'")
    if _is_name(source):
        from .table import find, load_named

        return load_named(model, find(model.name, source), head=head)
    variables = _variables(model, head)
    shapes = {key: tuple(variable.shape) for key, variable in variables.items()}
    with reader.opened(source) as file:
        found = mapping.places(file.headers, shapes, _layer_names(model))
        found = {name: place for name, place in found.items() if not (head and _of_head(place))}
        _check_fit(file, found, shapes, model.name, head)
        arrays = {place.key: _fitted(file, name, place, variables[place.key]) for name, place in found.items()}
    for key, array in arrays.items():
        variables[key].assign(array)
    return model


def _is_name(source):
    """Whether a source is the name of a set of weights: no such file exists, and it is not written like a path."""
    return isinstance(source, str) and not Path(source).suffix and Path(source).name == source and bool(source)


def _of_head(place):
    """Whether a tensor belongs to the head: by our name for it, or as one of a dense layer or norm that no dialect
    knows."""
    return place.key.startswith(HEAD) if place.key else len(place.shape) <= HEAD_RANK


def _variables(model, head):
    """{"layer/variable": variable} of all weights, the head's left out where it is skipped."""
    variables = {}
    for variable in model.weights:
        key = "/".join(variable.path.split("/")[-2:])  # before them come the models and layers that contain it
        if key in variables:
            raise RequestError(
                f"{model.name} has two weights called {key!r}; a file's names must lead to one",
                "load the parts one by one, e.g. load_weights(model.get_layer(...), path)",
            )
        variables[key] = variable
    return {key: variable for key, variable in variables.items() if not (head and key.startswith(HEAD))}


def _layer_names(model):
    names = {}
    for layer in model.layers:
        names.setdefault(type(layer).__name__, []).append(layer.name)
    return names


def _fitted(file, name, place, variable):
    """The tensor in the layout and type of the variable."""
    if file.headers[name].dtype not in FLOATS:
        raise refusal(file.path, f"its type is {file.headers[name].dtype}, a weight is a floating-point number", name)
    array = file.read(name)
    array = array.transpose(place.axes) if place.axes else array
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype="float64" if variable.dtype == "float64" else "float32")
    if not np.isfinite(array).all():
        raise refusal(file.path, "its values are too large for float32", name)
    if place.key.endswith("/moving_variance") and (array < 0).any():
        raise refusal(file.path, "a variance is negative", name)
    return array


def _check_fit(file, found, shapes, model_name, head):
    """Raises one error that lists everything that does not fit, on both sides."""
    placed = {}
    homeless = []  # tensors of the file
    for name, place in found.items():
        twice = place.key in placed
        if place.key not in shapes or twice:
            homeless.append(f"{shortened(name)} {file.headers[name].shape}" + (" (twice)" if twice else ""))
        else:
            placed[place.key] = name
    empty = [f"{key} {shape}" for key, shape in shapes.items() if key not in placed]
    misfits = [
        f"{key} is {shapes[key]}, {shortened(name)} gives {found[name].shape}"
        for key, name in placed.items()
        if shapes[key] != found[name].shape
    ]
    problems = [
        _listed("without a place in the model", homeless),
        _listed("without a tensor in the file", empty),
        _listed("of another shape", misfits),
    ]
    if any(problems):
        reason = "; ".join(problem for problem in problems if problem)
        raise refusal(file.path, f"it does not fit {model_name}: {reason}", hint=_hint(found, shapes, placed, head))


def _listed(what, entries):
    if not entries:
        return ""
    more = f", and {len(entries) - LISTED} more" if len(entries) > LISTED else ""
    return f"{len(entries)} {what}: {', '.join(entries[:LISTED])}{more}"


def _hint(found, shapes, placed, head):
    """The hint: skip the head where nothing else differs, or build the variant that the file's names belong to."""
    keys = {place.key for place in found.values() if place.key}
    wrong = (keys ^ set(shapes)) | {key for key, name in placed.items() if shapes[key] != found[name].shape}
    if head is None and wrong and all(key.startswith(HEAD) for key in wrong):
        return "only the head differs: pass head='skip' to leave the model's own"
    mine, theirs = mapping.traits(shapes), mapping.traits(keys)
    differing = {option: values for option, values in theirs.items() if mine.get(option) != values}
    if differing:
        wanted = ", ".join(f"{option}={' or '.join(map(repr, values))}" for option, values in differing.items())
        return f"the file holds the weights of a ResNet with {wanted}: build that one"
    return "build the net that the file was made from"
