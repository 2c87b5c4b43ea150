"""The gates that a .tflite file passes before it is called done.

A conversion that went wrong exits 0 and writes a file: each gate stands for a fault that was seen to pass in silence.
The file is read and run in a child process (sandbox.py), so a file from elsewhere may be checked too, and what kills
the child is a finding.
"""

import contextlib
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from resdense_keras.errors import RequestError

from . import flatbuffer
from .quantization import SCHEMES
from .sandbox import Child, Fault

GATES = (
    "opens",
    "operators",
    "shapes",
    "scales",
    "padding",
    "int8",
    "input_range",
    "finite",
    "parity",
    "accuracy",
    "agreement",
)
WEAK_BELOW = 500  # images; with fewer, a point of accuracy is within the noise
MAX_SCALE = 1e3  # of a quantized tensor; an infinity in the graph makes it 1e36
RANGE_FACTOR = 4  # between the input range that a file was calibrated to and the images'; x255 and /255 lie far outside
Z = NormalDist().inv_cdf(0.975)  # 95 %, both sides

# In a file called int8 these compute in int8, or the quantizer has skipped them, which it does in silence.
INT8_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "CONCATENATION")

LEVELS = {"INT8": (-128, 127), "UINT8": (0, 255)}


@dataclass(frozen=True)
class Parity:
    """How far probabilities may be from Keras': `statistic` over the images of each one's largest difference.

    Outputs of a wider span than the 0 to 1 of probabilities, such as logits, may be off by as many times more.
    `made_up` tells whether generated images may be compared too: a calibrated file knows the ranges of real ones only.
    """

    statistic: Callable[[np.ndarray], float]
    limit: float
    made_up: bool = True


# Measured on CIFAR-10 nets, 2,000 images: largest fp32 6e-6, fp16 4e-3; mean dynamic .004, int8 .02. An image between
# two classes turns round in int8, so the largest difference says nothing there. Calibrated on noise, small nets keep
# their top-1 and lose their probabilities: .2 to .4.
PARITY = {
    "fp32": Parity(np.max, 1e-3),
    "fp16": Parity(np.max, 2e-2),
    "dynamic": Parity(np.mean, 0.1),
    "int8": Parity(np.mean, 0.15, made_up=False),
    "qat": Parity(np.mean, 0.15, made_up=False),
    "pruned": Parity(np.mean, 0.15, made_up=False),
}
# Other weights than the model's: where it erred they need not err with it.
RETRAINED = tuple(name for name, row in SCHEMES.items() if row.trained)


@dataclass(frozen=True)
class Limits:
    """What a file may lose against its Keras model.

    Attributes:
        max_drop: Points (hundredths) of top-1.
        min_agreement: Share of images on which both must have the same top-1.
        strict: Judge the measured figures themselves. Otherwise a file fails only where the 95 % interval lies wholly
            beyond the limit, so that a small test set does not fail a good file by chance.
    """

    max_drop: float = 1.0
    min_agreement: float = 0.98
    strict: bool = False

    def __post_init__(self):
        for name, most in (("max_drop", 100), ("min_agreement", 1)):
            if not 0 <= getattr(self, name) <= most:  # a NaN neither
                raise RequestError(f"{name}={getattr(self, name)} was given; it must be a number in [0, {most}]")


@dataclass(frozen=True)
class Check:
    """What was found out about one file; None where it was not measured.

    Attributes:
        images: Images that accuracy and agreement were measured on.
        accuracy: Share of labels that the file's top-1 meets; `accuracy_interval` is Wilson's 95 %.
        agreement: Share of images on which file and Keras model have the same top-1.
        max_difference: Largest difference of one output, a probability as a rule, from Keras'.
        weak: Fewer than 500 images.
        gates: {gate: {"passed": bool, "detail": str} or None}, one for each of GATES.
        operators: {"CONV_2D": 120}.
        delegated: What XNNPACK takes of it: {"nodes", "partitions", "left"}.
    """

    gates: dict[str, dict[str, Any] | None]
    operators: dict[str, int]
    delegated: dict[str, Any] | None = None
    images: int | None = None
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    agreement: float | None = None
    max_difference: float | None = None
    weak: bool = False

    @property
    def failures(self):
        """{gate: why} of those that failed."""
        return {name: gate["detail"] for name, gate in self.gates.items() if gate and not gate["passed"]}

    @property
    def passed(self):
        """Whether no gate failed."""
        return not self.failures

    def record(self):
        """The keys of an `exports` entry of report.json."""
        return asdict(self)


