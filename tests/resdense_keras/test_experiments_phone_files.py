"""Laws behind lesson 8: numbers by hand are right, pictures take what files give, and its exercises have solutions."""

import keras
import numpy as np
import pytest

from resdense_keras.experiments import lesson
from resdense_keras.experiments.to_the_phone import phone_files


def test_int8_reaches_both_ends_and_errs_by_half_a_step_inside():
    values = np.linspace(-1, 3, 999)
    integers, again = phone_files.int8_values(values, -1.0, 3.0)
    assert integers.dtype == np.int8 and (integers.min(), integers.max()) == (-128, 127)
    assert np.abs(values - again).max() <= 4 / 255 / 2 * 1.0001
    assert phone_files.int8_values([9.0], -1.0, 3.0)[1][0] == pytest.approx(3, abs=4 / 255)


def test_a_norm_read_from_a_layer_computes_what_the_layer_does():
    layer = keras.layers.BatchNormalization(epsilon=0.01)
    layer.build((None, 4))
    random = np.random.default_rng(0)
    layer.set_weights([*random.normal(size=(3, 4)), random.uniform(0.5, 2, 4)])
    x = random.normal(size=(6, 4)).astype("float32")
    np.testing.assert_allclose(phone_files.norm_of(layer)(x), layer(x, training=False), atol=1e-5)


def test_the_pictures_are_drawn():
    files = [
        phone_files.File(family, scheme, rewritten, 1000, 0.9, (0.8, 0.95), 1.0, {"CONV_2D": 3, "ADD": 1}, (1, 2, 3))
        for family in ("residual", "dense")
        for scheme in ("fp32", "int8")
        for rewritten in (True, False)
    ]
    for draw in (phone_files.draw_files, phone_files.draw_operators):
        assert lesson.render(lambda figure, draw=draw: draw(figure, files), (8, 4)).startswith(b"\x89PNG")


# The exercises' reference solutions, and answers that are wrong


def fold_with_bias(kernel, bias, norm):
    factor = norm.gamma / np.sqrt(norm.variance + norm.epsilon)
    return kernel * factor, norm.beta + (bias - norm.mean) * factor


def scale_and_zero_point(low, high):
    scale = (high - low) / 255
    return scale, round(-128 - low / scale)


def choose(files, least, max_kb):
    good = [scheme for scheme, (size, accuracy) in files.items() if accuracy >= least and size <= max_kb]
    return min(good, key=lambda scheme: files[scheme][0], default=None)


EXERCISES = {
    phone_files.check_fold: (fold_with_bias, lambda kernel, bias, norm: (kernel, norm.beta)),
    phone_files.check_scale: (scale_and_zero_point, lambda low, high: ((high - low) / 255, 0)),
    phone_files.check_choice_of_file: (choose, lambda files, least, max_kb: "int8"),
}


@pytest.mark.parametrize("check", EXERCISES, ids=lambda check: check.__name__)
def test_the_exercises_have_solutions_and_know_wrong_ones(check, capsys):
    right, wrong = EXERCISES[check]
    check(right)
    check(wrong)
    check(lambda *_, **__: 1 / 0)
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "Right."
    assert len(others) == 2 and all(line.startswith("Not yet: ") for line in others)
