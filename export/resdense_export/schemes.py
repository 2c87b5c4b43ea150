"""The schemes: how a file stores numbers and computes with them. Everything about a scheme is in its row.

A new scheme is a new row: help texts, the quantizer, the gates, golden images, model.json, the report and the phone's
page all read it here. Files are made and shown in the order of the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resdense_keras.errors import RequestError, unknown

TARGETS = ("cpu", "gpu", "browser", "npu")


@dataclass(frozen=True)
class Parity:
    """How far probabilities may differ from Keras': the `statistic`, over the images, of each image's largest
    difference.

    Outputs with a wider span than the 0 to 1 of probabilities, such as logits, may differ by as many times more.

    Attributes:
        statistic: "largest", "95th percentile" or "mean".
        made_up: Whether generated images may be compared too; not for a calibrated file, which only knows the ranges of
            real ones.
    """

    statistic: str
    limit: float
    made_up: bool = True


@dataclass(frozen=True)
class Recommended:
    """Why to try a file of the scheme first on a target; of several files the one with the lowest `rank` is named."""

    rank: int
    reason: str


@dataclass(frozen=True)
class Scheme:
    """One way to store numbers and to compute with them.

    Attributes:
        summary: What it is, for help texts.
        meaning: What it does, for the legend of a report.
        computes_in: "float"; "half" where the processor may compute in float16; "int8" where weights and activations
            are integers; "dynamic" where activations become integers while it runs.
        marker: Matplotlib's marker in plots.
        parity: How far the outputs may differ from Keras'.
        recommended: {target of TARGETS: Recommended}.
        recipe: Recipe for litert-quantizer; empty where the float file is not quantized.
        graph: Name in nets.rewriting.GRAPHS of the graph that it is made from.
        calibrated: Whether it needs images to learn the ranges of its activations.
        training: Name in making.aware.METHODS by which the weights are trained further first. That takes minutes, so
            the file is made only where it is asked for, and it need not agree with the net that it was trained from.
        stock: Settings of TensorFlow's own converter for its twin of this file, see making.stock_converter; None where
            that converter has no such scheme.
        zipped: Whether the purpose is a small zipped file.
    """

    summary: str
    meaning: str
    computes_in: str
    marker: str
    parity: Parity
    recommended: Mapping[str, Recommended]
    recipe: tuple[dict[str, Any], ...] = ()
    graph: str = "float"
    calibrated: bool = False
    training: str | None = None
    stock: Mapping[str, Any] | None = None
    zipped: bool = False

    @property
    def tolerance(self):
        """The key in golden.json's `tolerance` that applies to its outputs."""
        return {"float": "float", "half": "half"}.get(self.computes_in, "int8")


def rule(operation, algorithm, **config):
    """One entry of a litert-quantizer recipe, in its JSON form; a later rule wins over an earlier one."""
    return {"regex": ".*", "operation": operation, "algorithm_key": algorithm, "op_config": config}


_INT8_WEIGHTS = {"num_bits": 8, "symmetric": True, "granularity": "CHANNELWISE"}
_INT8_ACTIVATIONS = {"num_bits": 8, "symmetric": False, "granularity": "TENSORWISE"}
_INT8_RECIPE = (
    rule(
        "*",
        "min_max_uniform_quantize",
        weight_tensor_config=_INT8_WEIGHTS,
        activation_tensor_config=_INT8_ACTIVATIONS,
        compute_precision="INTEGER",
    ),
    rule("INPUT", "no_quantize"),  # float32 ends are what every phone runtime and browser takes
    rule("OUTPUT", "no_quantize"),
)
_INTEGER = "integer arithmetic, for which phones since Armv8.2 have instructions of their own"
_HALF = "float16 arithmetic, which phones have since Armv8.2; float32 elsewhere"
_EVERY_CPU = "float32 runs on every CPU"
_GPU = "GPU delegates compute in float16"
_BROWSER = "a browser runs every file; float files answer there as on the computer"
_NPU = "nearly every NPU takes statically quantized int8"

