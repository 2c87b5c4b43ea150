"""Laws of the fp16 scheme: every constant in float16, float32 ends, and float16 arithmetic only where it is safe."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from resdense_cli.commands.check import inspect, table
from resdense_export import pipeline
from resdense_export.judging.check import check
from resdense_export.making.conversion import convert
from resdense_export.making.quantization import quantize
from resdense_export.report.terminal import terminal_table
from resdense_export.tflite import flatbuffer, half, running
from resdense_export.tflite.uint8_input import with_uint8_input

ROOT = Path(__file__).parents[3]


def constants(content):
    """{(operator, type of the constant it reads)} of a file, through a DEQUANTIZE where one stands between."""
    graph = flatbuffer.read(content)[0]
    unpacked = {op.outputs[0]: op.inputs[0] for op in graph.operators if op.name == "DEQUANTIZE"}
    return {
        (op.name, graph.tensors[unpacked.get(number, number)].type)
        for op in graph.operators
        if op.name != "DEQUANTIZE"
        for number in op.inputs
        if graph.tensors[unpacked.get(number, number)].constant
    }


def mark(content):
    model = flatbuffer.unpack(content)
    return [bytes(model.buffers[entry.buffer].data) for entry in model.metadata if entry.name == half.MARK]


@pytest.mark.parametrize("kind", ["residual", "dense"])
@pytest.mark.parametrize("cameras", [False, True], ids=["float32", "uint8"])
def test_every_constant_is_float16_and_the_ends_stay(kind, cameras, float_files):
    made = quantize(float_files[kind], "fp16")
    made = with_uint8_input(made) if cameras else made
    kinds = {type for _, type in constants(made)}
    assert "FLOAT16" in kinds and "FLOAT32" not in kinds
    assert mark(made) == [b"fp16accfp16"]
    graph = flatbuffer.read(made)[0]
    assert [graph.tensors[number].type for number in (*graph.inputs, *graph.outputs)] == [
        "UINT8" if cameras else "FLOAT32",
        "FLOAT32",
    ]
    assert half.slow(graph) == []


def test_the_float_file_is_not_marked_and_keeps_its_constants(float_files):
    plain = quantize(float_files["dense"], "fp32")
    assert not half.is_marked(plain) and not mark(plain)
    assert "FLOAT16" not in {type for _, type in constants(plain)}


def test_zero_weights_of_a_pruned_net_stay_zero(float_files):
    model = flatbuffer.unpack(float_files["residual"])
    for buffer in model.buffers:
        if buffer.data is not None and buffer.data.nbytes > 1000:
            buffer.data = buffer.data.copy()
            buffer.data[: buffer.data.nbytes // 8 * 4] = 0
    pruned = flatbuffer.pack(model)

    def zeros(content, kind):
        tree = flatbuffer.unpack(content)
        return sum(
            int((np.frombuffer(tree.buffers[tensor.buffer].data.tobytes(), kind) == 0).sum())
            for tensor in tree.subgraphs[0].tensors
            if tensor.type == {"<f4": 0, "<f2": 1}[kind] and tree.buffers[tensor.buffer].data is not None
        )

    assert zeros(half.in_half(pruned), "<f2") >= zeros(pruned, "<f4") > 1000


def scaled(factor, bias=0.0):
    """A classifier whose second convolution gives `factor` times as much as it takes."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, activation="relu", kernel_initializer="ones")(x)
    x = keras.layers.Conv2D(4, 1, activation="relu", name="large")(x)
    x = keras.layers.Conv2D(4, 1, name="small")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="head")(x), name="scaled")
    kernel = np.eye(4, dtype=np.float32)[None, None]
    model.get_layer("large").set_weights([factor * kernel, np.full(4, bias, np.float32)])
    model.get_layer("small").set_weights([kernel / factor, np.zeros(4, np.float32)])
    return model


@pytest.mark.parametrize(("factor", "marked"), [(1.0, True), (100.0, True), (1e4, False), (1e6, False)])
def test_a_net_that_leaves_the_range_of_float16_is_computed_in_float32_and_says_so(factor, marked, tmp_path):
    model, folder = scaled(factor), tmp_path / "out"
    report = pipeline.export(model, folder, ["fp32", "fp16"], rounds=3)
    (net,) = report["models"]
    export = {each["scheme"]: each for each in net["exports"]}["fp16"]
    content = (folder / "scaled-fp16.tflite").read_bytes()
    assert export["half"] is half.is_marked(content) is marked
    gate = export["gates"]["half_range"]
    assert gate["passed"] and "largest activation" in gate["detail"]
    described = json.loads((folder / "model.json").read_text())["files"]
    assert described["scaled-fp16.tflite"]["half_arithmetic"] is marked
    assert "half_arithmetic" not in described["scaled-fp32.tflite"]
    said = (folder / "MODEL_CARD.md").read_text(), (folder / "report.html").read_text()
    assert all(("computed in float32" in text) is not marked for text in said)
    cells = [str(cell) for column in terminal_table(report).columns for cell in column.cells]
    assert ("passed, in float32" in cells) is not marked


