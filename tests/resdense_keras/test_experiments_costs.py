"""Laws behind lesson 6: what is counted is what the nets have, and its exercises have solutions."""

import os

import pytest

from resdense_keras import profile
from resdense_keras.experiments.add_or_concatenate.connections import chain
from resdense_keras.experiments.what_it_costs import costs


def test_a_block_reads_what_the_formula_says():
    read, exist = costs.read_and_new(10, growth_rate=3, width=5)
    assert (read, exist) == (10 * 5 + 3 * 45, 5 + 10 * 3)


def test_memory_of_the_new_maps_is_below_all_that_is_kept():
    kinds = {kind: costs.memory_mib(kind, 6) for kind in ("dense", "recomputed", "new", "inference")}
    assert kinds["new"] < kinds["recomputed"] < kinds["dense"]
    assert kinds["inference"] < kinds["dense"]


def test_an_unknown_kind_of_memory_is_named():
    with pytest.raises(ValueError, match="kind='residul' was given"):
        costs.memory_mib("residul", 6)


def test_a_peak_that_the_system_does_not_tell_is_none(monkeypatch):
    """As on macOS, which has no /proc/self/clear_refs."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/proc/self/clear_refs" and access(path, mode))
    assert costs.peak_mib("dense", 13) is None


def test_what_is_kept_is_told_by_origin_and_grows_with_the_square_only_in_the_copies():
    shares = costs.kept_by_origin(costs.net("dense", 4))
    assert tuple(shares) == costs.ORIGINS and sum(shares.values()) == pytest.approx(1)
    short, long = (chain("dense", depth, bottleneck=True, size=8) for depth in (8, 16))
    kept = [
        {origin: share * profile(net).activation_bytes for origin, share in costs.kept_by_origin(net).items()}
        for net in (short, long)
    ]
    assert kept[1]["bottleneck"] == 2 * kept[0]["bottleneck"]
    assert kept[1]["concatenation"] > 3 * kept[0]["concatenation"]


def test_in_inference_a_residual_chain_holds_the_same_at_any_depth():
    assert costs.memory_mib("residual inference", 3) == costs.memory_mib("residual inference", 9)


def test_a_point_has_the_nets_costs_and_an_accuracy_for_each_seed():
    point = costs.point("dense", 2, seeds=2, epochs=1)
    counted = profile(costs.net("dense", 2))
    assert (point.parameters, point.macs, point.activation_bytes) == (
        counted.trainable,
        counted.macs,
        counted.activation_bytes,
    )
    assert len(point.accuracies) == 2 and min(point.accuracies) <= point.accuracy <= max(point.accuracies)
    (timed,) = costs.with_times([point], rounds=2, epochs=1)
    low, median, high = timed.step_ms
    assert 0 < low <= median <= high


# The exercises' reference solutions, and answers that are wrong


def channels_read(layers, width, growth_rate):
    return layers * width + growth_rate * layers * (layers - 1) // 2


def equal_growth_rate(width):
    target = costs.net("residual", width).count_params()
    return min(range(1, 9), key=lambda rate: abs(costs.net("dense", rate).count_params() - target))


def largest_batch(model, mebibytes):
    return int(mebibytes * 2**20 // profile(model).activation_bytes)


EXERCISES = {
    costs.check_channels_read: (channels_read, lambda layers, width, growth_rate: layers * width),
    costs.check_equal_growth_rate: (equal_growth_rate, lambda width: width),
    costs.check_largest_batch: (largest_batch, lambda model, mebibytes: 1),
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
