"""Laws of the quantized files: what is stored in which type, from which images, and that it repeats."""

import hashlib
import os
import subprocess
import sys
import tempfile

import keras
import numpy as np
import pytest

from resdense_export.limits import WEAK_CALIBRATION
from resdense_export.making import quantization
from resdense_export.making.conversion import convert
from resdense_export.making.float_files import float_files
from resdense_export.making.quantization import calibrate, quantize
from resdense_export.schemes import SCHEMES, standard_schemes
from resdense_export.tflite import flatbuffer, running
from resdense_keras.errors import RequestError


@pytest.fixture(scope="module")
def calibration(training_images):
    return training_images[0][:WEAK_CALIBRATION]


@pytest.fixture(scope="module")
def separable():
    """Float file of a net with a depthwise convolution, wide enough that weights are most of the file."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(256, 3, strides=2)(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.DepthwiseConv2D(3, activation="relu")(x)
    x = keras.layers.Conv2D(256, 3, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return convert(keras.Model(inputs, keras.layers.Dense(6, activation="softmax")(x)))


def types(tflite, name):
    """{(type of activations in, of weights, of activations out)} over all operators of a name."""
    graph = flatbuffer.read(tflite)[0]
    return {
        tuple(graph.tensors[number].type for number in (*operator.inputs[:2], operator.outputs[0]))
        for operator in graph.operators
        if operator.name == name
    }


EXPECTED = {
    "fp32": (("FLOAT32", "FLOAT32", "FLOAT32"), ("FLOAT32", "FLOAT32", "FLOAT32")),
    "fp16": (("FLOAT32", "FLOAT32", "FLOAT32"), ("FLOAT32", "FLOAT32", "FLOAT32")),  # through a DEQUANTIZE
    "dynamic": (("FLOAT32", "INT8", "FLOAT32"), ("FLOAT32", "FLOAT32", "FLOAT32")),
    "int8": (("INT8", "INT8", "INT8"), ("INT8", "INT8", "INT8")),
}


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("layer", ["Conv2D", "DepthwiseConv2D", "Dense", "Conv2DTranspose"])
def test_channels_without_weights_keep_their_bias(layer, dead, calibration):
    """A batch norm whose scale is zero folds into such a channel. `dead`: and the layer reads nothing but zeros."""
    shape = calibration.shape[1:]
    inputs = keras.Input(shape)
    x = (
        keras.layers.ReLU()(keras.layers.Conv2D(3, 1, bias_initializer=keras.initializers.Constant(-1e4))(inputs))
        if dead
        else inputs
    )
    made = {
        "Conv2D": keras.layers.Conv2D(4, 3),
        "DepthwiseConv2D": keras.layers.DepthwiseConv2D(3),
        "Dense": keras.layers.Dense(4),
        "Conv2DTranspose": keras.layers.Conv2DTranspose(4, 3),
    }[layer]
    x = made(keras.layers.GlobalAveragePooling2D()(x) if layer == "Dense" else x)
    kernel = made.kernel.numpy() / 255
    axis = -1 if layer in ("Conv2D", "Dense") else -2
    np.moveaxis(kernel, axis, 0)[0] = 0
    np.moveaxis(kernel, axis, 0)[1] *= 1e-9
    made.set_weights([kernel, np.linspace(0.5, 1, made.bias.shape[0])])
    net = keras.Model(inputs, x)
    files = [quantize(convert(net), scheme, calibration) for scheme in ("fp32", "int8")]
    found = [_run(file, calibration) for file in files]
    assert np.abs(found[1] - found[0]).max() < 0.02 * np.abs(found[0]).max()
    assert _unread(files[1]) == 0  # such as the float weights before they were raised


def test_a_file_has_no_constant_that_nothing_names_and_the_tree_keeps_it(separable):
    tree = flatbuffer.unpack(separable)
    before = flatbuffer.pack(tree)
    tree.buffers.append(flatbuffer.schema.BufferT())
    tree.buffers[-1].data = np.arange(10_000, dtype="uint8")
    assert len(flatbuffer.pack(tree)) - len(before) < 100 and len(tree.buffers[-1].data) == 10_000


def _unread(content):
    """Bytes of constants that no tensor and no metadata of a file names."""
    model = flatbuffer.unpack(content)
    named = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    named |= {entry.buffer for entry in model.metadata}
    unread = [buffer.data for number, buffer in enumerate(model.buffers) if number not in named]
    return sum(data.nbytes for data in unread if data is not None)


def _run(content, images):
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(content)
        file.flush()
        return running.run(file.name, images)


@pytest.mark.parametrize("scheme", standard_schemes())
def test_scheme_decides_the_types_and_leaves_the_ends_float32(scheme, separable, calibration):
    tflite = quantize(separable, scheme, calibration)
    convolution, depthwise = EXPECTED[scheme]
    assert types(tflite, "CONV_2D") == {convolution}
    assert types(tflite, "DEPTHWISE_CONV_2D") == {depthwise}
    graph = flatbuffer.read(tflite)[0]
    assert {graph.tensors[number].type for number in graph.inputs + graph.outputs} == {"FLOAT32"}
    stored = {tensor.type for tensor in graph.tensors if tensor.constant}
    assert ("FLOAT16" in stored) == (scheme == "fp16")


@pytest.mark.parametrize(("scheme", "share"), [("fp32", 1.0), ("fp16", 0.5), ("dynamic", 0.25), ("int8", 0.25)])
def test_file_shrinks_with_its_weights(scheme, share, separable, calibration):
    assert len(quantize(separable, scheme, calibration)) / len(separable) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("kind", ["residual", "dense"])
def test_int8_file_computes_additions_and_concatenations_in_int8(kind, float_files, calibration):
    graph = flatbuffer.read(quantize(float_files[kind], "int8", calibration))[0]
    name = "ADD" if kind == "residual" else "CONCATENATION"
    joins = [operator for operator in graph.operators if operator.name == name]
    assert len(joins) >= 2
    assert {graph.tensors[operator.outputs[0]].type for operator in joins} == {"INT8"}


@pytest.mark.parametrize("scheme", ["fp16", "dynamic", "int8"])
def test_quantizing_twice_gives_the_same_bytes_and_prints_nothing(scheme, float_files, calibration, capfd):
    first, second = (quantize(float_files["dense"], scheme, calibration) for _ in range(2))
    assert first == second
    assert capfd.readouterr() == ("", "")


def test_float32_calibration_images_count_as_the_same_bytes(float_files, calibration):
    as_floats = quantize(float_files["dense"], "int8", calibration.astype(np.float32))
    assert as_floats == quantize(float_files["dense"], "int8", calibration)


def test_equal_vectors_are_written_once_and_the_answers_stay(float_files, calibration, monkeypatch, tmp_path):
    shared = quantize(float_files["dense"], "int8", calibration)
    monkeypatch.setattr(quantization, "with_room_for_biases", lambda content, *_: content)
    for name in ("pack", "unpack"):
        monkeypatch.setattr(flatbuffer, name, lambda content: content)
    by_the_tool = quantize(float_files["dense"], "int8", calibration)
    assert flatbuffer.read(shared) == flatbuffer.read(by_the_tool)
    assert len(shared) < 0.95 * len(by_the_tool)
    answers = []
    for name, content in {"shared": shared, "by the tool": by_the_tool}.items():
        (tmp_path / f"{name}.tflite").write_bytes(content)
        answers.append(running.run(tmp_path / f"{name}.tflite", calibration[:10]))
    np.testing.assert_array_equal(*answers)


OTHER_PROCESS = """
import hashlib, sys
import keras
import numpy as np
from resdense_export.making.quantization import quantize
from resdense_export.schemes import standard_schemes
from resdense_export.making.float_files import float_files
net, images = keras.saving.load_model(sys.argv[1], compile=False), np.load(sys.argv[2])
files = float_files(net)
for scheme in standard_schemes():
    print(hashlib.sha256(quantize(files("int8" if scheme == "int8" else "float"), scheme, images)).hexdigest())
