"""The page with the popular answer is what its script writes from the stored results."""

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("difference_page", DOCS / "difference_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stored_page_is_the_one_that_the_script_writes(script):
    assert (DOCS / "difference.md").read_text() == script.page(), "run: python docs/difference_page.py"


def test_every_row_has_a_number_and_a_lesson(script):
    rows = list(script.rows())
    assert len(rows) == 8
    assert all(re.search(r"\d", measured) and lessons and claims for _, _, measured, lessons, claims in rows)


def test_a_spread_is_a_mean_with_a_deviation(script):
    assert script._spread([1, 2, 3], "+.1f") == "+2.0 ± 1.0"
    assert script._range([0.4, 0.1]) == "0" and script._range([796, 1964.9]) == "796 to 1,965"
