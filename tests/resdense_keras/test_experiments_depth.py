"""Laws behind lesson 2, and its exercises."""

import numpy as np
import pytest

from resdense_keras import profile
from resdense_keras.experiments import small_nets
from resdense_keras.experiments.deeper_is_not_better import depth


def test_parameters_are_those_that_are_trained():
    assert depth.parameters("dense", 6) == profile(small_nets.net("dense", 6)).trainable


def test_a_run_is_made_once_and_its_accuracies_are_fractions():
    run = depth.run("plain", 4)
    assert run is depth.run("plain", 4)
    assert 0.5 < run.training <= 1 and 0 < run.test <= 1 and len(run.losses) == small_nets.EPOCHS


def test_a_grid_has_a_row_a_learning_rate_and_a_column_a_seed():
    grid = depth.accuracies("plain", 4, seeds=(0,), learning_rates=(0.1, 0.0))
    assert grid.shape == (2, 1) and grid[0, 0] == depth.run("plain", 4).training
    assert grid[1, 0] < 0.3  # nothing is learnt at a rate of 0


def test_blocks_of_identity_change_nothing_and_random_ones_do():
    shallow, deep = depth.extended(4, 10)
    assert deep == pytest.approx(shallow, abs=0.002)
    assert depth.extended(4, 10, identity=False)[1] < shallow - 0.2


def test_branches_at_zero_hand_on_their_input():
    net = small_nets.net("residual", 8, batch_norm=False)
    small_nets.draw(net, 0)
    depth.zero_branches(net)
    before, *after = small_nets.running_features(net, small_nets.digits()[1].images[:4])
    assert len(after) == 3
    for maps in after:
        np.testing.assert_array_equal(maps, before)


# Exercises


def identity_kernel(channels):
    kernel = np.zeros((3, 3, channels, channels))
    kernel[1, 1] = np.eye(channels)
    return kernel


def plain_parameters(layers, width):
    convolutions = 9 * width + (layers - 2) * 9 * width**2
    return convolutions + (layers - 1) * 2 * width + 10 * width + 10


def verdict(shallow_training, deep_training, shallow_test, deep_test):
    if deep_training < shallow_training:
        return "degradation"
    return "overfitting" if deep_test < shallow_test else "neither"


def learning_rates(peak, warm_up, total):
    rising = [peak * step / warm_up for step in range(1, warm_up + 1)]
    rest = total - warm_up
    return rising + [peak * (1 + np.cos(np.pi * step / rest)) / 2 for step in range(1, rest + 1)]


@pytest.mark.parametrize(
    "check, solution",
    [
        (depth.check_identity_kernel, identity_kernel),
        (depth.check_plain_parameters, plain_parameters),
        (depth.check_verdict, verdict),
        (depth.check_learning_rates, learning_rates),
    ],
)
def test_the_reference_solution_is_right(check, solution, capsys):
    check(solution)
    assert capsys.readouterr().out == "Right.\n"


@pytest.mark.parametrize(
    "check, answer, message",
    [
        (
            depth.check_identity_kernel,
            lambda channels: np.ones((3, 3, channels, channels)),
            "differs from what went in",
        ),
        (depth.check_identity_kernel, lambda channels: np.eye(channels), "has shape (1, 1), not (3, 3, 1, 1)"),
        (depth.check_plain_parameters, lambda n, w: plain_parameters(n, w) - 10, "gave 14352, not 14362"),
        (depth.check_verdict, lambda *case: "overfitting", "gave 'overfitting'"),
        (depth.check_verdict, lambda a, b, c, d: "overfitting" if d < c else "neither", "gave 'overfitting'"),
        (depth.check_learning_rates, lambda peak, warm_up, total: [peak] * total, "step 1 has 1, not 0.25"),
        (depth.check_learning_rates, lambda peak, warm_up, total: None, "has shape (), not (12,)"),
    ],
)
def test_a_wrong_answer_is_refused_with_what_is_wrong(check, answer, message, capsys):
    check(answer)
    printed = capsys.readouterr().out
    assert printed.startswith("Not yet: ") and message in printed
