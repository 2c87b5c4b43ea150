"""Numbers are written as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resdense_export.report import units


def plain(text):
    return text.replace(units.SPACE, " ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.short(271_098), "271 k"),
        (units.short(999), "999"),
        (units.short(1_814_000_000), "1.81 G"),
        (units.size(318_200), "318 kB"),
        (units.size(999), "999 B"),
        (units.size(1_000), "1.00 kB"),
        (units.size(1_080_000), "1.08 MB"),
        (units.percent(0.98125), "98.1 %"),
        (units.percent(0.98125, 10_000), "98.12 %"),
        (units.percents(0.5, 1.0), "50.0 to 100.0 %"),
        (units.points(-0.012), "−1.2"),
        (units.points(-0.0001), "0.0"),
        (units.milliseconds(0.0530), "0.0530 ms"),
        (units.milliseconds(1234.5), "1,234 ms"),
        (units.seconds(41.25), "41.2 s"),
        (units.seconds(738), "12.3 min"),
        (units.seconds(11_520), "3.20 h"),
        (units.ratio(2.43), "2.4"),
        (units.ratio(12.2), "12"),
        (units.count(1, "seed"), "1 seed"),
        (units.count(3, "class", "classes"), "3 classes"),
        (units.listing(["a"]), "a"),
        (units.listing(["a", "b", "c"]), "a, b and c"),
        (units.whole(1_234_567), "1,234,567"),
        (units.size(None), "–"),
        (units.milliseconds(None), "–"),
    ],
)
def test_numbers_are_written_with_their_unit(text, expected):
    assert plain(text) == expected


@given(st.integers(0, 10**18))
def test_sizes_keep_their_value(value):
    number, unit = plain(units.size(value)).replace(",", "").split(" ")
    scale = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15}[unit]
    assert float(number) * scale == pytest.approx(value, rel=0.006)
