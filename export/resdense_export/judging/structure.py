"""The gates that need no outputs of the file: they look at operators, shapes, scales and types."""

from collections import Counter

from ..schemes import SCHEMES
from ..tflite import flatbuffer

MAX_SCALE = 1e3  # largest scale of a quantized tensor; an infinity in the graph makes it 1e36
RANGE_FACTOR = 4  # largest ratio of the calibrated input range to the images'; factors of 255 are far outside

# In an int8 file these must compute in int8; the quantizer skips some without a message.
INT8_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "CONCATENATION")

LEVELS = {"INT8": (-128, 127), "UINT8": (0, 255)}


def structure(graphs, scheme=None, float_layers=()):
    """The gates that need no image: {gate: {"passed", "detail"}}."""
    gates = {
        "operators": _only_builtin(graphs),
        "shapes": _static(graphs),
        "scales": _sane_scales(graphs),
        "padding": _no_infinite_padding(graphs),
    }
    if scheme in SCHEMES and SCHEMES[scheme].computes_in == "int8":
        gates["int8"] = _computes_in_int8(graphs, float_layers)
    return gates


def _only_builtin(graphs):
    """Gate: no custom operators, such as TensorFlow's own (Flex), because no phone's runtime has them."""
    foreign = sorted(name for name in flatbuffer.count(graphs) if name.startswith("CUSTOM:"))
    names = ", ".join(name.removeprefix("CUSTOM:") for name in foreign)
    return gate(not foreign, f"not builtin: {names}" if foreign else "builtin operators only")


def _static(graphs):
    """Gate: all sizes are fixed. Delegates, browsers and NPUs plan memory once, so an open size makes them slow or
    makes them fail."""
    tensors = [tensor for graph in graphs for tensor in graph.tensors]
    open_ones = [tensor for tensor in tensors if min((*tensor.shape, *tensor.signature), default=1) <= 0]
    detail = "every size is fixed"
    if open_ones:
        found = open_ones[0]
        detail = f"{found.name!r} has shape {found.signature or found.shape}, and -1 is an open size: convert the net"
        detail += " with a fixed one, keras.Input(batch_shape=(1, height, width, channels))"
    return gate(not open_ones, detail)


def _sane_scales(graphs):
    """Gate: every scale is finite, above 0 and not huge; otherwise an infinity was calibrated, and the tensor holds no
    information."""
    tensors = [tensor for graph in graphs for tensor in graph.tensors if tensor.scales]
    wrong = [tensor for tensor in tensors if not all(0 < scale < MAX_SCALE for scale in tensor.scales)]
    detail = f"{wrong[0].name!r} has scale {wrong[0].scales[-1]:g}" if wrong else f"{len(tensors)} tensors have scales"
    return gate(not wrong, detail)


def _no_infinite_padding(graphs):
    """Gate: no padding with -inf before max pooling in int8, where it takes the whole range of the tensor. In float it
    is harmless."""
    hit = []
    for graph in graphs:
        padded = {number for operator in graph.operators if operator.name == "PADV2" for number in operator.outputs}
        pooled = {
            number for operator in graph.operators if operator.name == "MAX_POOL_2D" for number in operator.inputs
        }
        hit += [graph.tensors[number].name for number in padded & pooled if graph.tensors[number].scales]
    return gate(not hit, f"PADV2 feeds max pooling: {hit[0]!r}" if hit else "no PADV2 feeds max pooling in int8")


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
    alone = [name for name in islands(graphs, meant) if name not in INT8_OPERATORS]
    counts = dict(sorted(Counter(alone).items()))
    counted = ", ".join(f"{count} {name}" for name, count in counts.items())
    detail += f"; float between 8-bit operators, which costs time: {counted}" if alone else ""
    return gate(total and not floating, detail if total else "no operator that int8 serves", islands=counts)


def islands(graphs, meant=frozenset()):
    """Names of the operators that compute in float between two that compute in integers, without those in `meant`.

    Operators at the ends, where a file takes and gives float numbers, do not count.
    """
    found = []
    for graph in graphs:
        behind, before = _reach(graph, "DEQUANTIZE", True), _reach(graph, "QUANTIZE", False)
        for place, operator in enumerate(graph.operators):
            named = {graph.tensors[number].name for number in operator.outputs}
            if place in behind & before and operator.name not in ("QUANTIZE", "DEQUANTIZE") and not meant & named:
                found.append(operator.name)
    return found


def _reach(graph, kind, forwards):
    """Places of the operators that float numbers reach after a DEQUANTIZE, or from which they reach a QUANTIZE."""
    order = list(enumerate(graph.operators))
    tensors, places = set(), set()
    for place, operator in order if forwards else reversed(order):
        ends = (operator.inputs, operator.outputs) if forwards else (operator.outputs, operator.inputs)
        if operator.name == kind and any(not graph.tensors[n].constant for n in operator.inputs):
            tensors.update(ends[1])
        elif operator.name not in ("QUANTIZE", "DEQUANTIZE") and tensors & set(ends[0]):
            places.add(place)
            tensors.update(ends[1])
    return places


def _activations(graph, operator):
    """The tensors that an operator reads and writes, without weights and biases."""
    numbers = [*operator.inputs, *operator.outputs]
    return [graph.tensors[number] for number in numbers if not graph.tensors[number].constant]


def input_range(graph, images):
    """Gate: the calibrated range of the input is that of `images`, up to a factor; None for a float file."""
    tensor = _quantized_input(graph)
    if tensor is None:
        return None
    low, high = (tensor.scales[0] * (level - tensor.zero_point) for level in LEVELS[tensor.type])
    span = float(images.max()) - float(images.min())
    detail = f"calibrated to {low:.4g} .. {high:.4g}, the images span {images.min():.4g} .. {images.max():.4g}"
    return gate(span / RANGE_FACTOR <= high - low <= span * RANGE_FACTOR, detail)


def _quantized_input(graph):
    """The input tensor, or the output of the QUANTIZE that reads it or its CAST; None where the file computes in
    float."""
    numbers = list(graph.inputs[:1])
    for operator in graph.operators:
        if operator.name in ("QUANTIZE", "CAST") and operator.inputs[0] in numbers:
            numbers += operator.outputs
    tensors = [graph.tensors[number] for number in numbers]
    return next((tensor for tensor in tensors if tensor.scales and tensor.type in LEVELS), None)


def gate(passed, detail, **more):
    """A gate's record; `more` holds values for programs, beside the sentence."""
    return {"passed": bool(passed), "detail": detail, **more}