def check(
    file,
    model=None,
    images=None,
    labels=None,
    *,
    scheme=None,
    max_drop=1.0,
    min_agreement=0.98,
    strict=False,
    real=True,
    float_layers=(),
    child=None,
    progress=None,
):
    """Puts a .tflite file through every gate that the arguments allow.

    Args:
        file: Path of the file, made here or elsewhere.
        model: The Keras model that it was made from, or that model's probabilities (N, classes) for `images`, computed
            once for many files with `predictions`. Without it nothing is compared.
        images: (N, H, W, C) as the file takes them, none of them calibrated on. Without them a `model` is compared on
            generated images, by parity alone.
        labels: N integers; with them accuracy and its drop are judged.
        scheme: Name in quantization.SCHEMES; default: read from a name such as `net-int8.tflite`.
        max_drop, min_agreement, strict: See Limits.
        real: Whether `images` are somebody's data; on made-up ones agreement means nothing, so parity alone is judged.
        float_layers: Names of the output tensors of layers that an int8 file keeps in float on purpose.
        child: A sandbox.Child to use; default: one of its own.
        progress: Called with (images done, images) now and then.
    Returns:
        A Check.
    Raises:
        RequestError: images, labels, model and file do not fit each other; no such file.
    """
    _check_request(file, model, images, labels)
    scheme, limits = scheme or scheme_of(file), Limits(max_drop, min_agreement, strict)
    gates, found = dict.fromkeys(GATES), {"operators": {}}
    real = real and images is not None
    with contextlib.nullcontext(child) if child else Child() as child:
        try:
            graphs = child.read(file)
            gates |= structure(graphs, scheme, float_layers)
            found["operators"] = flatbuffer.count(graphs)
            opened = child.open(file)
            gates["finite"] = _gate(opened["finite"], "finite outputs for made-up values")
            found["delegated"] = opened["delegated"]
            if real:
                gates["input_range"] = input_range(graphs[0], images)
            if images is not None or model is not None:
                used = _images_for(opened["input"], images)
                outputs = child.run(file, used, progress=progress)
                expected = predictions(model, used) if hasattr(model, "predict") else model
                figures, judged = compare(outputs, expected, labels, scheme, limits, real)
                gates, found = gates | judged, found | figures
            gates["opens"] = _gate(True, "LiteRT opens it and runs it")
        except Fault as fault:
            gates["opens"] = _gate(False, str(fault))
    return Check(gates=gates, **found)


def scheme_of(file):
    """`int8` of net-int8.tflite and net-int8-stock.tflite, None of any other name."""
    found = re.search(rf"-({'|'.join(PARITY)})(-stock)?\.tflite$", Path(file).name)
    return found and found[1]


def predictions(model, images):
    """Probabilities (N, classes) of the Keras model in float32, the reference that files are compared with."""
    from .conversion import as_float32

    return as_float32(model).predict(images, batch_size=64, verbose=0).reshape(len(images), -1)


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


# The file as it is written


def structure(graphs, scheme=None, float_layers=()):
    """The gates that need no image: {gate: {"passed", "detail"}}."""
    gates = {
        "operators": _only_builtin(graphs),
        "shapes": _static(graphs),
        "scales": _sane_scales(graphs),
        "padding": _no_infinite_padding(graphs),
    }
    if scheme in ("int8", "qat"):
        gates["int8"] = _computes_in_int8(graphs, float_layers)
    return gates


def _only_builtin(graphs):
    """Custom operators, TensorFlow's own (Flex) among them, are in no phone's runtime."""
    foreign = sorted(name for name in flatbuffer.count(graphs) if name.startswith("CUSTOM:"))
    names = ", ".join(name.removeprefix("CUSTOM:") for name in foreign)
    return _gate(not foreign, f"not builtin: {names}" if foreign else "builtin operators only")


def _static(graphs):
    """Delegates, browsers and NPUs plan memory once: an open size sends them back to the slow path, or fails."""
    tensors = [tensor for graph in graphs for tensor in graph.tensors]
    open_ones = [tensor for tensor in tensors if min((*tensor.shape, *tensor.signature), default=1) <= 0]
    detail = f"{open_ones[0].name!r} has shape {open_ones[0].signature}" if open_ones else "every size is fixed"
    return _gate(not open_ones, detail)


