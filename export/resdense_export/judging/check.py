"""The gates that a .tflite file passes before it is called done.

A conversion that went wrong exits 0 and writes a file: each gate is for a fault that was seen to pass in silence.
The file is read and run in a child process (tflite/child.py), so a file from elsewhere may be checked too, and what
kills the child is a finding.
"""

import base64
import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from resdense_keras.errors import RequestError

from ..limits import WEAK_BELOW, Limits
from ..models import answers
from ..schemes import SCHEMES
from ..sources import generated_images
from ..tflite import flatbuffer, half
from ..tflite.child import Child, Fault
from .intervals import drop_interval, wilson
from .reference import predictions, span
from .structure import gate, input_range, structure

GATES = (
    "opens",
    "operators",
    "shapes",
    "scales",
    "padding",
    "int8",
    "partitions",
    "half_range",
    "input_range",
    "finite",
    "parity",
    "accuracy",
    "agreement",
)
# Of a schemes.Parity.
STATISTICS = {"largest": np.max, "95th percentile": partial(np.quantile, q=0.95), "mean": np.mean}
RANGE_IMAGES = 32  # on which a net's largest activation is looked for; half.MARGIN is for what others would add
UNKNOWN = "dynamic"  # the scheme whose parity holds for a file whose own is not known


@dataclass(frozen=True)
class Check:
    """What was found out about one file; None where it was not measured.

    Attributes:
        images: Images that accuracy and agreement were measured on.
        accuracy: Share of labels that the file's top-1 meets; `accuracy_interval` is Wilson's 95 %.
        right: Which images these are, for a paired comparison: bits of the images in order, packed into base64.
        agreement: Share of images on which file and Keras model have the same top-1.
        agreement_right: The same of the images that the Keras model answers rightly: what the gate judges.
        max_difference: Largest difference of one output, a probability as a rule, from Keras'.
        weak: Fewer than limits.WEAK_BELOW images.
        gates: {gate: {"passed": bool, "detail": str} or None}, one for each of GATES; those that judge a share of the
            images also say whether it is `proved`: whether the whole 95 % `interval` is within the limit, which no one
            asks where the figure itself is judged (`strict`).
        operators: {"CONV_2D": 120}.
        delegated: What XNNPACK takes of it: {"nodes", "partitions", "left"}.
        half: Whether the file asks for float16 arithmetic.
        notes: Sentences on what is not a fault but worth knowing.
    Example:
        >>> resdense_export.Check(gates={"opens": {"passed": False, "detail": "no model"}}, operators={}).failures
        {'opens': 'no model'}
    """

    gates: dict[str, dict[str, Any] | None]
    operators: dict[str, int]
    delegated: dict[str, Any] | None = None
    images: int | None = None
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    right: str | None = None
    agreement: float | None = None
    agreement_right: float | None = None
    max_difference: float | None = None
    weak: bool = False
    half: bool | None = None
    notes: tuple[str, ...] = ()

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
    file: str | Path,
    model: Any = None,
    images: Any = None,
    labels: Any = None,
    *,
    scheme: str | None = None,
    max_drop: float = Limits.max_drop,
    min_agreement: float = Limits.min_agreement,
    strict: bool = Limits.strict,
    real: bool = True,
    classes: bool = True,
    float_layers: Sequence[str] = (),
    range_images: Any = None,
    partitions: int | None = None,
    child: Any = None,
    progress: Callable[[int, int], object] | None = None,
) -> Check:
    """Puts a .tflite file through every gate that the arguments allow.

    Args:
        file: Path of the file, made here or elsewhere.
        model: The Keras model that it was made from, or that model's probabilities (N, classes) for `images`, computed
            once for many files with `predictions`. Without it nothing is compared.
        images: (N, H, W, C) as the file takes them, none of them calibrated on. Without them a `model` is compared on
            generated images, only by parity.
        labels: N integers; with them accuracy and its drop are judged.
        scheme: Name in SCHEMES; default: read from a name such as `net-int8.tflite`.
        max_drop, min_agreement, strict: See Limits.
        real: Whether `images` are somebody's data; on generated ones agreement means nothing, so only parity is judged.
        classes: Whether the outputs are about classes; other numbers are judged only by parity.
        float_layers: Names of the output tensors of layers that an int8 file keeps in float on purpose.
        range_images: (N, H, W, C) on which a file that asks for float16 arithmetic must stay within float16's range;
            default: `images`, or generated ones.
        partitions: Pieces in which XNNPACK takes the float32 file; an fp16 file may not fall into more.
        child: A child.Child to use; default: one of its own.
        progress: Called with (images done, images) now and then.
    Returns:
        A Check.
    Raises:
        RequestError: images, labels, model and file do not fit each other; no such file.
    Example:
        >>> net = resdense_keras.resnet20_digits(weights="digits", include_preprocessing=True)
        >>> _ = Path("net-fp32.tflite").write_bytes(resdense_export.convert(net))
        >>> test = data.load("digits").test
        >>> found = resdense_export.check("net-fp32.tflite", net, test.array(), test.labels)
        >>> found.passed, found.images, found.agreement
        (True, 364, 1.0)
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
            found["notes"] = _notes(graphs)
            opened = child.open(file)
            gates["finite"] = gate(opened["finite"], "finite outputs for made-up values")
            found["delegated"], found["half"] = opened["delegated"], opened["half"]
            if partitions and _computes_in_half(scheme):
                gates["partitions"] = _in_one_piece(opened["delegated"]["partitions"], partitions)
            if opened["half"] or _computes_in_half(scheme):
                used = _images_for(opened["input"], images if range_images is None else range_images)
                used = used[np.arange(min(RANGE_IMAGES, len(used)))]  # positions: images on disk know no slices
                gates["half_range"] = _half_range(child.largest_activation(file, used), opened["half"], len(used))
            if real:
                gates["input_range"] = input_range(graphs[0], images)
            if images is not None or model is not None:
                used = _images_for(opened["input"], images)
                outputs = child.run(file, used, progress=progress)
                expected = predictions(model, used) if hasattr(model, "predict") else model
                figures, judged = compare(outputs, expected, labels, scheme, limits, real, classes)
                gates, found = gates | judged, found | figures
            gates["opens"] = gate(True, "LiteRT opens it and runs it")
        except Fault as fault:
            gates["opens"] = gate(False, str(fault))
    return Check(gates=gates, **found)


def scheme_of(file):
    """`int8` of net-int8.tflite and net-int8-stock.tflite, None of any other name."""
    found = re.search(rf"-({'|'.join(SCHEMES)})(-stock)?\.tflite$", Path(file).name)
    return found and found[1]


def compare(outputs, expected, labels, scheme, limits=None, real=True, classes=True):
    """Figures and gates of a file's outputs: ({"accuracy": ...}, {"accuracy": {"passed", "detail"}}).

    Args:
        outputs: (N, classes) of the file.
        expected: (N, classes) of the Keras model, or None.
        labels: N integers, or None.
        scheme: Name in SCHEMES, or None where it is unknown.
        limits: Limits.
        real, classes: See `check`.
    """
    limits = limits or Limits()
    gates = {"finite": gate(np.isfinite(outputs).all(), f"finite outputs for {len(outputs)} images")}
    figures = {"images": len(outputs), "weak": len(outputs) < WEAK_BELOW} if real else {}
    top = answers.top(outputs)
    if labels is not None:
        right = top == labels
        figures |= {"accuracy": float(right.mean()), "accuracy_interval": wilson(int(right.sum()), len(right))}
        figures["right"] = base64.b64encode(np.packbits(right)).decode()
    if expected is None:
        return figures, gates
    if expected.shape != outputs.shape:
        detail = f"the file gives {outputs.shape[1]} numbers an image, the model {expected.shape[1]}"
        return figures, gates | {"parity": gate(False, detail)}
    differences = np.abs(outputs - expected).max(axis=1)
    if np.isfinite(differences).all():
        figures["max_difference"] = float(differences.max())
    row = SCHEMES.get(scheme, SCHEMES[UNKNOWN])
    if real or row.parity.made_up:
        gates["parity"] = _parity(differences, row.parity, span(expected) if classes else _extent(expected))
    if not classes:
        return figures, gates
    expected_top = answers.top(expected)
    if real:
        figures["agreement"] = float((top == expected_top).mean())
        # A flip between two wrong answers costs nobody anything: those that the model answers rightly are judged.
        counted = np.ones(len(top), bool) if labels is None else expected_top == labels
        kept, count = int((top == expected_top)[counted].sum()), int(counted.sum())
        figures["agreement_right"] = kept / count if count and labels is not None else None
        if not row.training and count:  # else the weights are others: where the net erred the file need not err with it
            gates["agreement"] = _agreement(kept, count, limits, "" if labels is None else " of the rightly answered")
    if labels is not None:
        gates["accuracy"] = _accuracy(right, expected_top == labels, limits)
    return figures, gates


def _computes_in_half(scheme):
    return scheme in SCHEMES and SCHEMES[scheme].computes_in == "half"


def _in_one_piece(found, partitions):
    """Between two pieces every number leaves the delegate and comes back."""
    pieces = f"XNNPACK takes it in {found} piece{'s' * (found != 1)}, the float32 file in {partitions}"
    return gate(1 <= found <= partitions, pieces)


def _half_range(largest, asks, images):
    """float16 ends at 65,504: what is larger becomes infinite, and NaN behind it. A file that does not ask is safe."""
    found = f"largest activation {largest:.4g} over {images} images"
    if half.fits(largest):
        silent = "" if asks else "; the file does not ask for float16 arithmetic all the same"
        return gate(True, f"{found}, times {half.MARGIN} below float16's {half.LARGEST:,.0f}{silent}")
    beyond = f"{found}, times {half.MARGIN} beyond float16's {half.LARGEST:,.0f}"
    if asks:
        return gate(False, f"{beyond}, and the file asks for float16 arithmetic")
    return gate(True, f"{beyond}, so the file does not ask for float16 arithmetic: it is computed in float32")


def _notes(graphs):
    """What a file's structure says of its speed."""
    operators = [name for graph in graphs for name in half.slow(graph)]
    if not operators:
        return ()
    return (
        f"slow: {len(operators)} operators, such as {operators[0]}, have float16 kernels beside float32 biases, and "
        "XNNPACK prepares such a kernel in every inference: ai-edge-quantizer makes such files, and this package did "
        "in 0.1.0; export again (docs/rewriting.md)",
    )


