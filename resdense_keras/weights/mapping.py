"""Finds the place of each tensor of a file in a model: names are parsed, translated and compared."""

import functools
import re
from collections import Counter
from dataclasses import dataclass

from .dialects import DIALECTS

# Order of a layer's variables in Keras 3's files, by the snake case of its class, which is the file's key for it.
KERAS_VARIABLES = {
    "conv2d": ("Conv2D", ("kernel", "bias")),
    "dense": ("Dense", ("kernel", "bias")),
    "batch_normalization": ("BatchNormalization", ("gamma", "beta", "moving_mean", "moving_variance")),
}
TORCH_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
TORCH_OTHER = {"weight": "kernel", "bias": "bias"}
TORCH_AXES = {4: (2, 3, 1, 0), 2: (1, 0)}  # OIHW -> HWIO, (out, in) -> (in, out)

LEGACY = "model_weights/"  # the group of all layers of a model in .h5
MOST_TENSORS = 4  # of a layer: a batch norm's

_NOT_WEIGHTS = re.compile(
    r"(.*\.)?num_batches_tracked"  # counts steps; PyTorch's batch norm uses it without momentum only
    r"|(optimizer|optimizer_weights)/.*"  # of a compiled model
    r"|.*/seed_generator/vars/\d+"  # a dropout's random state
)
_KERAS_3 = re.compile(r"(?P<path>.*/)?(?P<cls>[a-z0-9_]+?)(_(?P<count>\d{1,6}))?/vars/(?P<index>\d{1,2})")
_KERAS_3_LAYERS = ("layers/", "_layer_checkpoint_dependencies/")  # today's names, and those of TensorFlow 2.12 and 2.13
_OWN_LAYER = re.compile(r"stem_\w+|stage\d+_\w+|head_\w+|predictions")
_NORM_LAYER = re.compile(r".*_bn\d*")


@dataclass(frozen=True)
class Place:
    """The place of one tensor of a file: `key` is our "layer/variable", or None for an unknown name.

    `axes` is the transposition that the tensor needs, `shape` its shape afterwards.
    """

    key: str | None
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None


def places(headers, shapes, layers):
    """{tensor of the file: Place}, by the dialect that explains most names, and among equals most shapes.

    Args:
        headers: {name: Header} of the file.
        shapes: {"layer/variable": shape} of the model.
        layers: {class name: names of the model's layers of that class, in order}, for files of Keras 3 without layer
            names, which only number the layers of each class.
    """
    weights = {name: header for name, header in headers.items() if not _NOT_WEIGHTS.fullmatch(name)}
    models = _models_inside(weights)
    parsed = {name: _parsed(name, header, layers, models) for name, header in weights.items()}
    ours = {key.rpartition("/")[0] for key in shapes}
    translations = [functools.partial(_own, ours), *(dialect.translate for dialect in DIALECTS)]
    tried = [_translated(translate, parsed, headers) for translate in translations]
    return max(tried, key=lambda found: _score(found, shapes))


def _own(ours, layer):
    """`layer` if it is a name of this package or of the model."""
    return layer if layer in ours or _OWN_LAYER.fullmatch(layer) else None


def _score(found, shapes):
    known = [place for place in found.values() if place.key]
    return len(known), sum(shapes.get(place.key) == place.shape for place in known)


def _models_inside(names):
    """First parts of legacy names that have more tensors than any layer has: they are models inside the model."""
    counts = Counter(name.removeprefix(LEGACY).partition("/")[0] for name in names if not _KERAS_3.fullmatch(name))
    return {part for part, count in counts.items() if count > MOST_TENSORS}


def _parsed(name, header, layers, models):
    """(their layer, its variable) of a PyTorch name; the variable is "weight", "bias", "running_mean" or
    "running_var"."""
    if match := _KERAS_3.fullmatch(name):
        return _keras_3(match, header, layers)
    if "/" in name:
        return _legacy(name, models)
    layer, _, variable = name.removeprefix("module.").rpartition(".")  # DataParallel's prefix
    return layer, variable


def _keras_3(match, header, layers):
    """Parses `layers/conv2d_7/vars/0`: the layer's name if the file has it, else the eighth Conv2D of the model."""
    cls, variables = KERAS_VARIABLES.get(match["cls"], ("", ()))
    counted = layers.get(cls, ()) if match["path"] in _KERAS_3_LAYERS else ()
    layer = header.layer or _item(counted, int(match["count"] or 0))
    return layer, _item(variables, int(match["index"]))


def _item(names, index):
    return names[index] if index < len(names) else ""


def _legacy(name, models):
    """Parses `model_weights/conv1_conv/conv1_conv/kernel:0`: the layer, its name scope (ignored), the variable."""
    *path, variable = name.removeprefix(LEGACY).split("/")
    variable = re.sub(r":\d+$", "", variable)
    half = len(path) // 2
    if len(path) > 1 and path[0] in models and path[0] != path[1] and path[:half] != path[half:]:
        return "/".join(path[1:]), variable
    layer = path[: len(path) // 2] if len(path) % 2 == 0 else path[-1:]  # odd: a layer inside another, or no scope
    return "/".join(layer), variable


def _translated(translate, parsed, headers):
    found = {}
    for name, (theirs, variable) in parsed.items():
        shape = headers[name].shape
        layer = translate(theirs)
        axes = None
        if "/" not in name:
            norm = layer is not None and _NORM_LAYER.fullmatch(layer)
            variable = (TORCH_NORM if norm else TORCH_OTHER).get(variable)
            axes = TORCH_AXES.get(len(shape))
        key = f"{layer}/{variable}" if layer and variable else None
        found[name] = Place(key, tuple(shape[axis] for axis in axes) if axes else tuple(shape), axes)
    return found


def traits(keys):
    """Builder arguments of a ResNet that the names of its weights reveal: {argument: values that would fit}."""
    keys = set(keys)
    if "stage1_block1_conv1/kernel" not in keys or any("_transition_" in key for key in keys):
        return {}
    bias = "stem_conv/bias" in keys or "stem_conv1/bias" in keys
    deep = "stem_conv1/kernel" in keys
    stem = ("deep",) if deep else ("imagenet", "cifar")
    if "stage1_block1_bn1/gamma" in keys and "head_bn/gamma" in keys:
        return {"variant": ("v2-keras",) if bias else ("v2",), "stem": stem}
    # v1 and v1.5 differ only in strides. A deep stem is nearly always that of vd (ResNet-D); with the shortcuts of v1.5
    # (ResNet-C) the names are the same, because the pooling in vd's shortcuts has no weights.
    return {
        "variant": ("vd", "v1", "v1.5") if deep else ("v1", "v1.5"),
        "stem": stem,
        "conv_bias": (bias,),
        "shortcut": ("B",) if _projects(keys) else ("A", None),
    }


def _projects(keys):
    return any("_shortcut_conv/" in key for key in keys)
