"""A scheme is one row: added in memory, it is found by everything that speaks of schemes."""

import dataclasses
import json

import pytest

from resdense_export import schemes
from resdense_export.bundle.golden import TOLERANCE
from resdense_export.judging.check import STATISTICS
from resdense_export.nets.rewriting import GRAPHS
from resdense_export.schemes import SCHEMES, TARGETS, Recommended, recommendations, standard_schemes
from resdense_keras.errors import RequestError


@pytest.fixture
def tiny(monkeypatch):
    """A scheme of its own, first on a CPU: the dynamic recipe under another name."""
    row = dataclasses.replace(
        SCHEMES["dynamic"],
        summary="a scheme of this test",
        meaning="as this test says.",
        marker="*",
        recommended={"cpu": Recommended(1, "this test says so")},
    )
    monkeypatch.setitem(SCHEMES, "tiny", row)
    return "tiny"


def test_a_row_is_all_that_a_scheme_takes(tiny, nets, dataset, tmp_path):
    from resdense_export import pipeline
    from resdense_export.judging.check import scheme_of
    from resdense_export.phone import site
    from resdense_export.report import terminal_table

    assert tiny in standard_schemes()
    out = tmp_path / "bundle"
    report = pipeline.export(nets["residual"], out, ["fp32", tiny], dataset=dataset, baseline=True, rounds=3)
    rows = report["models"][0]["exports"]
    assert [(row["scheme"], row["converter"]) for row in rows] == [
        ("fp32", "rewritten"), (tiny, "rewritten"), ("fp32", "stock"), (tiny, "stock"),
    ]  # fmt: skip
    assert rows[1]["gates"]["parity"]["detail"].startswith("mean difference")
    assert scheme_of(out / rows[1]["file"]) == tiny
    description = json.loads((out / "model.json").read_text())
    assert description["recommended"]["cpu"]["reason"].startswith("this test says so")
    page = (out / "report.html").read_text()
    assert "as this test says." in page
    assert terminal_table(report).row_count == 4
    (model,) = site.read(out).catalog()["models"]
    assert {file["scheme"]: file["tolerance"] for file in model["files"]}[tiny] == "int8"


def test_the_command_line_offers_it(tiny, resdense):
    code, _, said = resdense("export", "resnet20", "--out", "x", "--schemes", "tini")
    assert code == 2 and "did you mean `tiny`?" in said


def test_plots_draw_each_scheme_with_a_mark_of_its_own():
    assert len({row.marker for row in SCHEMES.values()} | {schemes.marker("from elsewhere")}) == len(SCHEMES) + 1


def test_rows_name_what_there_is():
    from resdense_export.making.aware import METHODS

    for row in SCHEMES.values():
        assert row.graph in GRAPHS and set(row.recommended) <= set(TARGETS)
        assert row.training is None or row.training in METHODS
        assert row.parity.statistic in STATISTICS and row.computes_in in ("float", "half", "dynamic", "int8")
        assert row.tolerance in TOLERANCE


@pytest.mark.parametrize("target", TARGETS)
def test_of_several_files_the_lowest_rank_is_recommended_and_what_is_missing_is_named(target):
    order = sorted((row.recommended[target].rank, name) for name, row in SCHEMES.items() if target in row.recommended)
    assert len({rank for rank, _ in order}) == len(order)  # no two claim the same place
    names = [name for _, name in order]
    assert recommendations(SCHEMES)[target] == (names[0], SCHEMES[names[0]].recommended[target].reason, [])
    assert recommendations(names[-1:])[target][2] == names[:-1]


def test_no_scheme_is_no_export():
    with pytest.raises(RequestError, match="no scheme"):
        schemes.chosen_schemes([], has_data=True)
