"""Laws of paired differences: what may be said of two nets that were trained with the same seeds."""

import numpy as np
import pytest

from resdense_keras.experiments import pairs


def test_differences_pair_the_seeds_and_are_in_points():
    first, second = [{"accuracy": 0.9}, {"accuracy": 0.5}], [{"accuracy": 0.8}, {"accuracy": 0.6}]
    np.testing.assert_allclose(pairs.differences(first, second), [10, -10])
    with pytest.raises(ValueError):
        pairs.differences(first, second[:1])


def test_the_interval_is_students():
    low, high = pairs.interval([1.0, 2.0, 3.0])  # deviation 1, t of two degrees of freedom 4.303
    assert (low, high) == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=1e-3)


@pytest.mark.parametrize(
    "points, said",
    [
        ([2.0, 2.2, 1.8], "a is ahead of b: +2.0 points"),
        ([-2.0, -2.2, -1.8], "a is behind b: -2.0 points"),
        ([1.0, -1.0, 0.0], "a and b tie: +0.0 points"),
    ],
)
def test_the_sentence_follows_the_interval(points, said):
    assert said in pairs.sentence("a", "b", points)
    assert f"{len(points)} seeds" in pairs.sentence("a", "b", points)