def _parity(differences, parity, width):
    value = float(STATISTICS[parity.statistic](differences))
    limit = parity.limit * width  # infinite where Keras' outputs are: then nothing is below it
    return gate(value < limit, f"{parity.statistic} difference from Keras {value:.2g}, {limit:.3g} allowed")


def _extent(expected):
    """The span of outputs that are not classes."""
    return float(np.ptp(expected)) or 1.0


def _agreement(same, images, limits, which=""):
    low, high = wilson(same, images)
    share, least = same / images, limits.min_agreement
    proved = low >= least
    detail = f"{share:.4f}{which} (95 %: {low:.4f} to {high:.4f}), {least:g} needed{_size(images)}"
    passed = (share if limits.strict else high) >= least
    return _share_gate(passed, detail, proved, (low, high), images, limits)


def _accuracy(right, expected_right, limits):
    """Top-1 against the Keras model's on the same images, in points."""
    lost, won, images = int((expected_right & ~right).sum()), int((right & ~expected_right).sum()), len(right)
    drop, low, high = (100 * share for share in ((lost - won) / images, *drop_interval(lost, won, images)))
    detail = (
        f"top-1 {expected_right.mean():.4f} -> {right.mean():.4f}, {drop:.2f} points lost "
        f"(95 %: {low:.2f} to {high:.2f}), {limits.max_drop:g} allowed{_size(images)}"
    )
    proved = high <= limits.max_drop + 1e-9
    passed = (drop if limits.strict else low) <= limits.max_drop + 1e-9
    return _share_gate(passed, detail, proved, (low, high), images, limits)


def _share_gate(passed, detail, proved, interval, images, limits):
    """Three answers: within the limit, beyond it, or neither, which so many images cannot tell; two where strict."""
    open_ = passed and not proved and not limits.strict
    detail += f"; not proved by {images} images" if open_ else ""
    more = {"strict": True} if limits.strict else {}
    return gate(passed, detail, proved=bool(proved), interval=[round(float(end), 6) for end in interval], **more)


def _size(images):
    return f"; {images} images" + (" (weak)" if images < WEAK_BELOW else "")


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
