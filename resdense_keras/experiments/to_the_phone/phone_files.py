"""Used by lesson 8 beside `resdense_export`: quantizing and folding by hand, pictures and exercises."""

from typing import NamedTuple

import numpy as np

from ..lesson import COLORS, NotYet, exercise


class Norm(NamedTuple):
    """A trained batch norm of C channels, for inference: (x - mean) / sqrt(variance + epsilon) * gamma + beta."""

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float = 1e-3

    def __call__(self, x):
        return (x - self.mean) / np.sqrt(self.variance + self.epsilon) * self.gamma + self.beta


class File(NamedTuple):
    """Results and costs of one .tflite file.

    `accuracy_interval` is the 95 % one, `latency_ms` (10th percentile, median, 90th percentile), or None.
    """

    family: str
    scheme: str
    rewritten: bool
    bytes: int
    accuracy: float
    accuracy_interval: tuple
    agreement: float
    operators: dict
    latency_ms: tuple | None = None


# By hand


def norm_of(layer):
    """The `Norm` of a Keras BatchNormalization."""
    values = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    return Norm(*(value.numpy() for value in values), layer.epsilon)


def int8_kernel(content, name):
    """A convolution's kernel in an int8 .tflite file: integers (height, width, inputs, outputs) and scales (outputs,).

    Args:
        content: The file's bytes.
        name: The Keras layer's name, which the converter keeps at the front of the tensor's.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (kernel,) = (
        tensor
        for tensor in interpreter.get_tensor_details()
        if tensor["name"].startswith(f"{name}_") and tensor["dtype"] == np.int8 and _is_kernel(tensor)
    )
    integers = interpreter.get_tensor(kernel["index"])  # (outputs, height, width, inputs)
    return integers.transpose(1, 2, 3, 0), kernel["quantization_parameters"]["scales"]


def _is_kernel(tensor):
    """Whether a tensor has a scale for each output, as kernels have; activations have one."""
    return len(tensor["shape"]) == 4 and len(tensor["quantization_parameters"]["scales"]) == tensor["shape"][0] > 1


def random_norm(channels, seed=0):
    """A `Norm` as training leaves it: nothing at 0 or 1."""
    random = np.random.default_rng(seed)
    return Norm(*random.normal(size=(3, channels)), random.uniform(0.5, 2, channels))


def int8_values(values, low, high):
    """`values` as 8-bit integers of the range `low` to `high`, and back: (integers, real numbers again).

    One step of the scale is (high - low) / 255; values outside the range are cut off.
    """
    scale = (high - low) / 255
    zero = round(-128 - low / scale)
    integers = np.clip(np.round(np.asarray(values) / scale + zero), -128, 127).astype(np.int8)
    return integers, (integers.astype("float64") - zero) * scale


# Pictures


def draw_files(figure, files):
    """Size, accuracy and latency of the rewritten files, by scheme.

    Args:
        figure: Empty matplotlib Figure.
        files: `File`s; those that were not rewritten are left out.
    """
    panels = figure.subplots(3, 1)
    schemes = list(dict.fromkeys(file.scheme for file in files))
    for place, family in enumerate(("residual", "dense")):
        own = {file.scheme: file for file in files if file.family == family and file.rewritten}
        across = np.arange(len(own)) + 0.38 * (place - 0.5)
        rows = [own[scheme] for scheme in schemes if scheme in own]
        look = {"width": 0.36, "color": COLORS[family], "label": family}
        panels[0].bar(across, [row.bytes / 1000 for row in rows], **look)
        low, high = np.array([row.accuracy_interval for row in rows]).T
        shares = np.array([row.accuracy for row in rows])
        marker = "os"[place]
        panels[1].errorbar(
            across,
            100 * shares,
            100 * np.array([shares - low, high - shares]),
            fmt=marker,
            color=COLORS[family],
            capsize=3,
        )
        p10, median, p90 = np.array([row.latency_ms for row in rows]).T
        panels[2].bar(across, 1000 * median, yerr=1000 * np.array([median - p10, p90 - median]), capsize=3, **look)
    labels = ("file size (kB)", "accuracy (%, 95 % interval)", "latency, one thread (µs)")
    for axes, label in zip(panels, labels, strict=True):
        axes.set(xticks=range(len(schemes)), ylabel=label)
        axes.set_xticklabels(schemes)
        axes.grid(False, axis="x")
    panels[0].legend()


def draw_operators(figure, files):
    """Operators of the float files before and after rewriting, stacked by kind.

    Args:
        figure: Empty matplotlib Figure.
        files: `File`s; the fp32 ones are drawn.
    """
    axes = figure.subplots()
    rows = [file for file in files if file.scheme == "fp32"]
    totals = {}
    for file in rows:
        for name, count in file.operators.items():
            totals[name] = totals.get(name, 0) + count
    shown = sorted(totals, key=lambda name: -totals[name])[:5]
    start = np.zeros(len(rows))
    for name, color in zip([*shown, "other"], _STACK, strict=False):
        counts = np.array([_count(file.operators, name, shown) for file in rows])
        axes.barh(range(len(rows)), counts, left=start, color=color, edgecolor="white", label=name)
        start += counts
    names = [f"{file.family}, {'rewritten' if file.rewritten else 'as it is'}" for file in rows]
    axes.set(yticks=range(len(rows)), xlabel="operators in the fp32 file")
    axes.set_yticklabels(names)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    figure.legend(fontsize=10, loc="outside lower center", ncols=2)


_STACK = ("#0067ad", "#e69f00", "#56b4e9", "#d55e00", "#87479c", "#c3c8d0")


def _count(operators, name, shown):
    if name == "other":
        return sum(count for key, count in operators.items() if key not in shown)
    return operators.get(name, 0)


# Exercises of lesson 8


@exercise
def check_fold(fold_with_bias):
    """`fold_with_bias(kernel, bias, norm)`: (kernel, bias) of the 1x1 convolution that does what a convolution with a
    bias and the norm behind it do."""
    random = np.random.default_rng(1)
    x, kernel, bias = random.normal(size=(32, 5)), random.normal(size=(5, 7)), random.normal(size=7)
    norm = random_norm(7, seed=2)
    answer = fold_with_bias(kernel, bias, norm)
    if answer is None or len(answer) != 2 or np.shape(answer[0]) != (5, 7) or np.shape(answer[1]) != (7,):
        raise NotYet("it should give a kernel of shape (5, 7) and a bias of shape (7,)")
    apart = np.max(np.abs(x @ answer[0] + answer[1] - norm(x @ kernel + bias)))
    if not apart < 1e-9:
        raise NotYet(f"the outputs differ by up to {apart:.2g}")


@exercise
def check_scale(scale_and_zero_point):
    """`scale_and_zero_point(low, high)`: those of int8, so that `low` becomes -128 and `high` 127."""
    for low, high in ((0.0, 255.0), (-1.0, 1.0), (-0.5, 6.0)):
        answer = scale_and_zero_point(low, high)
        if answer is None or len(answer) != 2 or not answer[0]:
            raise NotYet(f"scale_and_zero_point({low}, {high}) gave {answer}; it should give two numbers")
        scale, zero = answer
        if zero != round(zero) or not -128 <= zero <= 127:
            raise NotYet(f"for {low} to {high} the zero point is {zero}; it must be an int8 number itself")
        ends = [(level - zero) * scale for level in (-128, 127)]
        if max(abs(ends[0] - low), abs(ends[1] - high)) > abs(scale) / 2 + 1e-9:
            raise NotYet(f"for {low} to {high} the integers reach from {ends[0]:.4g} to {ends[1]:.4g}")


# (what the phone's app wants, files) -> the scheme to take
_WISHES = (
    ({"least": 0.97, "max_kb": 100}, {"fp32": (200, 0.99), "fp16": (110, 0.99), "int8": (70, 0.98)}, "int8"),
    ({"least": 0.97, "max_kb": 150}, {"fp32": (200, 0.99), "fp16": (110, 0.99), "int8": (70, 0.90)}, "fp16"),
    ({"least": 0.97, "max_kb": 50}, {"fp32": (200, 0.99), "fp16": (110, 0.99), "int8": (70, 0.98)}, None),
)


@exercise
def check_choice_of_file(choose):
    """`choose(files, least, max_kb)`: the smallest file that is accurate and small enough, or None."""
    for wish, files, right in _WISHES:
        answer = choose(files, **wish)
        if answer != right:
            raise NotYet(f"choose({files}, {wish}) gave {answer!r}, not {right!r}")