# Parity was measured on CIFAR-10 nets, 2,000 images: largest fp32 6e-6; mean dynamic .004, int8 .02. An image between
# two classes turns round in int8, so the largest difference says nothing there. Calibrated on noise, small nets keep
# their top-1 and lose their probabilities: .2 to .4. fp16 computed in float32 is off by 4e-3 at most, computed in
# float16 by .04 (benchmarks/half.py: such an image again; 95 of 100 stay below .005).
#
# Recommended for a CPU is what takes fewer Arm instructions (benchmarks/export.py; of float32's on DenseNet-121 and
# ResNet-50: int8 .28, dynamic .33 to .38, fp16 .54), for a browser what is exact, and of equal times the smaller file
# (benchmarks/half.py --browser).
SCHEMES = {
    "fp32": Scheme(
        summary="float32 throughout: the converter's file itself",
        meaning="32 bit floats.",
        computes_in="float",
        marker="o",
        parity=Parity("largest", 1e-3),
        recommended={
            "cpu": Recommended(40, _EVERY_CPU),
            "gpu": Recommended(20, _GPU),
            "browser": Recommended(20, _BROWSER),
        },
        stock={},
    ),
    "fp16": Scheme(
        summary="float16 weights, float16 arithmetic where the processor has it",
        meaning="16 bit floats; computes with 16 bits where the processor can, else with 32.",
        computes_in="half",
        marker="s",
        parity=Parity("95th percentile", 3e-2),
        recommended={
            "cpu": Recommended(35, _HALF),
            "gpu": Recommended(10, f"{_GPU}, and the file is half the size"),
            "browser": Recommended(10, "as fast as float32 in a browser, and half of its download"),
        },
        stock={"optimize": True, "types": ("float16",)},
    ),
    "dynamic": Scheme(
        summary="int8 weights; activations become int8 while it runs",
        meaning="8 bit weights; activations become 8 bit while it runs.",
        computes_in="dynamic",
        marker="^",
        parity=Parity("mean", 0.1),
        recommended={
            "cpu": Recommended(30, "int8 weights, and integer arithmetic in its convolutions"),
            "browser": Recommended(30, _BROWSER),
        },
        recipe=(
            rule("*", "min_max_uniform_quantize", weight_tensor_config=_INT8_WEIGHTS, compute_precision="INTEGER"),
            rule("DEPTHWISE_CONV_2D", "no_quantize"),  # has no fast kernel in this form, and few weights to save
        ),
        stock={"optimize": True},
    ),
    "int8": Scheme(
        summary="int8 weights and activations, float32 input and output",
        meaning="8 bit weights and activations.",
        computes_in="int8",
        marker="D",
        parity=Parity("mean", 0.15, made_up=False),
        recommended={
            "cpu": Recommended(10, _INTEGER),
            "browser": Recommended(40, _BROWSER),
            "npu": Recommended(10, _NPU),
        },
        recipe=_INT8_RECIPE,
        graph="int8",
        calibrated=True,
        stock={"optimize": True, "calibrated": True, "operators": "TFLITE_BUILTINS_INT8"},
    ),
    "qat": Scheme(
        summary="int8 after quantization-aware training",
        meaning="int8, trained on with the rounding in the loop.",
        computes_in="int8",
        marker="P",
        parity=Parity("mean", 0.15, made_up=False),
        recommended={
            "cpu": Recommended(20, _INTEGER),
            "browser": Recommended(50, _BROWSER),
            "npu": Recommended(20, _NPU),
        },
        recipe=_INT8_RECIPE,
        graph="trained-int8",
        calibrated=True,
        training="quantization",
    ),
    "pruned": Scheme(
        summary="float16 as in fp16, half of the weights zero",
        meaning="16 bit floats as in fp16, half of the weights zero, so that the file zips smaller.",
        computes_in="half",
        marker="v",
        parity=Parity("mean", 0.15, made_up=False),
        recommended={
            "cpu": Recommended(37, _HALF),
            "gpu": Recommended(30, _GPU),
            "browser": Recommended(60, _BROWSER),
        },
        graph="trained",
        training="pruning",
        zipped=True,
    ),
}
_OTHER_MARKER = "X"  # of a scheme that only a report from elsewhere knows


def standard_schemes(has_data=True):
    """The schemes that are made by default: all without training, and without data only those without calibration."""
    return [name for name, row in SCHEMES.items() if not row.training and (has_data or not row.calibrated)]


def chosen_schemes(schemes, has_data):
    """The schemes to make: those asked for, or by default all that can be made.

    Raises:
        RequestError: a scheme is unknown, or needs data and there are none.
    """
    if schemes is None:
        return standard_schemes(has_data)
    if not schemes:
        raise RequestError("no scheme was given", f"choose one or more of: {', '.join(SCHEMES)}")
    for name in schemes:
        if name not in SCHEMES:
            raise unknown("scheme", name, SCHEMES)
        row = SCHEMES[name]
        if (row.calibrated or row.training) and not has_data:
            raise RequestError(
                f"scheme {name} needs images to {'train' if row.training else 'calibrate'} on", "pass --data SPEC"
            )
    return list(dict.fromkeys(schemes))


def rank(scheme):
    """Sort key of a scheme: the order of the table; unknown ones follow by name."""
    known = list(SCHEMES)
    return (known.index(scheme), "") if scheme in known else (len(known), scheme)


def recommendations(schemes):
    """{target: (scheme, reason, [schemes that would be better but are not there])} of the schemes of a bundle.

    The choice is made for phones, not for this machine: int8 comes first where the processor has instructions for it,
    as phones' have (Armv8.2 dot product). A CPU and a browser run every file, so they get one as soon as there is any.
    """
    chosen = {}
    for target in TARGETS:
        rows = {name: row.recommended[target] for name, row in SCHEMES.items() if target in row.recommended}
        order = sorted(rows, key=lambda name: rows[name].rank)
        place = next((place for place, name in enumerate(order) if name in schemes), None)
        if place is not None:
            chosen[target] = (order[place], rows[order[place]].reason, order[:place])
    return chosen


def marker(scheme):
    """Matplotlib's marker of a scheme."""
    return SCHEMES[scheme].marker if scheme in SCHEMES else _OTHER_MARKER


def shown(scheme):
    """What the phone's page needs to know of a scheme, as JSON: its `tolerance` in golden.json, its `meaning` or
    None."""
    row = SCHEMES.get(scheme)
    return {"tolerance": row.tolerance if row else "float", "meaning": row and row.meaning}
