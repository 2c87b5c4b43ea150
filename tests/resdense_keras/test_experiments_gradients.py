"""Laws behind lesson 3, and its exercises."""

import numpy as np
import pytest

from resdense_keras.experiments.where_the_gradient_goes import gradients

# Sizes


def test_there_is_one_gradient_a_convolution():
    sizes, loss = gradients.by_layer("residual", 6)
    assert sizes.shape == (5,) and np.all(sizes > 0) and loss > 0


def test_steps_change_the_gradient_and_lower_the_loss():
    before, after = (gradients.by_layer("plain", 4, steps=steps, learning_rate=0.1) for steps in (0, 15))
    assert not np.allclose(before[0], after[0])
    assert after[1] < before[1]


def test_a_ratio_is_first_over_last():
    sizes, _ = gradients.by_layer("dense", 6, seed=1)
    assert gradients.ratios("dense", 6, seeds=(1,)) == pytest.approx([sizes[0] / sizes[-1]])


def test_the_border_takes_a_third_of_the_taps_on_4x4_maps_and_hardly_any_on_large_ones():
    assert gradients.kept_at_the_border(4) == pytest.approx((10 / 12) ** 2)
    assert gradients.kept_at_the_border(56) > 0.97


def test_on_larger_maps_less_of_the_gradient_is_lost():
    small, large = (gradients.ratios("plain", 12, batch_norm=False, size=size)[0] for size in (8, 32))
    assert small < large / 2


# Slopes


@pytest.mark.parametrize("connection", ["plain", "residual", "dense"])
@pytest.mark.parametrize("centred", [True, False])
def test_the_slope_is_the_difference_quotient_within_a_straight_piece(connection, centred):
    values, slopes = gradients.line(connection, 3, centred=centred, points=2001)
    step = (gradients.SPAN[1] - gradients.SPAN[0]) / 2000
    quotients = np.diff(values) / step
    inside = np.isclose(slopes[:-1], slopes[1:], rtol=1e-9, atol=1e-12)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(quotients[inside], slopes[:-1][inside], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("connection", ["plain", "residual", "dense"])
def test_without_centring_the_only_kink_is_at_zero(connection):
    slopes = gradients.along_a_line(connection, 12, centred=False)
    np.testing.assert_allclose(slopes[:128], slopes[0], rtol=1e-6)
    np.testing.assert_allclose(slopes[128:], slopes[-1], rtol=1e-6)


@pytest.mark.parametrize("norm", gradients.NORMS)
def test_the_textbooks_slope_is_the_difference_quotient_within_a_straight_piece(norm):
    values, slopes = gradients.textbook_line(norm, depth=2, width=20, points=2000)
    quotients = np.diff(values) / ((gradients.SPAN[1] - gradients.SPAN[0]) / 2000)
    inside = np.isclose(slopes[:-1], slopes[1:], rtol=1e-9, atol=1e-12)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(quotients[inside], slopes[:-1][inside], rtol=1e-6, atol=1e-6)


def test_pieces_are_counted_by_their_slopes():
    assert gradients.pieces(np.array([1.0, 1, 1, -2, -2, 3])) == 3


def test_autocorrelation_of_what_is_known():
    lags = [1, 2]
    assert gradients.autocorrelation(np.array([1.0, -1] * 8), lags) == pytest.approx([-1, 1])
    assert gradients.autocorrelation(np.full(9, 3.0), lags) == pytest.approx([1, 1])
    noise = np.random.default_rng(0).normal(size=20_000)
    assert gradients.autocorrelation(noise, lags) == pytest.approx([0, 0], abs=0.03)


# Exercises


def autocorrelation(series, lag):
    centred = series - np.mean(series)
    return np.mean(centred[:-lag] * centred[lag:]) / np.mean(centred**2)


def kinks(slopes):
    return int(np.sum(np.abs(np.diff(slopes)) > 1e-6))


def word(first, last):
    return "vanishing" if first < last / 100 else "exploding" if first > 100 * last else "level"


@pytest.mark.parametrize(
    "check, solution",
    [
        (gradients.check_autocorrelation, autocorrelation),
        (gradients.check_kinks, kinks),
        (gradients.check_word, word),
    ],
)
def test_the_reference_solution_is_right(check, solution, capsys):
    check(solution)
    assert capsys.readouterr().out == "Right.\n"


@pytest.mark.parametrize(
    "check, answer, message",
    [
        (gradients.check_autocorrelation, lambda series, lag: None, "gave None"),
        (gradients.check_autocorrelation, lambda s, lag: np.mean(s[:-lag] * s[lag:]) / np.mean(s**2), "not 0."),
        (gradients.check_kinks, lambda slopes: len(slopes), "gave 256, not 1"),
        (gradients.check_word, lambda first, last: "vanishing", "gave 'vanishing'"),
        (gradients.check_word, lambda first, last: word(last, first), "word(1e-06, 0.01) gave 'exploding'"),
    ],
)
def test_a_wrong_answer_is_refused_with_what_is_wrong(check, answer, message, capsys):
    check(answer)
    printed = capsys.readouterr().out
    assert printed.startswith("Not yet: ") and message in printed
