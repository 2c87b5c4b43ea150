"""Runs .tflite files on LiteRT with XNNPACK: predictions, times, and the operators that the delegate runs.

It needs only ai-edge-litert and NumPy, so it also runs on an Arm board. Other people's files are run in the child
process of child.py, where `beat(done, total)` is called as the work goes on.
"""

import time
from collections import Counter
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from resdense_keras import compat

LEAST_WHITE = 128  # an input that ends below cannot hold bright pixels, whatever images calibrated it
WARM_UP = 5  # inferences before the first that counts: caches, branch predictors, lazily packed weights


def _silent(done, total):
    pass


class Net:
    """A .tflite file, ready to run one image at a time.

    Attributes:
        input, output: LiteRT's description of the first input and output (shape, dtype, quantization).
    """

    def __init__(self, path, threads=1):
        self.interpreter = Interpreter(**_source(path), num_threads=threads)
        self.interpreter.allocate_tensors()
        self.inputs = self.interpreter.get_input_details()
        self.input, self.output = self.inputs[0], self.interpreter.get_output_details()[0]

    def __call__(self, image):
        """Flat float32 outputs for one image (H, W, C)."""
        self.interpreter.set_tensor(self.input["index"], _pixels(image, self.input)[np.newaxis])
        self.interpreter.invoke()
        return _real(self.interpreter.get_tensor(self.output["index"]), self.output).ravel()

    def fill(self, seed=0):
        """Puts values from 0 to 255 into every input, for runs whose result does not matter."""
        random = np.random.default_rng(seed)
        for detail in self.inputs:
            values = random.uniform(0, 255, detail["shape"]).astype(np.float32)
            self.interpreter.set_tensor(detail["index"], _stored(values, detail))

    def delegated(self):
        """What XNNPACK runs: {"nodes": operators, "partitions": pieces, "left": {operator: count of those that it does
        not run}}.

        The runtime lists the file's operators and after them one DELEGATE node per piece, with its input and output
        tensors; the piece holds all operators between these.
        """
        operators = compat.operators(self.interpreter)
        pieces = [operator for operator in operators if operator["op_name"] == "DELEGATE"]
        own = [operator for operator in operators if operator["op_name"] != "DELEGATE"]
        taken = set().union(*(_between(own, piece) for piece in pieces)) if pieces else set()
        left = Counter(operator["op_name"] for number, operator in enumerate(own) if number not in taken)
        return {"nodes": len(taken), "partitions": len(pieces), "left": dict(sorted(left.items()))}


def run(path, images, threads=1, beat=_silent):
    """Outputs of a file for many images, one at a time as a phone does: (N, H, W, C) -> (N, outputs) float32.

    Raises:
        ValueError: the images do not have the shape that the file takes, or LiteRT refuses the file.
    """
    net = Net(path, threads)
    taken, given = tuple(net.input["shape"][1:]), tuple(images.shape[1:])
    if len(net.inputs) != 1 or taken != given:
        raise ValueError(f"the file takes {len(net.inputs)} input of shape {taken}, the images are {given}")
    rows = []
    for image in images:
        rows.append(net(image))
        beat(len(rows), len(images))
    return np.stack(rows)


def largest_activation(path, images, beat=_silent):
    """The largest absolute value of any operator's output for images (N, H, W, C); NaN where one gives a NaN.

    Constants that the file unpacks do not count. Operators run without the delegate, in float32, because a delegate
    shows only the inputs and outputs of its pieces.
    """
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    how = {"experimental_op_resolver_type": plain, "experimental_preserve_all_tensors": True}
    interpreter = Interpreter(**_source(path), **how)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    moving, made = {given["index"]}, []
    for operator in compat.operators(interpreter):
        if moving & {*operator["inputs"]}:
            moving |= {*operator["outputs"]}
            made += [number for number in operator["outputs"] if details[number]["dtype"] is np.float32]
    largest = 0.0
    for number, image in enumerate(images, start=1):
        interpreter.set_tensor(given["index"], _pixels(image, given)[np.newaxis])
        interpreter.invoke()
        for tensor in made:
            largest = np.maximum(largest, np.abs(interpreter.get_tensor(tensor)).max(initial=0))
        beat(number, len(images))
    return float(largest)


def time_rounds(paths, rounds, threads=1, beat=_silent):
    """Nanoseconds of single inferences, one list of `rounds` numbers per file.

    Every round runs each file once and starts with another file, so that a slow phase of the machine affects all files.
    A file's turn begins with an inference that is not counted: it refills the caches, as they are in an app that runs
    one net.
    """
    nets = []
    for path in paths:
        nets.append(Net(path, threads))
        nets[-1].fill()
        for _ in range(WARM_UP):
            nets[-1].interpreter.invoke()
            beat(0, rounds)
    times = [[] for _ in nets]
    for done in range(rounds):
        for turn in range(len(nets)):
            number = (done + turn) % len(nets)
            invoke = nets[number].interpreter.invoke
            invoke()
            start = time.perf_counter_ns()
            invoke()
            times[number].append(time.perf_counter_ns() - start)
            beat(done, rounds)
    return times


def _between(operators, piece):
    """Numbers of the operators between a piece's inputs and outputs."""
    maker = {tensor: number for number, operator in enumerate(operators) for tensor in operator["outputs"]}
    found, waiting, edge = set(), list(piece["outputs"]), set(piece["inputs"])
    while waiting:
        number = maker.get(waiting.pop())
        if number is not None and number not in found:
            found.add(number)
            waiting.extend(tensor for tensor in operators[number]["inputs"] if tensor not in edge)
    return found


def _source(path):
    """The argument of LiteRT for a file; the content where the path is not UTF-8, which LiteRT does not take."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return {"model_content": Path(path).read_bytes()}
    return {"model_path": str(path)}


def _pixels(image, detail):
    """Pixels from 0 to 255 in the type of the input.

    An 8-bit input whose numbers cannot reach 255, such as one of 0 to 1 in steps of 1/255, takes the bytes as they are:
    the normalisation is in its scale.
    """
    scale, zero = detail["quantization"]
    if scale and detail["dtype"] in (np.uint8, np.int8):
        limits = np.iinfo(detail["dtype"])
        if scale * (limits.max - zero) < LEAST_WHITE:
            return (image.astype(np.int16) + limits.min).astype(detail["dtype"])
    return _stored(image, detail)


def _stored(values, detail):
    """Real numbers, converted to the type of a tensor."""
    if detail["dtype"] is np.float32:
        return values.astype(np.float32, copy=False)
    scale, zero = detail["quantization"]
    if not scale:
        return values.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(values / scale + zero), limits.min, limits.max).astype(detail["dtype"])


def _real(values, detail):
    """The numbers in a tensor, converted to float32."""
    scale, zero = detail["quantization"]
    if values.dtype == np.float32 or not scale:
        return values.astype(np.float32)
    return ((values.astype(np.float32) - zero) * scale).astype(np.float32)
