"""Configurations of Keras 2 (tf_keras), translated to Keras 3: its layers, its operations of TensorFlow, its calls."""

import contextlib
import re

import numpy as np

from resdense_keras import compat

MODELS = {kind: f"{compat.KERAS_MODELS}.{kind.lower()}" for kind in ("Functional", "Sequential")}
MODELS["Model"] = MODELS["Functional"]
DOTS = "__ellipsis__"  # `...` and `:` in a file
WHOLE = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}
WHOLE_2 = WHOLE["config"]  # as Keras 2 writes it
FLIP = "Flip"  # the operation keras.ops.flip
CONSTANT = "_CONSTANT_VALUE"  # stands where a call has a number in place of a tensor, as in 1 - x


def name_of(entry):
    """The name of a layer's entry, or None."""
    config = entry.get("config")
    return entry.get("name") or (config.get("name") if isinstance(config, dict) else None)


def as_keras_3(entry):
    """A configuration of Keras 2, translated to Keras 3."""
    if isinstance(entry, list):
        return [as_keras_3(part) for part in entry]
    if not isinstance(entry, dict):
        return entry
    entry = {key: as_keras_3(value) for key, value in entry.items()}
    kind, config = entry.get("class_name"), entry.get("config")
    if kind in MODELS:
        entry |= {"module": MODELS[kind], "class_name": kind.replace("Model", "Functional")}
        entry["registered_name"] = entry["class_name"]
    elif isinstance(entry.get("module"), str):
        entry["module"] = re.sub(r"^tf_keras(\.src)?", "keras", entry["module"])
    if isinstance(config, dict) and kind == "InputLayer" and "batch_input_shape" in config:
        config["batch_shape"] = config.pop("batch_input_shape")
    return entry


def with_layers_of_keras_3(entry):
    """A configuration of Keras 2 with the layers of Keras 3, and the calls counted as there."""
    return _calls_from_zero(_without_its_layers(entry))


def _without_its_layers(entry):
    """A configuration of Keras 2 in which layers of Keras 3 stand in the place of those that it lacks.

    TFOpLambda and SlicingOpLambda hold an operation of TensorFlow on the output of a layer, as in `preprocess_input`.
    Layers that augment images have other settings, and do nothing in inference (a RandomCrop does).
    """
    if isinstance(entry, list):
        if len(entry) >= 3 and isinstance(entry[0], str) and all(type(number) is int for number in entry[1:3]):
            entry = [entry[0].replace("/", "_"), *entry[1:]]  # a reference to a layer
        return [_without_its_layers(part) for part in entry]
    if not isinstance(entry, dict):
        return entry
    entry = {key: _without_its_layers(value) for key, value in entry.items()}
    kind, config = str(entry.get("class_name")), entry.get("config")
    if isinstance(entry.get("name"), str):
        entry["name"] = entry["name"].replace("/", "_")  # which no name of Keras 3 may hold
    if not isinstance(config, dict):
        return entry
    if kind != "InputLayer":
        config.pop("batch_input_shape", None)  # the InputLayer before has it
    if config.get("groups") == 1 and kind in ("DepthwiseConv2D", "SeparableConv2D"):
        config.pop("groups")
    for ends in ("input_layers", "output_layers"):
        if isinstance(config.get(ends), list) and len(config[ends]) == 1 and isinstance(config[ends][0], list):
            config[ends] = config[ends][0]  # one tensor instead of a list of one
    if kind == "BatchNormalization" and isinstance(config.get("axis"), list):
        config["axis"] = config["axis"][0]
    if kind.startswith("SpatialDropout"):
        config.pop("trainable", None), config.pop("noise_shape", None)
    if kind == "SeparableConv2D":
        for start in ("kernel_initializer", "kernel_regularizer", "kernel_constraint"):  # unused: it has two kernels
            config.pop(start, None)
    if kind.startswith("Random") and "rng_type" in config:
        config.pop("rng_type")
        return entry if kind == "RandomCrop" else _replaced(entry, "Identity", {})
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        with contextlib.suppress(KeyError, TypeError, ValueError, IndexError, ZeroDivisionError):  # it stays as it is
            kind, own, inputs = _as_layer(config["function"].rpartition(".")[2], *_call(entry["inbound_nodes"]))
            return _replaced(entry, kind, own) | {"inbound_nodes": [[[*place, {}] for place in inputs]]}
    return entry


def _replaced(entry, kind, config):
    """A layer's entry with another class and configuration, and the same name."""
    own = {"name": entry["config"]["name"]}
    if kind == FLIP:  # only HDF5 can hold it, and tells an operation from a layer by what it lacks
        return {**entry, "class_name": kind, "config": own | config}
    own |= {"trainable": True, "dtype": "float32"}
    entry = {key: value for key, value in entry.items() if key != "build_config"}  # of the operation's first tensor
    return {**entry, "module": "keras.layers", "registered_name": None, "class_name": kind, "config": own | config}


def _call(calls):
    """(inputs, arguments) of an operation's only call. An input is [layer, number of its call, number of the output],
    or [CONSTANT, -1, number]."""
    calls = calls[0] if isinstance(calls[0][0], list) else calls
    inputs = [place for *place, _ in calls]
    arguments = {key: value for key, value in calls[0][3].items() if key != "name"}
    if isinstance(arguments.get("y"), list) and isinstance(arguments["y"][0], str):
        inputs.append(arguments.pop("y"))
    return inputs, arguments


