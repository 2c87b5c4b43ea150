"""Laws behind lesson 5, and its exercises."""

import numpy as np
import pytest

from resdense_keras.experiments import small_nets
from resdense_keras.experiments.who_reuses_what import reuse


@pytest.fixture(scope="module")
def net():
    model = small_nets.net("dense", 6)
    small_nets.draw(model, 0)
    return model


def test_sources_are_the_stem_and_the_layers_in_their_order(net):
    assert reuse.sources(net) == {0: range(16), 1: range(16, 20), 2: range(20, 24), 3: range(24, 28), 4: range(28, 32)}


def test_maps_have_a_cell_an_edge(net):
    found = reuse.weight_map(net)
    assert found.shape == (5, 5) and np.array_equal(np.isnan(found), ~np.tri(5, dtype=bool))
    assert np.nanmax(found[:-1]) == 1


def test_an_edge_that_carries_nothing_costs_nothing_and_the_net_keeps_its_weights(net):
    layer = net.get_layer("stage1_block3_conv1")
    kernel = layer.kernel.numpy()
    kernel[:, :, 16:20] = 0  # what it would read from layer 1
    layer.kernel.assign(kernel)
    before = net.get_weights()
    found = reuse.causal_map(net, small_nets.digits()[1])
    assert found[2, 1] == 0 and np.count_nonzero(found == 0) == 1
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))


def test_after_concatenations_the_stem_is_readable_and_after_plain_blocks_less_and_less(net):
    data = small_nets.digits()
    np.testing.assert_allclose(reuse.readable(net, *data), 1, atol=0.01)
    plain = small_nets.net("plain", 8)
    small_nets.draw(plain, 0)
    found = reuse.readable(plain, *data)
    assert found[0] == pytest.approx(1, abs=0.01) and np.all(np.diff(found) < 0)


def test_one_target_for_all_nets_does_not_depend_on_what_stands_behind_the_stems_convolution(net):
    """Read from the same place, the dense net's stem has the maps and the plain net's their ReLU, each without loss."""
    data = small_nets.digits()
    plain = small_nets.net("plain", 4)
    small_nets.draw(plain, 0)
    for model, target, other in ((net, "maps", "rectified"), (plain, "rectified", "maps")):
        assert reuse.readable(model, *data, target=target)[0] > 0.99
        assert reuse.readable(model, *data, target=other)[0] < 0.98
    with pytest.raises(ValueError, match="target='mean' was given"):
        reuse.readable(net, *data, target="mean")


def test_maps_agree_with_themselves_and_not_with_others():
    random = np.random.default_rng(0)
    first, second = (np.where(np.tri(12, dtype=bool), random.normal(size=(12, 12)), np.nan) for _ in range(2))
    assert reuse.agreement(first, first) == pytest.approx(1)
    assert abs(reuse.agreement(first, second)) < 0.3


def test_a_flat_map_has_no_spread_and_one_with_a_single_source_has_much():
    edges = np.where(np.tri(6, dtype=bool), 1.0, np.nan)
    assert reuse.row_spread(edges * np.arange(1, 7)[:, None]) == 0  # rows may differ
    assert reuse.row_spread(edges * (np.arange(6) == 0)) > 1


def test_a_shipped_map_has_a_row_a_layer_with_mean_1_and_starts_anew_in_each_stage():
    found = reuse.shipped_map("digits", trained=False)
    assert found.shape == (12, 4) and np.array_equal(np.sum(~np.isnan(found), axis=1), [1, 2, 3, 4] * 3)
    np.testing.assert_allclose(np.nanmean(found, axis=1), 1)
    np.testing.assert_array_equal(found, reuse.shipped_map("digits", trained=False, gamma=False))  # gamma starts at 1


def test_only_what_exceeds_the_limit_matters():
    assert reuse.share_that_matters(np.array([[0.5, np.nan], [0.01, 0.03]]), nats=0.02) == pytest.approx(2 / 3)


# Exercises


def cut(kernel, channels):
    kernel = kernel.copy()
    kernel[:, :, channels] = 0
    return kernel


def cut_in_place(kernel, channels):
    kernel[:, :, channels] = 0
    return kernel


def r_squared(truth, found):
    return 1 - np.sum((truth - found) ** 2) / np.sum((truth - truth.mean(axis=0)) ** 2)


@pytest.mark.parametrize(
    "check, solution",
    [
        (reuse.check_edges, lambda layers: (layers + 1) * (layers + 2) // 2),
        (reuse.check_cut, cut),
        (reuse.check_r_squared, r_squared),
    ],
)
def test_the_reference_solution_is_right(check, solution, capsys):
    check(solution)
    assert capsys.readouterr().out == "Right.\n"


@pytest.mark.parametrize(
    "check, answer, message",
    [
        (reuse.check_edges, lambda layers: layers**2, "edges(1) gave 1, not 3"),
        (reuse.check_cut, cut_in_place, "it changed the kernel"),
        (reuse.check_cut, lambda kernel, channels: None, "gave shape None"),
        (reuse.check_cut, lambda kernel, channels: 0 * kernel, "the wrong ones are zero"),
        (reuse.check_r_squared, lambda truth, found: 1 - np.var(truth - found) / np.var(truth), "not 0."),
        (reuse.check_r_squared, lambda truth, found: None, "gave None"),
    ],
)
def test_a_wrong_answer_is_refused_with_what_is_wrong(check, answer, message, capsys):
    check(answer)
    printed = capsys.readouterr().out
    assert printed.startswith("Not yet: ") and message in printed