def _sane_scales(graphs):
    """A scale that is not finite, not above 0 or huge holds no information: an infinity went through calibration."""
    tensors = [tensor for graph in graphs for tensor in graph.tensors if tensor.scales]
    wrong = [tensor for tensor in tensors if not all(0 < scale < MAX_SCALE for scale in tensor.scales)]
    detail = f"{wrong[0].name!r} has scale {wrong[0].scales[-1]:g}" if wrong else f"{len(tensors)} tensors have scales"
    return _gate(not wrong, detail)


def _no_infinite_padding(graphs):
    """-inf before max pooling is harmless in float; in int8 it takes the whole range, and nothing else is left."""
    hit = []
    for graph in graphs:
        padded = {number for operator in graph.operators if operator.name == "PADV2" for number in operator.outputs}
        pooled = {
            number for operator in graph.operators if operator.name == "MAX_POOL_2D" for number in operator.inputs
        }
        hit += [graph.tensors[number].name for number in padded & pooled if graph.tensors[number].scales]
    return _gate(not hit, f"PADV2 feeds max pooling: {hit[0]!r}" if hit else "no PADV2 feeds max pooling in int8")


def _computes_in_int8(graphs, float_layers):
    total, floating, meant = 0, [], {name[: flatbuffer.NAME] for name in float_layers}
    for graph in graphs:
        for operator in graph.operators:
            if operator.name in INT8_OPERATORS and not meant & {graph.tensors[i].name for i in operator.outputs}:
                total += 1
                if any(tensor.type != "INT8" for tensor in _activations(graph, operator)):
                    floating.append(operator.name)
    detail = f"{len(floating)} of {total} stayed float, such as {floating[0]}" if floating else f"all {total} operators"
    detail += f"; {len(meant)} more are float on purpose" if meant else ""
    return _gate(total and not floating, detail if total else "no operator that int8 serves")


def _activations(graph, operator):
    """The tensors that an operator reads and writes, without weights and biases."""
    numbers = [*operator.inputs, *operator.outputs]
    return [graph.tensors[number] for number in numbers if not graph.tensors[number].constant]


def input_range(graph, images):
    """Gate: the range that the input was calibrated to is that of `images`, within a factor; None in a float file."""
    tensor = _quantized_input(graph)
    if tensor is None:
        return None
    low, high = (tensor.scales[0] * (level - tensor.zero_point) for level in LEVELS[tensor.type])
    span = float(images.max()) - float(images.min())
    detail = f"calibrated to {low:.4g} .. {high:.4g}, the images span {images.min():.4g} .. {images.max():.4g}"
    return _gate(span / RANGE_FACTOR <= high - low <= span * RANGE_FACTOR, detail)


def _quantized_input(graph):
    """The input, or what a QUANTIZE makes of it or of its CAST; None where the file computes in float."""
    numbers = list(graph.inputs[:1])
    for operator in graph.operators:
        if operator.name in ("QUANTIZE", "CAST") and operator.inputs[0] in numbers:
            numbers += operator.outputs
    tensors = [graph.tensors[number] for number in numbers]
    return next((tensor for tensor in tensors if tensor.scales and tensor.type in LEVELS), None)


# What the file answers


def compare(outputs, expected, labels, scheme, limits=None, real=True):
    """Figures and gates of a file's outputs: ({"accuracy": ...}, {"accuracy": {"passed", "detail"}}).

    Args:
        outputs: (N, classes) of the file.
        expected: (N, classes) of the Keras model, or None.
        labels: N integers, or None.
        scheme: Whose PARITY holds; dynamic's where it is unknown.
        limits: Limits.
        real: See `check`.
    """
    limits = limits or Limits()
    gates = {"finite": _gate(np.isfinite(outputs).all(), f"finite outputs for {len(outputs)} images")}
    figures = {"images": len(outputs), "weak": len(outputs) < WEAK_BELOW} if real else {}
    top = outputs.argmax(axis=1)
    if labels is not None:
        right = top == labels
        figures |= {"accuracy": float(right.mean()), "accuracy_interval": wilson(int(right.sum()), len(right))}
    if expected is None:
        return figures, gates
    if expected.shape != outputs.shape:
        detail = f"the file gives {outputs.shape[1]} numbers an image, the model {expected.shape[1]}"
        return figures, gates | {"parity": _gate(False, detail)}
    differences = np.abs(outputs - expected).max(axis=1)
    if np.isfinite(differences).all():
        figures["max_difference"] = float(differences.max())
    parity = PARITY.get(scheme, PARITY["dynamic"])
    if real or parity.made_up:
        gates["parity"] = _parity(differences, parity, span=span(expected))
    expected_top = expected.argmax(axis=1)
    if real:
        figures["agreement"] = float((top == expected_top).mean())
        if scheme not in RETRAINED:
            gates["agreement"] = _agreement(int((top == expected_top).sum()), len(top), limits)
    if labels is not None:
        gates["accuracy"] = _accuracy(right, expected_top == labels, limits)
    return figures, gates