def _as_layer(operation, inputs, arguments):
    """(class, configuration, inputs) of the layer that computes an operation of TensorFlow; an exception for others."""
    if inputs[0][0] == CONSTANT:
        (_, _, number), *inputs = inputs
        return *_rescaling(operation, number, constant_first=True), inputs
    if len(inputs) > 1 or operation in ("concat", "add_n"):
        return MERGES[operation], {"axis": arguments["axis"]} if operation == "concat" else {}, inputs
    if operation == "square" or (operation == "pow" and arguments == {"y": 2}):
        return "Multiply", {}, inputs * 2
    if operation in ACTIVATIONS and not arguments:
        return "Activation", {"activation": operation}, inputs
    if operation in LAYERS:
        return *LAYERS[operation](**arguments), inputs
    number = next((arguments[key] for key in ("y", "bias", "value") if key in arguments), None)
    return *_rescaling(operation, number), inputs


def _rescaling(operation, number, constant_first=False):
    """A Rescaling for an operation on a tensor and numbers, or on numbers and a tensor."""
    each = np.asarray(number, float)  # fails where it is another tensor
    affine = {
        **dict.fromkeys(("multiply", "mul"), lambda: (each, 0.0)),
        **dict.fromkeys(("add", "bias_add"), lambda: (1.0, each)),
        **dict.fromkeys(("subtract", "sub"), lambda: (-1.0, each) if constant_first else (1.0, -each)),
    }
    if not constant_first:
        affine |= dict.fromkeys(("truediv", "divide"), lambda: (1 / each, 0.0))
    scale, offset = (np.asarray(values, float) for values in affine[operation]())
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
        raise ValueError(f"{operation} of {number}")
    return "Rescaling", {"scale": scale.tolist(), "offset": offset.tolist()}


def _cast(dtype):
    return ("Identity", {}) if "float32" in str(dtype) else None


def _reduce_mean(axis, keepdims=None):
    return ("GlobalAveragePooling2D", {"keepdims": bool(keepdims)}) if axis in ([1, 2], [-3, -2]) else None


def _squeeze(axis):
    return ("Flatten", {}) if axis == [1, 2] else None


def _reshape(shape):
    first, *others = shape
    return ("Reshape", {"target_shape": others}) if first == -1 and others else None


def _clip_by_value(clip_value_min, clip_value_max):
    return ("ReLU", {"max_value": float(clip_value_max)}) if clip_value_min == 0 else None


def _pad(paddings, mode="CONSTANT", constant_values=0):
    images, rows, columns, channels = paddings
    plain = mode == "CONSTANT" and not constant_values and images == channels == [0, 0]
    return ("ZeroPadding2D", {"padding": [rows, columns]}) if plain else None


def _getitem(slice_spec):
    *others, last = slice_spec
    turned = last == WHOLE_2 | {"step": -1} and others in ([{"class_name": DOTS}], [WHOLE_2] * 3)
    return (FLIP, {"axis": -1}) if turned else None


def _pooling(kind):
    return lambda ksize, strides, padding: (kind, {"pool_size": ksize, "strides": strides, "padding": padding.lower()})


MERGES = {  # of several tensors
    "concat": "Concatenate",
    **dict.fromkeys(("add", "add_n"), "Add"),
    **dict.fromkeys(("subtract", "sub"), "Subtract"),
    **dict.fromkeys(("multiply", "mul"), "Multiply"),
    "maximum": "Maximum",
    "minimum": "Minimum",
}
ACTIVATIONS = ("elu", "gelu", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh")
LAYERS = {  # {operation: its arguments -> (class, configuration), or None where no layer does this}
    "avg_pool2d": _pooling("AveragePooling2D"),
    "cast": _cast,
    "clip_by_value": _clip_by_value,
    "getitem": _getitem,
    "identity": lambda: ("Identity", {}),
    "leaky_relu": lambda alpha=0.2: ("LeakyReLU", {"negative_slope": alpha}),
    "max_pool2d": _pooling("MaxPooling2D"),
    "negative": lambda: ("Rescaling", {"scale": -1.0, "offset": 0.0}),
    "pad": _pad,
    "reduce_mean": _reduce_mean,
    "relu": lambda: ("ReLU", {}),
    "relu6": lambda: ("ReLU", {"max_value": 6.0}),
    "reshape": _reshape,
    "squeeze": _squeeze,
    "stop_gradient": lambda: ("Identity", {}),
}


def _calls_from_zero(entry):
    """Keras 2 numbers the calls of a model inside a model from one (its creation is number zero); Keras 3 from zero.

    A reference to the output of a call is [layer, number of the call, number of the output].
    """
    if isinstance(entry, list):
        return [_calls_from_zero(part) for part in entry]
    if not isinstance(entry, dict):
        return entry
    entry = {key: _calls_from_zero(value) for key, value in entry.items()}
    layers = (entry.get("config") or {}).get("layers") if isinstance(entry.get("config"), dict) else None
    if entry.get("class_name") not in ("Functional", "Model") or not isinstance(layers, list):
        return entry
    inner = {name_of(layer) for layer in layers if isinstance(layer, dict) and layer.get("class_name") in MODELS}
    ends = [layer.get("inbound_nodes", []) for layer in layers if isinstance(layer, dict)]
    ends.append(entry["config"].get("output_layers", []))
    calls = [call for call in _references(ends) if call[0] in inner]
    first = {name: min(call[1] for call in calls if call[0] == name) for name in {call[0] for call in calls}}
    for call in calls:
        call[1] -= first[call[0]]
    return entry


def _references(entry):
    if isinstance(entry, list):
        if len(entry) >= 3 and isinstance(entry[0], str) and all(type(number) is int for number in entry[1:3]):
            yield entry
            return
        for part in entry:
            yield from _references(part)
