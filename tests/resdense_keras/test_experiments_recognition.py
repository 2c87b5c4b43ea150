"""Laws behind lesson 7: layouts are told apart, a folder is read as it was written, its exercises have solutions."""

import numpy as np
import pytest
from PIL import Image

from resdense_keras import data
from resdense_keras.experiments.build_train_tell_apart import recognition


def test_each_layout_is_read_from_the_graph():
    assert {variant: recognition.layout(recognition.small(variant)) for variant in recognition.VARIANTS} == {
        "v1": ("conv1", "convolution", 1, "1x1 with stride", False),
        "v1.5": ("conv2", "convolution", 1, "1x1 with stride", False),
        "v2": ("conv2", "batch norm", 1, "1x1 with stride", True),
        "vd": ("conv2", "convolution", 3, "average pooling", False),
    }


def test_a_foreign_file_is_answered_with_its_layout_and_an_equal_one_in_silence():
    assert "variant='vd'" in recognition.answer_to_foreign_weights("vd", "v1")
    assert recognition.answer_to_foreign_weights("v1", "v1.5") is None


def test_the_stand_in_is_read_as_it_was_written_and_is_new_to_the_shipped_nets(tmp_path):
    recognition.write_digits(tmp_path, per_class=3, tests_per_class=4)
    found = recognition.load_folder(tmp_path)
    assert found.images.shape == (30, 8, 8, 1) and found.test_images.shape == (40, 8, 8, 1)
    assert found.class_names == tuple(f"class_{digit}" for digit in range(10))
    unseen = {image.tobytes() for image in data.load("digits").test.array()}
    assert all(image.astype("uint8").tobytes() in unseen for image in (*found.images, *found.test_images))
    turned = recognition.load_folder(
        recognition.write_digits(tmp_path, per_class=3, tests_per_class=4, quarter_turns=1)
    )
    np.testing.assert_array_equal(np.rot90(found.test_images, axes=(1, 2)), turned.test_images)


def test_a_folder_with_two_images_is_refused_with_a_hint(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name / "1.png")
    with pytest.raises(SystemExit) as stop:
        recognition.load_folder(tmp_path)
    message, hint = str(stop.value).split("\n")
    assert str(tmp_path) in message and hint == "hint: give more images: 3 or more of each class"


def test_a_folder_that_is_not_there_is_refused_with_a_hint(tmp_path):
    with pytest.raises(SystemExit, match="nowhere.*\nhint: "):
        recognition.load_folder(tmp_path / "nowhere")


@pytest.mark.slow
def test_training_starts_from_the_shipped_weights_or_from_fresh_ones_and_repeats(tmp_path):
    found = recognition.load_folder(recognition.write_digits(tmp_path, per_class=2, tests_per_class=4))
    training = recognition.NewHead("residual", found, epochs=4)
    fresh, shipped = (training.run(transfer=transfer) for transfer in (False, True))
    assert 0 <= fresh < shipped <= 1
    assert training.run(transfer=True) == pytest.approx(shipped, abs=0.051)  # sums differ in their order


# The exercises' reference solutions, and answers that are wrong


def recognize(tensors):
    if "stem_conv1/kernel" in tensors:
        return "vd"
    return "v2" if "head_bn/gamma" in tensors else "v1 or v1.5"


def halvings(model):
    last = [layer.output.shape for layer in model.layers if len(layer.output.shape) == 4][-1]
    return model.input_shape[1] // last[1]


def freeze(model):
    for layer in model.layers:
        layer.trainable = layer.name == "predictions"


def freeze_convolutions(model):
    for layer in model.layers:
        layer.trainable = "conv" not in layer.name


EXERCISES = {
    recognition.check_recognize: (recognize, lambda tensors: "v2"),
    recognition.check_halvings: (halvings, lambda model: 2),
    recognition.check_frozen: (freeze, freeze_convolutions),
}


@pytest.mark.parametrize("check", EXERCISES, ids=lambda check: check.__name__)
def test_the_exercises_have_solutions_and_know_wrong_ones(check, capsys):
    right, wrong = EXERCISES[check]
    check(right)
    check(wrong)
    check(lambda *_: None)
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "Right."
    assert len(others) == 2 and all(line.startswith("Not yet: ") for line in others)
