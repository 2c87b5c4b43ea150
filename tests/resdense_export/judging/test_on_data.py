"""Laws of files on data: `eval` has a .tflite file's figures, `check --data` judges it against the float file."""

import json
import os
import shutil

import keras
import numpy as np
import pytest

from resdense_cli.commands.check import inspect
from resdense_export.judging.on_data import evaluate_file, float_twin
from resdense_keras.errors import RequestError
from resdense_keras.training import evaluate


@pytest.fixture(scope="module")
def spec(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "colours.npz"
    arrays = {"x": dataset.train.array(), "y": dataset.train.labels}
    np.savez(
        path,
        x_train=arrays["x"],
        y_train=arrays["y"],
        x_test=dataset.test.array(),
        y_test=dataset.test.labels,
    )
    return str(path)


def test_a_file_s_figures_are_its_model_s(bundle, nets, dataset, spec):
    found = evaluate_file(bundle / "dense-fp32.tflite", spec)
    expected = evaluate(nets["dense"], dataset.test)
    assert (found["accuracy"], found["confusion"]) == (expected["accuracy"], expected["confusion"])
    with pytest.raises(RequestError, match="no file"):
        evaluate_file(bundle / "gone.tflite", spec)


def test_a_file_is_judged_against_the_float_file_of_its_bundle_or_a_named_one(bundle, spec, tmp_path):
    inside = bundle / "dense-int8.tflite"
    alone = tmp_path / "alone-int8.tflite"
    alone.write_bytes(inside.read_bytes())
    assert float_twin(inside) == bundle / "dense-fp32.tflite" and float_twin(alone) is None
    judged, reported, named = (
        inspect([path], spec, against)[0]
        for path, against in ((inside, None), (alone, None), (alone, bundle / "dense-fp32.tflite"))
    )
    assert judged["accuracy"] == reported["accuracy"] == named["accuracy"]
    assert judged["gates"]["accuracy"] == named["gates"]["accuracy"] is not None
    assert reported["gates"]["accuracy"] is None and reported["gates"]["parity"] is None


def told_otherwise(bundle, folder, **output):
    """A copy of the bundle's fp32 file, beside a model.json that says something else of what it gives."""
    told = json.loads((bundle / "model.json").read_text())
    told["output"] |= output
    shutil.copy(bundle / "dense-fp32.tflite", folder)
    (folder / "model.json").write_text(json.dumps(told))
    return folder / "dense-fp32.tflite"


def test_numbers_that_model_json_calls_no_classes_are_never_taken_for_some(bundle, spec, tmp_path):
    file = told_otherwise(bundle, tmp_path, classes=None, labels=None)
    with pytest.raises(RequestError, match="are not classes"):
        evaluate_file(file, spec)
    (found,) = inspect([file], spec, bundle / "dense-fp32.tflite")
    assert found["accuracy"] is None and found["gates"]["agreement"] is None
    assert found["problems"] == [] and found["gates"]["parity"]["passed"]


def test_photos_are_resized_as_the_bundle_says_and_classes_of_another_order_are_refused(bundle, spec, tmp_path):
    from resdense_export.judging import on_data
    from resdense_keras.data import resizing

    told = json.loads((bundle / "model.json").read_text())
    file = told_otherwise(bundle, tmp_path)
    for rule in resizing.RULES:
        told["input"]["resize"] = resizing.words(rule)
        (tmp_path / "model.json").write_text(json.dumps(told))
        assert on_data._rule(file) == rule
    (tmp_path / "labels.txt").write_text("\n".join("abcdef"))
    assert evaluate_file(file, spec)["per_class"][0]["name"] == "a"


@pytest.mark.parametrize("broken", ["[", "[]", '{"files": 3}', '{"files": {"dense-fp32.tflite": 1}, "output": 7}'])
def test_a_broken_model_json_says_nothing(bundle, spec, tmp_path, broken):
    file = told_otherwise(bundle, tmp_path)
    (tmp_path / "model.json").write_text(broken)
    assert float_twin(file) is None and evaluate_file(file, spec)["images"] == 600


def test_check_without_images_says_what_it_checked_and_what_it_did_not_judge(bundle, spec):
    from resdense_cli.commands.check import table

    found = inspect([bundle])
    said = table(found).caption
    assert all(name in said for row in found if row["gates"] for name, gate in row["gates"].items() if gate)
    assert "Accuracy and agreement were not judged" in said and "checksums" in said
    assert table(inspect([bundle / "dense-int8.tflite"], spec)).caption is None


def test_check_says_what_so_few_images_do_not_prove(bundle, spec):
    from resdense_cli.commands.check import table

    (found,) = inspect([bundle / "dense-int8.tflite"], spec)
    (column,) = (column for column in table([found]).columns if column.header == "result")
    proved = all(found["gates"][name]["proved"] for name in ("accuracy", "agreement"))
    assert list(column.cells) == ["passed" if proved else "not proved"] and (found["unproved"] is None) == proved


def stock(net, **settings):
    """The bytes that TensorFlow's own converter makes of a net."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    for name, value in settings.items():
        setattr(converter, name, value)
    return converter.convert()


def bright(ends=1):
    """A net of pixels from 0 to 1 that tells dark from bright images, `ends` times."""
    image = keras.Input((8, 8, 3))
    mean = keras.layers.Reshape((1,))(keras.ops.mean(image, axis=(1, 2, 3)))
    outputs = [keras.layers.Dense(2, activation="softmax", name=f"end{number}")(mean) for number in range(ends)]
    net = keras.Model(image, outputs)
    for number in range(ends):
        net.get_layer(f"end{number}").set_weights([np.array([[-20.0, 20.0]]), np.array([10.0, -10.0])])
    return net


def test_bytes_that_carry_their_normalisation_in_the_scale_are_given_as_they_are(tmp_path, capsys):
    """What `inference_input_type = tf.uint8` makes of a net that takes pixels from 0 to 1."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    dark, light = random.integers(0, 100, (40, 8, 8, 3)), random.integers(156, 256, (40, 8, 8, 3))
    images, labels = np.concatenate([dark, light]).astype("uint8"), np.repeat([0, 1], 40)
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    samples = [[image[None] / np.float32(255)] for image in images]
    for kind in (tf.uint8, tf.int8):
        whole = {"optimizations": [tf.lite.Optimize.DEFAULT], "representative_dataset": lambda: iter(samples)}
        file = tmp_path / f"{kind.name}.tflite"
        file.write_bytes(stock(bright(), **whole, inference_input_type=kind, inference_output_type=kind))
        assert evaluate_file(file, tmp_path / "data.npz")["accuracy"] == 1
    assert "is given pixels from 0 to 255" in capsys.readouterr().err


def test_files_that_do_not_take_one_image_and_give_one_answer_are_refused_by_their_ends(tmp_path, spec):
    image = keras.Input((3, 8, 8))
    turned = keras.layers.Dense(2)(keras.layers.Flatten()(image))
    for net, words in ((bright(2), "2 outputs"), (keras.Model(image, turned), "channels first")):
        (tmp_path / "net.tflite").write_bytes(stock(net))
        with pytest.raises(RequestError, match=words):
            evaluate_file(tmp_path / "net.tflite", spec)


def test_a_path_that_is_not_utf8_is_opened(bundle, spec, tmp_path):
    file = tmp_path / os.fsdecode(b"caf\xe9.tflite")
    shutil.copy(bundle / "dense-fp32.tflite", file)
    assert evaluate_file(file, spec)["accuracy"] == evaluate_file(bundle / "dense-fp32.tflite", spec)["accuracy"]


def test_a_file_of_several_signatures_is_refused_by_their_names(tmp_path, spec):
    import tensorflow as tf

    given, both = tf.TensorSpec((1, 8, 8, 3)), tf.Module()
    both.near = tf.function(lambda image: tf.reduce_mean(image, (1, 2))).get_concrete_function(given)
    both.far = tf.function(lambda image: tf.reduce_max(image, (1, 2))).get_concrete_function(given)
    tf.saved_model.save(both, str(tmp_path / "saved"), signatures={"near": both.near, "far": both.far})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"), signature_keys=["near", "far"])
    (tmp_path / "net.tflite").write_bytes(converter.convert())
    with pytest.raises(RequestError, match=r"several signatures \(far, near\)"):
        evaluate_file(tmp_path / "net.tflite", spec)
