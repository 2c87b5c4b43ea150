"""Quantizes a float .tflite file with litert-quantizer.

Quantizing takes seconds where converting the model again would take tens of seconds per scheme, so a model is converted
once and quantized many times.
"""

import contextlib
import copy
import io
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from resdense_keras.errors import RequestError, WorkError, unknown

from ..limits import LEAST_CALIBRATION
from ..native_stderr import native_stderr
from ..schemes import SCHEMES, rule
from ..tflite import flatbuffer, half
from ..tflite.signature import INPUT, SIGNATURE

# {operator: (positions of input, kernel and bias among its inputs, the kernel's axis of output channels)}
BIASED = {
    flatbuffer.schema.BuiltinOperator.CONV_2D: (0, 1, 2, 0),
    flatbuffer.schema.BuiltinOperator.DEPTHWISE_CONV_2D: (0, 1, 2, 3),
    flatbuffer.schema.BuiltinOperator.FULLY_CONNECTED: (0, 1, 2, 0),
    flatbuffer.schema.BuiltinOperator.TRANSPOSE_CONV: (2, 1, 3, 0),
}
LARGEST_BIAS = 2**30  # in quantization steps: half of what int32 holds, so that what is added to it fits too


def quantize(
    float_tflite: bytes,
    scheme: str,
    calibration: np.ndarray | None = None,
    *,
    ranges: Any = None,
    float_layers: Sequence[str] = (),
    half_arithmetic: bool = True,
) -> bytes:
    """The .tflite file of `scheme`, made from the float one.

    Args:
        float_tflite: Bytes that `convert` returned.
        scheme: A name in `SCHEMES`.
        calibration: For int8: (N, H, W, C) training images as the file takes them, limits.LEAST_CALIBRATION or more;
            their activations set the ranges.
        ranges: Result of `calibrate`, instead of `calibration`, for many files from the same images.
        float_layers: Layers that stay float, by the names of their output tensors in `float_tflite`.
        half_arithmetic: For fp16 and pruned: whether the file asks for float16 arithmetic. Pass False where the net's
            numbers may leave float16's range; the gate half_range tells.
    Returns:
        The file's bytes; the same arguments give the same bytes.
    Raises:
        RequestError: the scheme is unknown, int8 has no images, or the images cannot calibrate it.
        WorkError: the quantizer cannot serve the file.
    Example:
        >>> file = resdense_export.convert(resdense_keras.resnet20_digits(weights="digits", include_preprocessing=True))
        >>> int8 = resdense_export.quantize(file, "int8", data.load("digits").train.array()[:200])
        >>> len(int8) < len(file)
        True
    """
    if scheme not in SCHEMES:
        raise unknown("scheme", scheme, SCHEMES)
    row = SCHEMES[scheme]
    if row.computes_in == "half":
        return half.in_half(float_tflite, marked=half_arithmetic)
    if not row.recipe:
        return bytes(float_tflite)
    if row.calibrated and ranges is None:
        if calibration is None:
            raise RequestError(f"{scheme} needs images to learn the ranges of its activations", "pass --data SPEC")
        ranges = calibrate(float_tflite, calibration, scheme)
    if row.calibrated:
        float_tflite = with_room_for_biases(float_tflite, ranges, float_layers)
    recipe = [*row.recipe, *(_left_float(name) for name in float_layers)]
    with _explained(scheme):
        tool = _tool(float_tflite, recipe)
        made = bytes(tool.quantize(copy.deepcopy(ranges), enable_progress_report=False).quantized_model)
    return flatbuffer.pack(flatbuffer.unpack(made))  # smaller: equal tables are written once


def calibrate(float_tflite, images, scheme="int8"):
    """The ranges of a float file's activations over (N, H, W, C) images, for `quantize`.

    Raises:
        RequestError: images that cannot calibrate it.
        WorkError: the quantizer cannot serve the file.
    """
    images = np.asarray(images)
    check_calibration(images, input_shape(float_tflite))
    with _explained(scheme):
        ranges = _calibrate(float_tflite, SCHEMES[scheme].recipe, images)
    ranges = {name: _with_width(found) for name, found in ranges.items()}
    return share_ranges(ranges, flatbuffer.read(float_tflite)[0])


def _with_width(found):
    """A range of [0, 1] for a tensor that was always zero: XNNPACK refuses a file with a step of almost zero."""
    if not found or np.any(found["min"]) or np.any(found["max"]):
        return found
    return {**found, "max": np.ones_like(found["max"])}


def share_ranges(ranges, graph):
    """`ranges` with one range for all tensors that concatenations and maxima tie together, such as a dense block's.

    Both operators copy numbers. Where input and output have different ranges, the quantizer adds a requantization of
    the whole tensor. The range is the union of the tensors that other operators read. A tensor that only maxima read
    does not count: its values below the range are rounded up to the lower end, which is not above any bound, so the
    maximum is the same, and 8 bits hold a narrower range.
    """
    keys = {name[: flatbuffer.NAME]: name for name in ranges}
    names = [keys.get(tensor.name) for tensor in graph.tensors]
    group = list(range(len(names)))  # each tensor's group, by the number of one of its members
    read = set(graph.outputs)  # the tensors that something else reads

    def root(number):
        while group[number] != number:
            number = group[number]
        return number

    for operator in graph.operators:
        if operator.name not in ("CONCATENATION", "MAXIMUM"):
            read.update(operator.inputs)
            continue
        for number in (*operator.inputs, *operator.outputs):
            if not graph.tensors[number].constant:
                group[root(number)] = root(operator.outputs[0])
    members = {}
    for number, name in enumerate(names):
        if name is not None and ranges[name]:
            members.setdefault(root(number), []).append(number)
    shared = dict(ranges)
    for together in members.values():
        wanted = [ranges[names[number]] for number in together if number in read]
        if len(together) > 1 and wanted:
            union = {
                "min": np.min([found["min"] for found in wanted], axis=0),
                "max": np.max([found["max"] for found in wanted], axis=0),
            }
            shared |= {names[number]: {**ranges[names[number]], **union} for number in together}
    return shared


