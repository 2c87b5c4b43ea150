"""The catalogue's table of sizes is what the nets themselves count, and what was published."""

import re

import pytest

import resdense_keras
from resdense_keras import catalog
from resdense_keras.errors import RequestError

# 10^9 multiply-adds of one 224x224 (or 32x32) image
GMACS = {
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
    "resnet101": 7.801,
    "resnet152": 11.514,
    "resnet20": 0.041,
    "resnet32": 0.069,
    "resnet44": 0.097,
    "resnet56": 0.125,
    "resnet110": 0.253,
    "resnet1202": 2.829,
    "resnet164_v2": 0.245,
    "resnet1001_v2": 1.488,
    "densenet121": 2.834,
    "densenet169": 3.360,
    "densenet201": 4.291,
    "densenet161": 7.728,
    "densenet264": 5.752,
    "densenet40_12": 0.265,
    "densenet100_12": 1.770,
    "densenet_bc100_12": 0.288,
    "densenet_bc250_24": 5.419,
    "densenet_bc190_40": 9.302,
}
QUICK = (
    "resnet18",
    "resnet20",
    "plain20",
    "resnet20_digits",
    "plain20_digits",
    "densenet_bc28_6_digits",
    "resnet50_vd",
    "densenet_bc22_24",
    "densenet_bc40_12",
)


def is_giant(name):
    """190 layers and more: minutes each, for Keras' work grows with the square of a graph's length."""
    return max(map(int, re.findall(r"\d+", name))) >= 190


def test_the_table_has_every_net_once():
    assert list(catalog.sizes()) == resdense_keras.list_models()


@pytest.mark.parametrize("name", GMACS)
def test_multiply_adds_equal_the_published_ones(name):
    assert round(catalog.sizes()[name]["macs"] / 1e9, 3) == GMACS[name]


@pytest.mark.parametrize(
    "name, options, gmacs",
    [
        ("resnet50", {"variant": "v1"}, 3.858),
        ("densenet100_12", {"growth_rate": 24}, 6.889),
        pytest.param("resnet101", {"variant": "v1"}, 7.570, marks=pytest.mark.slow),
        pytest.param("resnet152", {"variant": "v1"}, 11.282, marks=pytest.mark.slow),
        pytest.param("densenet264", {"growth_rate": 48}, 12.851, marks=pytest.mark.slow),
    ],
)
def test_multiply_adds_of_options_equal_the_published_ones(name, options, gmacs):
    assert round(catalog.count(name, **options)["macs"] / 1e9, 3) == gmacs


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.long if is_giant(name) else pytest.mark.slow)
        for name in resdense_keras.list_models()
    ],
)
def test_a_recount_gives_the_tables_row(name):
    assert catalog.count(name) == catalog.sizes()[name]


def test_a_file_in_place_of_a_name_is_told_where_it_belongs():
    with pytest.raises(RequestError, match=r"net\.keras is a file") as caught:
        resdense_keras.create("net.keras")
    assert "--weights net.keras" in caught.value.hint