def test_a_file_that_asks_for_float16_and_leaves_its_range_fails(tmp_path):
    path = tmp_path / "net-fp16.tflite"
    path.write_bytes(half.in_half(convert(scaled(1e4)), marked=True))
    assert "asks for float16 arithmetic" in check(path).failures["half_range"]


def test_an_operator_with_a_constant_beyond_float16_stays_float32_and_the_file_is_not_marked():
    made = half.in_half(convert(scaled(1.0, bias=1e5)), marked=True)
    assert not half.is_marked(made)
    assert {("CONV_2D", "FLOAT32"), ("FULLY_CONNECTED", "FLOAT16")} <= constants(made)
    assert half.slow(flatbuffer.read(made)[0]) == []


@pytest.mark.parametrize(
    ("activation", "safe"), [(16_375.0, True), (16_377.0, False), (np.inf, False), (np.nan, False)]
)
def test_what_fits_leaves_two_bits(activation, safe):
    assert half.fits(activation) is safe


def test_the_largest_activation_is_that_of_keras(nets, float_files, test_images, tmp_path):
    """Of the layers' outputs; what is fused, such as a batch norm's convolution, shows no more than they do."""
    images, net = test_images[0][:8], nets["residual"]
    outputs = [layer.output for layer in net.layers if not isinstance(layer, keras.layers.InputLayer)]
    layers = keras.Model(net.inputs, outputs)
    largest = max(float(np.abs(output).max()) for output in layers.predict(images, verbose=0))
    for name, content in (("fp32", float_files["residual"]), ("fp16", half.in_half(float_files["residual"]))):
        (tmp_path / name).write_bytes(content)
        assert running.largest_activation(tmp_path / name, images) == pytest.approx(largest, rel=0.02)


def test_a_file_that_falls_into_more_pieces_than_the_float_file_fails(float_files, tmp_path):
    content = float_files["residual"]
    graph = flatbuffer.read(content)[0]
    biases = {op.inputs[2] for op in graph.operators if op.name == "CONV_2D"}
    path = tmp_path / "net-fp16.tflite"
    path.write_bytes(half.in_half(content, chosen=biases))  # as a public report's file, which fell into 45
    (tmp_path / "net-fp32.tflite").write_bytes(content)
    found = {Path(row["path"]).name: row for row in inspect([tmp_path])}
    assert "pieces, the float32 file in 1" in "".join(found["net-fp16.tflite"]["problems"])
    path.write_bytes(half.in_half(content))
    (finding,) = inspect([path])
    assert finding["problems"] == [] and finding["gates"]["partitions"]["passed"] and finding["notes"] == []


def test_a_file_of_an_earlier_version_passes_with_a_note_that_says_why_it_is_slow():
    (finding,) = inspect([ROOT / "tests/old/bundle/model-fp16.tflite"])
    assert finding["problems"] == []
    (note,) = finding["notes"]
    assert "slow" in note and "in every inference" in note and "export again" in note
    assert "note: slow" in [str(cell) for column in table([finding]).columns for cell in column.cells][-1]


# On an emulated Arm core, which computes in float16


def arm(variable):
    command = os.environ.get(variable)
    if not (command and Path(os.environ.get("RESDENSE_ARM", "")).is_dir()):
        pytest.skip(f"RESDENSE_ARM and {variable} do not name an emulated Arm core")
    return shlex.split(command)


@pytest.mark.parametrize(
    "name",
    [pytest.param("resnet20", marks=pytest.mark.slow), pytest.param("densenet_bc40_12", marks=pytest.mark.long)],
)
def test_float16_takes_little_more_than_half_of_the_instructions(name, tmp_path):
    import resdense_keras
    from resdense_export.making.float_files import float_files

    command, counts = arm("RESDENSE_ARM_COUNT"), {}
    floating = float_files(resdense_keras.create(name, include_preprocessing=True))("float")
    for scheme in ("fp32", "fp16"):
        path = tmp_path / f"{scheme}.tflite"
        path.write_bytes(quantize(floating, scheme))
        run = subprocess.run([*command, path], capture_output=True, text=True, check=True)
        counts[scheme] = float(run.stdout.split()[-1])
    assert counts["fp16"] <= 0.56 * counts["fp32"]


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "finite"), [(100.0, True), (3e4, False)])
def test_what_the_gate_refuses_is_not_finite_in_float16(factor, finite, tmp_path):
    path, images, out = tmp_path / "net.tflite", tmp_path / "images.npy", tmp_path / "out.npy"
    path.write_bytes(half.in_half(convert(scaled(factor)), marked=True))
    np.save(images, np.full((2, 8, 8, 3), 255, np.uint8))
    script = ROOT / "benchmarks" / "answers.py"
    subprocess.run([*arm("RESDENSE_ARM_PYTHON"), script, path, images, out, "interpreter"], check=True)
    assert bool(np.isfinite(np.load(out)).all()) is finite
    assert ("half_range" in check(path).failures) is not finite
