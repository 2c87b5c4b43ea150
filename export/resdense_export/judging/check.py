"""The gates that a .tflite file must pass before it is shipped.

A failed conversion may still exit with 0 and write a file. Each gate tests for a fault that was once seen to pass
unnoticed. The file is read and run in a child process (tflite/child.py), so other people's files may be checked too,
and a file that kills the child fails its gate.
"""

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from resdense_keras.errors import RequestError
from resdense_keras.intervals import wilson

from ..limits import WEAK_BELOW, Limits
from ..models import answers
from ..right_answers import packed
from ..schemes import SCHEMES
from ..sources import generated_images
from ..tflite import flatbuffer, half
from ..tflite.child import Child, Fault
from .intervals import drop_interval, images_to_prove
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
RANGE_IMAGES = 32  # images on which the largest activation is measured; half.MARGIN allows for other images
# Of the largest output: two float32 sums of the same numbers, in another order, differ by so much.
ROUNDING = 32 * np.finfo(np.float32).eps
UNKNOWN = "dynamic"  # scheme whose parity limit applies to a file of an unknown scheme


@dataclass(frozen=True)
class Check:
    """The findings about one file; a value is None where it was not measured.

    Attributes:
        images: Number of images for accuracy and agreement.
        accuracy: Share of images whose top-1 is the label; `accuracy_interval` is Wilson's 95 % interval.
        right: Which images these are: one bit per image, in order, packed into base64.
        agreement: Share of images on which file and Keras model have the same top-1.
        agreement_right: The same share of the images that the Keras model answers rightly; the gate judges this one.
        max_difference: Largest difference of an output (usually a probability) from Keras'.
        weak: Whether there were fewer than limits.WEAK_BELOW images.
        gates: {gate: {"passed": bool, "detail": str} or None}, one for each of GATES. Gates that judge a share of the
            images also have `interval`, its 95 % interval, and `proved`: whether the whole interval is within the
            limit. (With `strict` only the figure itself is judged.) Where it is not, `would_prove` is the number of
            images that would prove it if the measured shares stayed as they are, None where no number would.
        operators: {"CONV_2D": 120}.
        delegated: The operators that XNNPACK runs: {"nodes", "partitions", "left"}.
        half: Whether the file asks for float16 arithmetic.
        notes: Sentences about what is worth knowing but is not a fault.
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
        return {name: found["detail"] for name, found in self.gates.items() if found and not found["passed"]}

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
    """Runs every gate on a .tflite file that the arguments allow.

    Args:
        file: Path of the file, made here or elsewhere.
        model: The Keras model that it was made from, or that model's probabilities (N, classes) for `images`, computed
            once for many files with `predictions`. Without it nothing is compared.
        images: (N, H, W, C) as the file takes them; none of them may have calibrated it. Without images a `model` is
            compared on generated ones, and only by parity.
        labels: N integers; with them accuracy is measured, and where there is a model too, its drop is judged.
        scheme: Name in SCHEMES; default: read from a name such as `net-int8.tflite`.
        max_drop, min_agreement, strict: See Limits.
        real: Whether `images` are real data; on generated images agreement means nothing, so only parity is judged.
        classes: Whether the outputs are classes; other outputs are judged only by parity.
        float_layers: Names of the output tensors of layers that an int8 file keeps in float on purpose.
        range_images: (N, H, W, C) on which a file that asks for float16 arithmetic must stay within float16's range;
            default: `images`, or generated ones.
        partitions: Number of pieces in which XNNPACK runs the float32 file; an fp16 file may not have more.
        child: A child.Child to use; default: one of its own.
        progress: Function that is called now and then with (images done, images).
    Returns:
        A Check.
    Raises:
        RequestError: no such file; images of another shape than the file takes; another number of labels or predictions
            than of images.
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
            gates["finite"] = gate(opened["finite"], "finite outputs for generated values")
            found["delegated"], found["half"] = opened["delegated"], opened["half"]
            if partitions and _computes_in_half(scheme):
                gates["partitions"] = _in_one_piece(opened["delegated"]["partitions"], partitions)
            if opened["half"] or _computes_in_half(scheme):
                used = _images_for(opened["input"], images if range_images is None else range_images)
                used = used[np.arange(min(RANGE_IMAGES, len(used)))]  # positions, because ImagesOnDisk has no slices
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
    """The scheme in a file's name: `int8` for net-int8.tflite and net-int8-stock.tflite; None for any other name."""
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
        figures["right"] = packed(right)
    if expected is None:
        return figures, gates
    if expected.shape != outputs.shape:
        detail = f"the file gives {outputs.shape[1]} numbers per image, the model {expected.shape[1]}"
        return figures, gates | {"parity": gate(False, detail)}
    differences = np.abs(outputs - expected).max(axis=1)
    if np.isfinite(differences).all():
        figures["max_difference"] = float(differences.max())
    row = SCHEMES.get(scheme, SCHEMES[UNKNOWN])
    if real or row.parity.made_up:
        gates["parity"] = _parity(differences, row.parity, expected, classes)
    if not classes:
        return figures, gates
    expected_top = answers.top(expected)
    if real:
        figures["agreement"] = float((top == expected_top).mean())
        # A change from one wrong answer to another costs nothing, so only images that the model answers rightly are
        # judged.
        counted = np.ones(len(top), bool) if labels is None else expected_top == labels
        kept, count = int((top == expected_top)[counted].sum()), int(counted.sum())
        figures["agreement_right"] = kept / count if count and labels is not None else None
        if not row.training and count:  # otherwise the weights changed, and the file may make other errors than the net
            gates["agreement"] = _agreement(
                kept, count, limits, "" if labels is None else " of those that the model answers rightly", len(top)
            )
    if labels is not None:
        gates["accuracy"] = _accuracy(right, expected_top == labels, limits)
    return figures, gates