def with_room_for_biases(float_tflite, ranges, float_layers=()):
    """The float file with one weight raised in each channel whose weights are too small for its bias.

    The quantization step of a bias is that of the input times that of the channel's weights. So the bias of a channel
    whose weights are zero, as a batch norm with a scale of zero leaves them, does not fit into its 32 bits: the
    quantizer clips it to almost nothing, and the answers are wrong. The largest weight of such a channel becomes as
    large as the bias needs. Over the whole range of the input this moves the output by less than 1e-4 of the bias.

    Args:
        ranges, float_layers: As `quantize` takes them.
    """
    model, changed = flatbuffer.unpack(float_tflite), False
    for graph in model.subgraphs:
        for operator in graph.operators:
            *places, axis = BIASED.get(model.operatorCodes[operator.opcodeIndex].builtinCode, (None,))
            if axis is None or len(operator.inputs) <= max(places) or min(operator.inputs) < 0:
                continue
            given, kernel, bias = (graph.tensors[operator.inputs[place]] for place in places)
            found, output = ranges.get(given.name.decode()), graph.tensors[operator.outputs[0]].name.decode()
            weights, biases = _constant(model, kernel), _constant(model, bias)
            if not found or weights is None or biases is None or output in float_layers:
                continue
            if _raise_weights(weights, axis, biases, found):
                own = flatbuffer.schema.BufferT()  # others may share the former one
                own.data, kernel.buffer, changed = weights.view(np.uint8).ravel(), len(model.buffers), True
                model.buffers.append(own)
    return flatbuffer.pack(model) if changed else float_tflite


def _raise_weights(kernel, axis, bias, found):
    """Raises, in place, the largest weight of each channel whose bias would not fit; returns whether there was one."""
    step = (max(np.max(found["max"]), 0) - min(np.min(found["min"]), 0)) / 255
    channels, least = np.moveaxis(kernel, axis, 0), np.abs(bias) * 127 / (LARGEST_BIAS * step)
    short = np.flatnonzero(np.abs(channels).max(axis=tuple(range(1, kernel.ndim))) < least)
    for number in short:
        own = channels[number]
        own[np.unravel_index(np.abs(own).argmax(), own.shape)] = least[number]
    return len(short) > 0


def _constant(model, tensor):
    """A copy of a float32 tensor's numbers in its shape, or None where the file has none."""
    data = model.buffers[tensor.buffer].data
    if tensor.type != flatbuffer.schema.TensorType.FLOAT32 or data is None or not len(data):
        return None
    return np.array(data, np.uint8).view(np.float32).reshape(tensor.shape)


def _left_float(name):
    """The rule for the layer whose output tensor has this name; the quantizer adds a semicolon to the name."""
    return {**rule("*", "no_quantize"), "regex": f"^{re.escape(name)};$"}


def input_shape(tflite):
    """(H, W, C) of the images that a file of ours takes."""
    graph = flatbuffer.read(tflite)[0]
    return graph.tensors[graph.inputs[0]].shape[1:]


def check_calibration(images, shape):
    """Raises a RequestError for images from which no range can be learned; other wrong images fail at the gates.

    Args:
        shape: (H, W, C) that the file takes.
    """
    if images.shape[1:] != shape:  # otherwise the quantizer resizes the file's input without a message
        raise RequestError(
            f"calibration images have shape {images.shape}; (images, {', '.join(map(str, shape))}) is needed"
        )
    if len(images) < LEAST_CALIBRATION:
        raise RequestError(
            f"{len(images)} calibration images were given; {LEAST_CALIBRATION} or more are needed",
            "take more training images",
        )
    if not np.isfinite(images).all():
        raise RequestError("a calibration image holds NaN or infinity", "look at the data")
    if images.min() == images.max():
        raise RequestError(f"every calibration pixel is {images.flat[0]}", "look at the data")
    if (images == images[0]).all():
        raise RequestError("all calibration images are the same image", "take different training images")


def _tool(float_tflite, recipe):
    from litert_quantizer import quantizer

    return quantizer.Quantizer(float_tflite, list(recipe))


def _calibrate(float_tflite, recipe, images):
    """{tensor name: its range}, the smallest and largest value over all `images`.

    The tool's default is a moving average, which forgets all but the last images and cuts off what they lack
    (benchmarks/calibrations.py). LiteRT's own profiler collects the values, in a seventh of the time of copying every
    tensor to Python. One thread is used, so that the file is the same on all machines of a kind.
    """
    from litert_quantizer import calibrator, recipe_manager
    from litert_quantizer.utils import qsv_utils

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(list(recipe))
    profiler = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED
    tool = calibrator.Calibrator(float_tflite, 1, profiler, qsv_utils.min_max_update)
    tool.calibrate({SIGNATURE: [{INPUT: image[np.newaxis].astype(np.float32)} for image in images]}, manager)
    return tool.get_model_qsvs()


@contextlib.contextmanager
def _explained(scheme):
    """Hides the quantizer's output, and turns its errors into a WorkError that names the scheme."""
    try:
        with _silence():
            yield
    except (ValueError, RuntimeError) as error:
        raise WorkError(f"litert-quantizer could not make {scheme}: {error}", "leave this scheme out") from error


@contextlib.contextmanager
def _silence():
    """Hides stdout and stderr, because the tool prints progress bars and LiteRT logs from C++."""
    with native_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
