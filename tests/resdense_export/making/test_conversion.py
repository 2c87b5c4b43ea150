"""Laws of the float conversion: equal outputs, float32 ends, no operator that a phone lacks."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from resdense_export.limits import WEAK_CALIBRATION
from resdense_export.making.conversion import convert
from resdense_export.making.quantization import quantize
from resdense_export.nets.float32 import as_float32
from resdense_export.tflite import flatbuffer, running
from resdense_export.tflite.signature import INPUT, OUTPUT, SIGNATURE
from resdense_keras.errors import RequestError

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
FLOAT32 = 1e-5  # of a probability: the order of sums differs between the runtimes


def small_net(shape=(16, 16, 3), outputs=3):
    inputs = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, strides=2, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    return keras.Model(inputs, keras.layers.Dense(outputs, activation="softmax")(x))


def outputs_of(tflite, images, tmp_path):
    (tmp_path / "net.tflite").write_bytes(tflite)
    return running.run(tmp_path / "net.tflite", images)


@pytest.mark.parametrize("kind", ["residual", "dense"])
def test_float_file_gives_the_probabilities_of_keras(kind, nets, float_files, test_images, tmp_path):
    images = test_images[0][:50]
    expected = nets[kind].predict(images, verbose=0)
    np.testing.assert_allclose(outputs_of(float_files[kind], images, tmp_path), expected, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("kind", ["residual", "dense"])
def test_float_file_has_static_float32_ends_and_one_signature(kind, float_files):
    graph = flatbuffer.read(float_files[kind])[0]
    ends = [graph.tensors[number] for number in graph.inputs + graph.outputs]
    assert [(tensor.type, tensor.signature) for tensor in ends] == [("FLOAT32", (1, 16, 16, 3)), ("FLOAT32", (1, 6))]
    signatures = running.Interpreter(model_content=float_files[kind]).get_signature_list()
    assert signatures == {SIGNATURE: {"inputs": [INPUT], "outputs": [OUTPUT]}}


@pytest.mark.parametrize("scheme", ["fp32", "fp16", "dynamic", "int8"])
def test_constants_lie_inside_the_flatbuffer_and_no_entry_says_otherwise(scheme, float_files, training_images):
    """A reader of a file in memory alone refuses one whose metadata place them behind it."""
    model = flatbuffer.schema.Model.GetRootAs(
        quantize(float_files["dense"], scheme, training_images[0][:WEAK_CALIBRATION])
    )
    entries = [model.Metadata(number).Name() for number in range(model.MetadataLength())]
    assert entries and b"buffer_location" not in entries
    assert all(model.Buffers(number).Offset() == 0 for number in range(model.BuffersLength()))


@pytest.mark.parametrize("kind", ["residual", "dense"])
def test_tensors_are_named_by_their_layers_alone_each_differently(kind, nets, float_files):
    graph = flatbuffer.read(float_files[kind])[0]
    ends = {*graph.inputs, *graph.outputs}
    inner = [tensor.name for number, tensor in enumerate(graph.tensors) if number not in ends]
    assert len({tensor.name for tensor in graph.tensors}) == len(graph.tensors)
    assert not any(";" in name or name.startswith(f"{kind}/") for name in inner)
    layers = {layer.name for layer in nets[kind].layers}
    assert sum(name.partition("/")[0].rpartition("_1")[0] in layers for name in inner) > len(inner) / 2
    assert graph.tensors[graph.inputs[0]].name == INPUT


def test_batch_norm_after_an_addition_folds_no_further_than_the_stock_converter_does(float_files):
    # 3 pre-activation norms have no convolution before them: each stays a MUL and an ADD beside the net's own.
    assert flatbuffer.count(flatbuffer.read(float_files["residual"]))["MUL"] == 3 + 1  # the fourth is the rescaling


def test_converting_twice_gives_the_same_bytes(nets, float_files):
    assert convert(nets["dense"]) == float_files["dense"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_model_of_any_float_policy_becomes_a_float32_file_of_builtin_operators(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        net = small_net()
        outer = keras.Input((16, 16, 3))
        nested = keras.Model(outer, net(outer[:, ::-1]))
    finally:
        keras.config.set_dtype_policy("float32")
    tflite = convert(nested)
    assert not [name for name in flatbuffer.count(flatbuffer.read(tflite)) if name.startswith("CUSTOM")]
    float32 = small_net()
    float32.set_weights([np.asarray(weight, np.float32) for weight in net.get_weights()])
    expected = float32.predict(IMAGES[:, ::-1], verbose=0)
    np.testing.assert_allclose(outputs_of(tflite, IMAGES, tmp_path), expected, rtol=0, atol=FLOAT32)


def test_float32_copy_keeps_what_a_layer_derived_from_data_and_leaves_the_model_alone():
    adapted = keras.layers.Normalization(axis=-1, dtype="mixed_float16")
    adapted.adapt(IMAGES.astype(np.float32))
    model = keras.Sequential([keras.Input((16, 16, 3)), adapted])
    copy = as_float32(model)
    assert copy is not model and adapted.compute_dtype == "float16"
    np.testing.assert_allclose(copy.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0), atol=5e-3)
    assert as_float32(copy) is copy


def test_open_image_size_must_be_given_and_is_then_fixed(tmp_path):
    model = small_net(shape=(None, None, 3))
    with pytest.raises(RequestError, match="fixed image size") as error:
        convert(model)
    assert "--image-size" in error.value.hint
    assert outputs_of(convert(model, image_size=20), np.zeros((1, 20, 20, 3)), tmp_path).shape == (1, 3)


@pytest.mark.parametrize(
    ("model", "image_size", "message"),
    [
        (lambda: small_net(), 20, r"image size 20 was given; the model takes \(16, 16\)"),
        (lambda: small_net(), (16, 16, 3), "image size"),
        (lambda: keras.Sequential([keras.layers.Dense(3)]), None, "one input and one output"),
        (lambda: keras.Model(a := [keras.Input((4, 4, 3)) for _ in "ab"], keras.layers.Add()(a)), None, "one input"),
        (lambda: keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]), None, r"shape \(8,\)"),
    ],
    ids=["other size", "three sizes", "not built", "two inputs", "no image"],
)
def test_model_that_is_no_image_classifier_is_refused(model, image_size, message):
    with pytest.raises(RequestError, match=message):
        convert(model(), image_size)


def test_operator_that_phones_lack_is_refused_by_name():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.erfinv(inputs / 300))
    with pytest.raises(RequestError, match="ops: Erfinv.*in .*Erfinv"):
        convert(keras.Model(inputs, x))


def test_converter_prints_nothing(capfd):
    convert(small_net())
    assert capfd.readouterr() == ("", "")


def test_native_stderr_silences_descriptor_2_but_not_python():
    script = """
import os, sys
from resdense_export.native_stderr import native_stderr
for turn in "12":
    with native_stderr():
        os.write(2, b"chatter ")
        print("progress", turn, end=" ", file=sys.stderr)
        kept = sys.stderr
    os.write(2, b"after ")
print("logged later", end="", file=kept, flush=True)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stderr == "progress 1 after progress 2 after logged later"
