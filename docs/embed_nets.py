"""Writes docs/explainer/nets.js: the digits nets that ship, their graphs, weights and lesion curves, for a browser.

    python docs/embed_nets.py          # half a minute

The page needs no build and no network, so what it computes with lies beside it. A graph is a list of operations; the
numbers of an operation are a range of one float32 array, in base64.
"""

import base64
import json
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

import resdense_keras
from resdense_keras import data
from resdense_keras.experiments import lesions
from resdense_keras.files import write_text
from resdense_keras.weights import find

TARGET = Path(__file__).parent / "explainer" / "nets.js"
NETS = {"plain20_digits": "plain", "resnet20_digits": "add", "densenet_bc28_6_digits": "concat"}
JOINS = {"add": "add", "concat": "concat", "plain": "relu"}  # what ends a block, by its name


def main():
    write_text(TARGET, script(page_data()))


def script(content):
    """The JavaScript that defines NETS."""
    return (
        "// Made by `python docs/embed_nets.py` from the weights in the wheel; do not edit.\n"
        f"const NETS = {json.dumps(content, separators=(',', ':'), allow_nan=False)};\n"
    )


def page_data():
    """All that the page knows of the nets: one entry a net, and a digit of each class from the test split."""
    digits = data.load("digits")
    return {
        "images": {split: len(part) for split, part in digits.splits.items()},
        "samples": _samples(digits.test),
        "nets": [_net(name, digits.test) for name in NETS],
    }


def build(name):
    """The net with its shipped weights, pixels in [0, 255] -> probabilities."""
    keras.utils.clear_session()  # or Keras numbers the operations on from the nets that were built before
    return resdense_keras.create(name, weights="digits", include_preprocessing=True)


def _samples(split):
    """The first test image of each class, as 64 pixels in [0, 255]."""
    first = [int(np.argmax(split.labels == label)) for label in range(10)]
    return [{"label": label, "pixels": split.images[at].ravel().tolist()} for label, at in enumerate(first)]


def _net(name, test):
    model = build(name)
    graph, numbers = described(model, NETS[name])
    found = resdense_keras.profile(model)
    return {
        "name": name,
        "connection": NETS[name],
        "accuracy": find(name, "digits").accuracy,
        "sha256": find(name, "digits").sha256,
        "trainable": found.trainable,
        "macs": found.macs,
        "activationBytes": found.activation_bytes,
        "lesions": lesions.lesion_curve(model, test.array().astype("float32"), test.labels),
        "graph": graph,
        "weights": base64.b64encode(numbers.astype("<f4").tobytes()).decode(),
    }


def described(model, connection):
    """(operations in graph order, float32 array of all their numbers).

    An operation is {"op", "name", "in": places of its inputs in the list, "shape", "at": where its numbers begin} and
    what its kind needs. "block" marks those of a block that can be pulled out, and "join" the one where that happens.
    """
    blocks = lesions.block_names(model)
    graph, numbers, places = [], [], {}
    size = 0
    for operation in model.operations:
        inputs = operation.input if isinstance(operation.input, list) else [operation.input]
        entry, arrays = _operation(operation)
        entry |= {
            "name": operation.name,
            "in": [places[id(tensor)] for tensor in inputs if id(tensor) in places],
            "shape": list(operation.output.shape[1:]),
        }
        if arrays:
            entry["at"] = size
            size += sum(array.size for array in arrays)
            numbers += [np.asarray(array, "float32").ravel() for array in arrays]
        block = next((block for block in blocks if operation.name.startswith(f"{block}_")), None)
        if block:
            entry["block"] = block
            if operation.name == f"{block}_{JOINS[connection]}":
                entry["join"] = True
        places[id(operation.output)] = len(graph)
        graph.append(entry)
    return graph, np.concatenate(numbers)


def _operation(operation):
    """({"op", ...}, arrays) of one operation of the kinds that these nets are made of."""
    inputs = operation.input
    match type(operation).__name__:
        case "InputLayer":
            return {"op": "input"}, []
        case "Rescaling":
            return {"op": "scale"}, [np.atleast_1d(operation.scale), np.atleast_1d(operation.offset)]
        case "Conv2D":
            entry = {"kernel": operation.kernel_size[0], "stride": operation.strides[0]}
            return {"op": "conv", "pad": _padding(operation), **entry}, [ops.convert_to_numpy(operation.kernel)]
        case "BatchNormalization":
            return {"op": "scale"}, _scale_and_offset(operation)
        case "ReLU":
            return {"op": "relu"}, []
        case "Add":
            return {"op": "add"}, []
        case "Concatenate":
            return {"op": "concat"}, []
        case "ZeroPadding2D":
            return {"op": "zeros", "pad": operation.padding[0][0]}, []
        case "GetItem":  # option A's shortcut: every second pixel
            return {"op": "subsample", "stride": -(-inputs.shape[1] // operation.output.shape[1])}, []
        case "Pad":  # and channels of zeros, half on each side
            return {"op": "widen", "before": (operation.output.shape[-1] - inputs.shape[-1]) // 2}, []
        case "AveragePooling2D":
            return {"op": "average", "size": operation.pool_size[0]}, []
        case "GlobalAveragePooling2D":
            return {"op": "mean"}, []
        case "Dense":
            return {"op": "dense"}, [ops.convert_to_numpy(operation.kernel), ops.convert_to_numpy(operation.bias)]
    raise NotImplementedError(f"{operation.name}: the page knows no {type(operation).__name__}")


def _padding(conv):
    return conv.kernel_size[0] // 2 if conv.padding == "same" else 0


def _scale_and_offset(norm: layers.BatchNormalization):
    """Batch norm in inference, y = scale * x + offset, one of each a channel."""
    gamma, beta, mean, variance = (ops.convert_to_numpy(weight).astype("float64") for weight in norm.weights)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return [scale, beta - mean * scale]


if __name__ == "__main__":
    main()
