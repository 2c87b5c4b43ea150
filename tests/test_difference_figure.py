"""The README's picture is what its script draws, and to scale."""

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("draw_difference", DOCS / "draw_difference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stored_picture_is_the_one_that_the_script_draws(script):
    assert (DOCS / "figures" / "difference.svg").read_text() == script.picture(), "run: python docs/draw_difference.py"


def test_every_strip_is_as_long_as_the_channels_written_below_it(script):
    svg = script.picture()
    strips = {}
    for x, y, width in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"[^>]*stroke="#ffffff"', svg):
        strips.setdefault((float(x) > 170, float(y) // script.STEP), []).append(float(x) + float(width))
    lengths = [max(ends) - script.LEFT["dense" if right else "residual"] for (right, _), ends in strips.items()]
    labels = [int(count) for count in re.findall(r">(\d+) channels<", svg)]
    assert labels == [24, 24, 24, 24, 24, 36, 48, 60]
    assert [length / script.CHANNEL for length in lengths] == labels


def test_the_picture_is_described_for_those_who_do_not_see_it(script):
    assert "from 24 to 60" in re.search(r"<desc[^>]*>(.*)</desc>", script.picture()).group(1)


@pytest.mark.parametrize("connection", ["residual", "dense"])
def test_the_stored_blocks_are_the_ones_that_the_script_draws(script, connection):
    assert script.BLOCK_TARGETS[connection].read_text() == script.block(connection), (
        "run: python docs/draw_difference.py"
    )
