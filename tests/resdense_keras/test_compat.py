"""Laws of what is used beyond public interfaces: it stands in compat.py, and is there in the installed versions.

Where one of these fails after an upgrade, another version than compat.SEEN has changed it.
"""

import re
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from resdense_keras import compat

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(
    r"\b_keras_history|_inbound_nodes|_nodes_by_depth|\b_functional\b(?!\()|_run_through_graph|_flatten_layers|"
    r"_backend_generators|keras\.src|\._experimental_|_get_ops_details"
)
NOW = ", ".join(f"{name} {version(name)} (seen: {seen})" for name, seen in compat.SEEN.items())


@pytest.fixture(scope="module")
def net():
    image = keras.Input((4, 4, 2), name="image")
    x = keras.layers.Conv2D(3, 1, name="first")(image)
    return keras.Model(image, keras.ops.mean(keras.layers.Add(name="sum")([x, x]), axis=(1, 2)))


def test_private_names_stand_in_one_file():
    for package in ("resdense_keras", "export", "cli"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "compat.py":
                lines = path.read_text().splitlines()
                assert [line for line in lines if PRIVATE.search(line) and "def _functional" not in line] == [], path


def test_a_graph_gives_its_calls_from_the_inputs_on(net):
    names = [call.operation.name for call in compat.calls(net) if not call.is_input]
    assert names[:2] == ["first", "sum"] and len(names) == 3, NOW
    sequential = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="dense")])
    assert not compat.is_graph(keras.layers.ReLU()) and compat.is_graph(compat.graph(sequential)), NOW
    assert [call.operation.name for call in compat.calls(compat.graph(sequential)) if not call.is_input] == ["dense"]
    assert compat.calls(keras.layers.ReLU()) == []


def test_a_tensor_knows_what_made_it_from_what(net):
    operation, call, output = compat.maker(net.get_layer("sum").output)
    assert (operation.name, call, output) == ("sum", 0, 0), NOW
    assert compat.sources(operation, call) == [net.get_layer("first").output] * 2, NOW
    assert compat.sources(None, 0) == [] == compat.sources(keras.layers.ReLU(), 0)


def test_a_graph_runs_through_functions_of_ones_own(net):
    seen = []

    def at(operation):
        seen.append(operation.name)
        return operation.compute_output_spec

    out = compat.run_through(net, keras.KerasTensor((1, 8, 8, 2)), at)
    assert (out.shape, seen[:2]) == ((1, 3), ["first", "sum"]), NOW


def test_parts_of_a_layer_take_another_generator():
    layer = keras.layers.RandomFlip()
    generator = keras.random.SeedGenerator(1)
    for part in compat.parts(keras.layers.Pipeline([layer])):
        if hasattr(part, "generator"):
            compat.set_generator(part, generator)
    assert layer.generator is generator and layer._backend_generators == {"tensorflow": generator}, NOW
    assert layer._get_seed_generator("tensorflow") is generator, NOW


def test_keras_own_operations_and_augmentations_are_known(net):
    assert compat.is_keras_operation(type(compat.maker(net.output)[0])), NOW
    assert not compat.is_keras_operation(keras.layers.ReLU), NOW
    assert isinstance(keras.layers.RandomFlip(), compat.image_augmentation()), NOW


def test_a_saved_configuration_names_the_modules_of_models(net):
    assert net.__class__.__module__ == f"{compat.KERAS_MODELS}.functional", NOW
    assert keras.Sequential.__module__ == f"{compat.KERAS_MODELS}.sequential", NOW


def test_the_converter_and_the_interpreter_take_what_they_are_asked(net, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    for name in ("_experimental_use_buffer_offset",):
        assert hasattr(converter, name), NOW
    assert hasattr(converter.target_spec, "_experimental_supported_accumulation_type"), NOW
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    compat.accumulate_in(converter, tf.float16)
    content = converter.convert()
    assert b"reduced_precision_support" in content, NOW
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ones((1, 4, 4, 2), np.float32))
    operators = compat.operators(interpreter)
    assert any(operator["op_name"] == "DELEGATE" for operator in operators), NOW
    assert {"op_name", "inputs", "outputs"} <= set(operators[0]), NOW