def span(outputs):
    """How much wider outputs lie than the 0 to 1 of probabilities, at least 1: the limits for logits grow with it."""
    return max(1.0, float(np.ptp(outputs)))


def _parity(differences, parity, span):
    value, kind = float(parity.statistic(differences)), "largest" if parity.statistic is np.max else "mean"
    limit = parity.limit * span  # infinite where Keras' outputs are: then nothing is below it
    return _gate(value < limit, f"{kind} difference from Keras {value:.2g}, {limit:.3g} allowed")


def _agreement(same, images, limits):
    low, high = wilson(same, images)
    share = same / images
    detail = f"{share:.4f} (95 %: {low:.4f} to {high:.4f}), {limits.min_agreement:g} needed{_size(images)}"
    return _gate((share if limits.strict else high) >= limits.min_agreement, detail)


def _accuracy(right, expected_right, limits):
    """Top-1 against the Keras model's on the same images, in points."""
    lost, won, images = int((expected_right & ~right).sum()), int((right & ~expected_right).sum()), len(right)
    drop, low, high = (100 * share for share in ((lost - won) / images, *drop_interval(lost, won, images)))
    detail = (
        f"top-1 {expected_right.mean():.4f} -> {right.mean():.4f}, {drop:.2f} points lost "
        f"(95 %: {low:.2f} to {high:.2f}), {limits.max_drop:g} allowed{_size(images)}"
    )
    return _gate((drop if limits.strict else low) <= limits.max_drop + 1e-9, detail)


def _size(images):
    return f"; {images} images" + (" (weak)" if images < WEAK_BELOW else "")


def wilson(hits, trials):
    """95 % interval of a share, Wilson 1927: keeps within 0..1 and holds for shares near 1, where accuracies are."""
    share, weight = hits / trials, Z * Z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def drop_interval(lost, won, trials):
    """95 % interval of the share of images lost minus the share won, on the same images.

    Only images on which the two differ say anything about the drop, so it is far narrower than the difference of two
    separate accuracies. Source: the adjusted Wald interval for paired proportions, Bonett and Price 2012,
    doi:10.3102/1076998611411915.
    """
    down, up = (lost + 1) / (trials + 2), (won + 1) / (trials + 2)
    half = Z * math.sqrt((down + up - (down - up) ** 2) / (trials + 2))
    return max(-1.0, down - up - half), min(1.0, down - up + half)


def _gate(passed, detail):
    return {"passed": bool(passed), "detail": detail}


def _check_request(file, model, images, labels):
    if not Path(file).is_file():
        raise RequestError(f"there is no file {str(file)!r}")
    if images is not None and len(images) == 0:
        raise RequestError("no images were given to check with")
    given = {"labels": labels, "predictions": None if hasattr(model, "predict") else model}
    for name, values in given.items():
        if values is not None and (images is None or len(values) != len(images)):
            raise RequestError(f"{len(values)} {name} were given for {0 if images is None else len(images)} images")


def _images_for(shape, images):
    """`images`, or generated ones, for a file whose input is (1, H, W, C)."""
    if len(shape) != 4 or shape[0] != 1:
        raise RequestError(f"the file takes {shape}, not one image (1, height, width, channels)")
    if images is None:
        return generated_images(shape[1:])
    if list(images.shape[1:]) != shape[1:]:
        raise RequestError(
            f"the file takes images of {shape[1:]}, the data have {list(images.shape[1:])}", "pass --image-size"
        )
    return images
