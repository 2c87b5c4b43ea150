"""Other people's nets, whole, as benchmarks/foreign.py measures them: every file passes, none costs more than stock's.

Quick laws of single layers stand in nets/rewriting/test_foreign_nets.py. RESDENSE_KIMM names the folder of kimm
(`pip install --no-deps --target`), RESDENSE_ARM_COUNT the program that counts Arm instructions, which the long ones do.
"""

import importlib
import os
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SLOW = ("MobileNetV2", "kimm-ResNet50")
LONG = (
    *("MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny", "NASNetMobile", "InceptionV3", "Xception", "VGG16"),
    "kimm-DenseNet121",
)


@pytest.fixture
def foreign(monkeypatch):
    """The benchmark as a module, kimm beside it where it is there."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    if os.environ.get("RESDENSE_KIMM"):
        monkeypatch.syspath_prepend(os.environ["RESDENSE_KIMM"])
    yield importlib.import_module("foreign")
    sys.modules.pop("foreign", None)


@pytest.mark.parametrize(
    "name",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
    + [pytest.param(name, marks=pytest.mark.long) for name in LONG],
)
def test_every_file_of_a_foreign_net_passes_and_costs_no_more_than_the_stock_converter_s(name, foreign):
    assert {*SLOW, *LONG} == set(foreign.NETS)
    if foreign.NETS[name].kimm and not os.environ.get("RESDENSE_KIMM"):
        pytest.skip("RESDENSE_KIMM names no folder with kimm")
    # Counting a file of a large net takes minutes, and stock's files are made to be counted.
    counts = os.environ.get("RESDENSE_ARM_COUNT") if name in LONG else None
    found = foreign.measure(name, pairs=0, command=counts, stock=bool(counts))
    assert found["rejected"] == {} and set(found["files"]) == {"fp32", "fp16", "dynamic", "int8"}
    for rows in found["files"].values() if counts else ():
        ours, stock = (rows[kind]["millions_of_instructions"] for kind in ("ours", "stock"))
        assert ours / stock <= foreign.GOAL
