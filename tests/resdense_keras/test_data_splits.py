"""Splits are disjoint, stratified, and pure functions of labels and seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resdense_keras.data.splits import hold_out, permutation, spread

labels_of_any_kind = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(np.array)
shares = st.floats(0.05, 0.6)
seeds = st.integers(0, 2**31)


@given(st.integers(0, 200), seeds, seeds)
def test_permutation_holds_each_number_once_and_repeats(count, first, second):
    order = permutation(count, first, second)
    assert sorted(order) == list(range(count))
    np.testing.assert_array_equal(order, permutation(count, first, second))


def test_permutation_never_changes_between_versions():
    """Index lists are written into bundles; a NumPy that orders otherwise would break them."""
    assert permutation(10, 0, 1).tolist() == [7, 4, 5, 1, 9, 8, 6, 2, 0, 3]


def test_permutations_of_other_seeds_differ():
    orders = {tuple(permutation(20, first, second)) for first in range(5) for second in range(1, 5)}
    assert len(orders) == 20


@given(labels_of_any_kind, shares, seeds)
def test_hold_out_is_disjoint_complete_stratified_and_pure(labels, share, seed):
    positions = np.arange(len(labels)) * 3 + 100
    rest, held = hold_out(positions, labels, share, seed)
    assert sorted([*rest, *held]) == positions.tolist()
    assert rest.tolist() == sorted(rest) and held.tolist() == sorted(held)
    for label in np.unique(labels):
        size = (labels == label).sum()
        taken = (labels[(held - 100) // 3] == label).sum()
        assert taken == min(np.ceil(share * size), size - 1)
    np.testing.assert_array_equal(held, hold_out(positions, labels, share, seed)[1])


def test_hold_out_differs_from_seed_to_seed():
    labels = np.repeat(np.arange(4), 25)
    held = {tuple(hold_out(np.arange(100), labels, 0.2, seed)[1]) for seed in range(10)}
    assert len(held) == 10


@settings(max_examples=50)
@given(labels_of_any_kind, seeds, st.data())
def test_every_beginning_of_spread_has_the_classes_in_proportion(labels, seed, data):
    count = data.draw(st.integers(1, len(labels)))
    order = spread(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    rounding = 1 + len(np.unique(labels)) / 2  # half an image of each class
    for label in np.unique(labels):
        expected = count * (labels == label).mean()
        assert abs((labels[order[:count]] == label).sum() - expected) <= rounding


@pytest.mark.parametrize("seed", [0, 1])
def test_spread_is_random_within_a_class(seed):
    order = spread(np.zeros(50, int), seed)
    assert order.tolist() != sorted(order)
