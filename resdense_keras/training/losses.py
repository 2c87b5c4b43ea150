"""The loss and the accuracy that fit a net's outputs: probabilities or logits, for many classes or a single output for
two."""

import keras

from .. import compat
from ..errors import RequestError

PROBABILITIES = ("softmax", "sigmoid")
PASSING = ("Activation", "Cast", "Flatten", "Identity", "Reshape")  # operations that are neither; their input decides


def loss_and_accuracy(model, label_smoothing):
    """(loss, metric) for one-hot labels; where the net has one output, for the share of the second class, (N, 1).

    Raises:
        RequestError: the net's outputs are not classes, or a softmax of one number, which is always 1.
    """
    shape = model.output_shape
    if len(shape) != 2:
        raise RequestError(
            f"{model.name} gives {' x '.join(map(str, shape[1:]))} numbers per image, which are not classes",
            "train it with its head: without include_top=false",
        )
    if shape[-1] == 1 and activation(model) == "softmax":
        raise RequestError(
            f"{model.name} ends in a softmax of one number, which is 1 for every image",
            "leave `classes` out, or add --set classifier_activation=sigmoid for two classes",
        )
    logits = not gives_probabilities(model)
    if model.output_shape[-1] == 1:
        return (
            keras.losses.BinaryCrossentropy(from_logits=logits, label_smoothing=label_smoothing),
            keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0 if logits else 0.5),
        )
    return (
        keras.losses.CategoricalCrossentropy(from_logits=logits, label_smoothing=label_smoothing),
        keras.metrics.CategoricalAccuracy(name="accuracy"),
    )


def gives_probabilities(model):
    """Whether the last operation of a Functional net is a softmax or a sigmoid, by itself or as an activation."""
    return activation(model) is not None


def activation(model):
    """ "softmax" or "sigmoid" where that is the last operation of a Functional net, else None."""
    tensor = model.outputs[0]
    while True:
        operation, *_ = compat.maker(tensor)
        if isinstance(operation, keras.Model):
            tensor = operation.outputs[0]
            continue
        names = {type(operation).__name__.lower(), getattr(getattr(operation, "activation", None), "__name__", "")}
        if found := names & set(PROBABILITIES):
            return found.pop()
        if type(operation).__name__ not in PASSING or getattr(operation, "activation", None) not in _LINEAR:
            return None
        tensor = operation.input


_LINEAR = (None, keras.activations.linear)