"""


@pytest.mark.slow
def test_another_process_makes_the_same_bytes(nets, calibration, tmp_path):
    nets["dense"].save(tmp_path / "net.keras")
    np.save(tmp_path / "images.npy", calibration)
    command = [sys.executable, "-c", OTHER_PROCESS, tmp_path / "net.keras", tmp_path / "images.npy"]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    files = float_files(nets["dense"])
    contents = [quantize(files(SCHEMES[scheme].graph), scheme, calibration) for scheme in standard_schemes()]
    assert run.stdout.split() == [hashlib.sha256(content).hexdigest() for content in contents]


def bad(change):
    """Calibration images spoiled by `change`, which takes the float32 images."""
    return lambda images: change(images.astype(np.float32))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (bad(lambda images: images[:19]), "19 calibration images were given; 20 or more are needed"),
        (bad(np.zeros_like), "every calibration pixel is 0.0"),
        (bad(lambda images: np.repeat(images[:1], 100, axis=0)), "all calibration images are the same image"),
        (bad(lambda images: np.where(images > 200, np.nan, images)), "a calibration image holds NaN or infinity"),
        (bad(lambda images: images[:, :8]), r"shape \(100, 8, 16, 3\); \(images, 16, 16, 3\) is needed"),
        (bad(lambda images: images[0]), r"shape \(16, 16, 3\)"),
    ],
    ids=["too few", "constant", "one image", "nan", "other size", "no batch"],
)
def test_images_that_cannot_calibrate_are_refused(spoil, message, float_files, calibration):
    with pytest.raises(RequestError, match=message):
        quantize(float_files["dense"], "int8", spoil(calibration))


def test_int8_without_images_is_refused_with_a_hint(float_files):
    with pytest.raises(RequestError, match="int8 needs images") as error:
        quantize(float_files["dense"], "int8")
    assert error.value.hint == "pass --data SPEC"


def test_unknown_scheme_names_the_nearest(float_files):
    with pytest.raises(RequestError, match="unknown scheme 'int16'") as error:
        quantize(float_files["dense"], "int16")
    assert "int8" in error.value.hint


def test_ranges_reach_the_extremes_of_all_images_in_any_order(float_files, training_images):
    images = training_images[0][: 2 * WEAK_CALIBRATION]
    first, backwards = (calibrate(float_files["dense"], each) for each in (images, images[::-1]))
    part = calibrate(float_files["dense"], images[:WEAK_CALIBRATION])
    assert len(first) > 10 and first.keys() == backwards.keys()
    for name in first:
        assert first[name]["min"] == backwards[name]["min"] <= part[name]["min"]
        assert first[name]["max"] == backwards[name]["max"] >= part[name]["max"]


def test_dense_block_has_one_range_and_no_requantization(float_files, calibration):
    ranges = calibrate(float_files["dense"], calibration)
    graph = flatbuffer.read(float_files["dense"])[0]
    joins = [operator for operator in graph.operators if operator.name == "CONCATENATION"]
    tied = {graph.tensors[number].name for join in joins for number in (*join.inputs, *join.outputs)}
    assert len(tied) > 3 and len({(np.min(ranges[name]["min"]), np.max(ranges[name]["max"])) for name in tied}) == 1
    found = flatbuffer.count(flatbuffer.read(quantize(float_files["dense"], "int8", ranges=ranges)))
    assert found["QUANTIZE"] == 1  # of the input


def test_what_only_a_maximum_reads_has_the_maximum_s_range_and_what_others_read_too_keeps_its_own(calibration):
    """8 bits are not spent on what the maximum throws away: what lies below saturates, and comes out the same."""
    inputs = keras.Input((16, 16, 3))
    starts = [keras.initializers.RandomNormal(seed=seed) for seed in (1, 2)]
    pixels = keras.layers.Rescaling(1 / 255)(inputs)
    alone, shared = (keras.layers.Conv2D(8, 3, kernel_initializer=start)(pixels) for start in starts)
    bound = np.linspace(-0.1, 0.1, 8, dtype="float32")
    parts = [keras.ops.maximum(alone, bound), keras.ops.maximum(shared, bound), shared]
    model = keras.Model(inputs, keras.layers.Flatten()(keras.layers.Add()(parts)))
    floating = convert(model)
    ranges, graph = calibrate(floating, calibration), flatbuffer.read(floating)[0]
    maxima = [operator for operator in graph.operators if operator.name == "MAXIMUM"]
    lowest = []
    for operator in maxima:
        before, after = (graph.tensors[number].name for number in (operator.inputs[0], operator.outputs[0]))
        assert ranges[before]["min"] == ranges[after]["min"] and ranges[before]["max"] == ranges[after]["max"]
        lowest.append(float(np.min(ranges[before]["min"])))
    assert len(maxima) == 2 and max(lowest) == bound.min() > 2 * min(lowest)
    tflite = quantize(floating, "int8", ranges=ranges)
    assert flatbuffer.count(flatbuffer.read(tflite))["QUANTIZE"] == 1  # of the input
