"""The meaning of a model's outputs, read from its last layer; files are judged, described and shown by it."""

import numpy as np

from resdense_keras import compat

PROBABILITIES, TWO, LABELS, SCORES, FEATURES = "probabilities", "two classes", "labels", "scores", "features"
MEANINGS = {
    PROBABILITIES: "probabilities",
    TWO: "probability of the second class in labels.txt; the first has the rest",
    LABELS: "probabilities, one per class: several classes may apply, or none",
    SCORES: "scores as the model gives them, not probabilities",
    FEATURES: "numbers as the model gives them, not classes",
}
PROBABLE = (PROBABILITIES, TWO, LABELS)  # numbers from 0 to 1
HALF = 0.5  # probability from which the second of two classes is chosen


def kind(model, outputs=None):
    """A key of MEANINGS, by the last layer, and by measured `outputs` (N, numbers) where they are given."""
    found = _by_structure(model)
    if outputs is None or len(model.outputs[0].shape) != 2 or found in (TWO, LABELS):
        return found
    if are_probabilities(outputs) and outputs.shape[1] > 1:
        return PROBABILITIES
    return SCORES if found == PROBABILITIES else found


def has_classes(answers):
    """Whether the outputs are classes, so that images with labels can judge them."""
    return answers != FEATURES


def classes(answers, outputs):
    """Number of classes that a model with so many outputs tells apart; None where the outputs are not classes."""
    return None if answers == FEATURES else 2 if answers == TWO else outputs


def by_class(outputs):
    """(N, classes): a single number per image becomes the two probabilities that it stands for."""
    return np.concatenate([1 - outputs, outputs], axis=1) if outputs.shape[1] == 1 else outputs


def top(outputs):
    """(N,) predicted class numbers of (N, outputs)."""
    return (outputs[:, 0] > HALF).astype(int) if outputs.shape[1] == 1 else outputs.argmax(axis=1)


def are_probabilities(outputs):
    """Whether each row of (N, classes) is a distribution; this is more reliable than a layer's name."""
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


def _by_structure(model):
    shape = model.outputs[0].shape
    if len(shape) != 2:
        return FEATURES
    layer, activation = _end(model.outputs[0])
    if activation == "softmax":
        return PROBABILITIES if shape[-1] != 1 else FEATURES
    if activation == "sigmoid":
        return TWO if shape[-1] == 1 else LABELS
    return SCORES if activation == "linear" and layer in ("Dense", "Conv2D") and shape[-1] != 1 else FEATURES


def _end(tensor):
    """(class of the last layer that computes, its activation) in the chain of layers that makes a tensor."""
    while True:
        operation, node, number = compat.maker(tensor)
        name = type(operation).__name__
        inner = compat.graph(operation)
        if hasattr(inner, "outputs") and compat.is_graph(inner):
            tensor = inner.outputs[number]
            continue
        own = "softmax" if name == "Softmax" else "sigmoid" if name == "Sigmoid" else None
        own = own or getattr(getattr(operation, "activation", None), "__name__", "linear")
        sources = compat.sources(operation, node)
        if own != "linear" or not sources or not _passes(name, sources[0], tensor):
            return name, own
        tensor = sources[0]


def _passes(name, source, tensor):
    """Whether a layer without an activation gives the same numbers for the same classes."""
    if name in ("Flatten", "Reshape"):  # of a single pixel, behind a convolution that gives the classes
        return tuple(source.shape[1:]) == (1,) * (len(source.shape) - 2) + tuple(tensor.shape[-1:])
    return name in ("Activation", "Identity", "Dropout", "Cast")
