"""Other people's nets at 224 pixels, as benchmarks/slim_foreign.py measures them: planned soon after the scores, built,
exported, and as cheap as predicted."""

import importlib
import os
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
SECONDS = 60  # of planning, after the scores
NEAR = 0.05  # of the predicted share of instructions


@pytest.fixture
def slim_foreign(monkeypatch):
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module("slim_foreign")
    for name in ("slim_foreign", "foreign", "rewriting_document"):
        sys.modules.pop(name, None)


@pytest.mark.long
@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetV2B0", "DenseNet121", "ResNet50"])
def test_half_of_a_foreign_net_is_planned_in_a_minute_and_counts_as_predicted(name, slim_foreign, tmp_path):
    assert name in slim_foreign.NETS
    row = slim_foreign.measured(name, tmp_path, os.environ.get("RESDENSE_ARM_COUNT"))
    assert row["wall"]["plan"] < SECONDS
    assert row["thin"]["macs"] == row["macs"][1] <= 0.5 * row["macs"][0]
    assert row["thin"]["parameters"] == row["predicted"]["parameters"][1]
    for scheme, (predicted, counted) in slim_foreign.shares(row).items():
        assert counted is None or counted == pytest.approx(predicted, rel=NEAR), scheme
