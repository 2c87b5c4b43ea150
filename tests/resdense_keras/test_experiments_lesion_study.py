"""Laws behind lesson 4, and its exercises."""

from math import comb

import numpy as np
import pytest
import tensorflow as tf

from resdense_keras.experiments import small_nets
from resdense_keras.experiments.pull_a_layer_out import lesion_study


def test_a_study_has_a_number_a_block_and_leaves_the_net_whole():
    model, _ = small_nets.trained("residual", 6)
    before = model.get_weights()
    blocks, whole = lesion_study.one_by_one("residual", depth=6)
    assert blocks.shape == (2,) and blocks.max() < whole
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert lesion_study.medians("residual", depth=6) == pytest.approx([np.median(blocks) / whole])


def test_several_lesions_at_once_begin_with_none():
    _, whole = lesion_study.one_by_one("residual", depth=6)
    found = lesion_study.together("residual", [0, 2], depth=6, draws=2)
    assert found.shape == (2, 2) and np.all(found[0] == whole)
    assert found[1, 0] == found[1, 1] < whole  # both draw both blocks


def test_the_gradients_along_all_paths_add_up_to_the_gradient():
    model = small_nets.net("preactivation", 6)
    small_nets.draw(model, 0)
    (stem, *branches), head = lesion_study.in_pieces(model)
    data = small_nets.digits()[0]
    start, labels = stem(data.images[:8], training=False), data.labels[:8]
    paths = [lesion_study.path_gradient(start, branches, head, labels, chosen) for chosen in (set(), {0}, {1}, {0, 1})]
    with tf.GradientTape() as tape:
        tape.watch(start)
        x = start
        for branch in branches:
            x = x + branch(x)
        loss = small_nets.cross_entropy(labels, head(x))
    np.testing.assert_allclose(sum(paths), tape.gradient(loss, start), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(head(x), model(data.images[:8], training=False), rtol=1e-4, atol=1e-5)


# Exercises


def paths(blocks, taken_out):
    left = blocks - taken_out
    return [comb(left, branches) for branches in range(left + 1)]


@pytest.mark.parametrize(
    "check, solution",
    [
        (lesion_study.check_paths, paths),
        (lesion_study.check_silence, lambda kernel: 0 * kernel),
        (lesion_study.check_shut, lambda gamma, beta: (0 * gamma, 0 * beta)),
    ],
)
def test_the_reference_solution_is_right(check, solution, capsys):
    check(solution)
    assert capsys.readouterr().out == "Right.\n"


@pytest.mark.parametrize(
    "check, answer, message",
    [
        (lesion_study.check_paths, lambda blocks, out: None, "gave None"),
        (lesion_study.check_paths, lambda blocks, out: paths(blocks, 0), "paths(9, 1)"),
        (lesion_study.check_silence, lambda kernel: kernel, "not zero"),
        (lesion_study.check_shut, lambda gamma, beta: (0 * gamma, beta), "the batch norm still gives"),
        (lesion_study.check_shut, lambda gamma, beta: None, "gave None, not (gamma, beta)"),
    ],
)
def test_a_wrong_answer_is_refused_with_what_is_wrong(check, answer, message, capsys):
    check(answer)
    printed = capsys.readouterr().out
    assert printed.startswith("Not yet: ") and message in printed