def _computes_in_half(scheme):
    return scheme in SCHEMES and SCHEMES[scheme].computes_in == "half"


def _in_one_piece(found, partitions):
    """Gate: in how many pieces XNNPACK runs the file. Between two pieces every number leaves the delegate and comes
    back."""
    pieces = f"XNNPACK takes it in {found} piece{'s' * (found != 1)}, the float32 file in {partitions}"
    return gate(1 <= found <= partitions, pieces)


def _half_range(largest, asks, images):
    """Gate: whether activations stay in float16's range. Above 65,504 they become infinite, and then NaN; a file that
    does not ask for float16 arithmetic is safe."""
    found = f"largest activation {largest:.4g} over {images} images"
    if half.fits(largest):
        silent = "" if asks else "; the file does not ask for float16 arithmetic anyway"
        return gate(True, f"{found}; times {half.MARGIN} it is below float16's {half.LARGEST:,.0f}{silent}")
    beyond = f"{found}; times {half.MARGIN} it is beyond float16's {half.LARGEST:,.0f}"
    if asks:
        return gate(False, f"{beyond}, and the file asks for float16 arithmetic")
    return gate(True, f"{beyond}, so the file does not ask for float16 arithmetic: it is computed in float32")


def _notes(graphs):
    """Notes about the speed of a file, from its structure."""
    operators = [name for graph in graphs for name in half.slow(graph)]
    if not operators:
        return ()
    return (
        f"slow: {len(operators)} operators, such as {operators[0]}, have float16 kernels beside float32 biases, and "
        "XNNPACK prepares such a kernel in every inference: ai-edge-quantizer makes such files, and this package did "
        "in 0.1.0; export again (docs/rewriting.md)",
    )


def _parity(differences, parity, expected, classes):
    value = float(STATISTICS[parity.statistic](differences))
    width = span(expected) if classes else _extent(expected)
    # Infinite or NaN where Keras' outputs are, so that nothing passes.
    limit = np.maximum(parity.limit * width, ROUNDING * np.abs(expected).max())
    return gate(value < limit, f"{parity.statistic} difference from Keras {value:.2g}, {limit:.3g} allowed")


def _extent(expected):
    """Span of outputs that are not classes, from the smallest to the largest."""
    return float(np.ptp(expected)) or 1.0


def _agreement(same, images, limits, which, all_images):
    """Gate: the share of `images` images, of `all_images` that were run, which have the same top-1."""
    low, high = wilson(same, images)
    share, least = same / images, limits.min_agreement
    proved = low >= least
    detail = f"{share:.4f}{which} (95 %: {low:.4f} to {high:.4f}), {least:g} needed{_size(images)}"
    passed = (share if limits.strict else high) >= least

    def proves(run):
        judged = run * images / all_images
        return wilson(judged * share, judged)[0] >= least

    return _share_gate(passed, detail, proved, (low, high), images, limits, proves)


def _accuracy(right, expected_right, limits):
    """Gate: top-1 against the Keras model's on the same images, in points."""
    lost, won, images = int((expected_right & ~right).sum()), int((right & ~expected_right).sum()), len(right)
    drop, low, high = (100 * share for share in ((lost - won) / images, *drop_interval(lost, won, images)))
    detail = (
        f"top-1 {expected_right.mean():.4f} -> {right.mean():.4f}, {drop:.2f} points lost "
        f"(95 %: {low:.2f} to {high:.2f}), {limits.max_drop:g} allowed{_size(images)}"
    )
    proved = high <= limits.max_drop + 1e-9
    passed = (drop if limits.strict else low) <= limits.max_drop + 1e-9

    def proves(run):
        return 100 * drop_interval(run * lost / images, run * won / images, run)[1] <= limits.max_drop + 1e-9

    return _share_gate(passed, detail, proved, (low, high), images, limits, proves)


def _share_gate(passed, detail, proved, interval, images, limits, proves):
    """Three answers: within the limit, beyond it, or not proved by so many images; with `strict` only the first two.

    `proves` says whether so many images of the same shares would prove it.
    """
    open_ = passed and not proved and not limits.strict
    detail += f"; not proved by {images} images" if open_ else ""
    more = {"strict": True} if limits.strict else {}
    more |= {"would_prove": images_to_prove(proves)} if open_ else {}
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
