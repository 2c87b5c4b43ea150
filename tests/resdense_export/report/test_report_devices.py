"""What the report says of devices beside their times: ratios, answers, what ran where, what to doubt."""

import re
from itertools import pairwise

import pytest

from resdense_export.report import devices, html, plots, summary, units, validate, view

KNOWN = {"images": 20, "same_top1": 20, "right": 19, "max_difference": 1e-6}


@pytest.fixture
def browser_report(phone_report):
    """The phone's measurements as `resdense phone` adds them."""
    for model in phone_report["models"]:
        for export in model["exports"]:
            export["measurements"][1] |= {
                "requested": "wasm",
                "secure_context": True,
                "cross_origin_isolated": True,
                "hidden": False,
                "clock_ms": 0.005,
                "images_per_round": 1,
                "load_ms": 12.0,
                "first_ms": 4.0,
                "golden": dict(KNOWN),
            }
    return phone_report


def rows(report):
    return [export["measurements"][1] for model in report["models"] for export in model["exports"]]


def text(report):
    return re.sub(r"\s+", " ", html.page(view.printable(validate(report)), plots.draw(report)))


def limits(report):
    return " ".join(summary(validate(report)).limits)


def test_every_device_is_a_column_and_no_time_is_mixed(browser_report):
    page = text(browser_report)
    assert '<th scope="col" class="device">latency<small>Pixel 8<br>litertjs 2.5, wasm, 1 thread</small>' in page
    export = browser_report["models"][0]["exports"][0]
    for row in export["measurements"]:
        assert re.sub(r"\s+", " ", units.milliseconds(row["median_ms"])) in page


def test_a_browsers_time_stands_beside_the_computers_with_the_ratio(browser_report):
    here, there = browser_report["models"][0]["exports"][0]["measurements"]
    there |= {"p10_ms": 0.4, "median_ms": 3 * here["median_ms"], "p90_ms": 0.9}
    assert devices.times_of_computer(there, here) == "×3.0 slower"
    assert "<small>×3.0 slower</small>" in text(browser_report)
    assert devices.times_of_computer(here, here) is None


def test_other_answers_than_on_the_computer_are_seen(browser_report):
    assert devices.wrong(rows(browser_report)[0]) is None and "other answers" not in limits(browser_report)
    rows(browser_report)[0]["golden"]["same_top1"] = 18
    assert "18 of 20 known images answered as on the computer" in text(browser_report)
    assert "on Pixel 8 some files gave other answers than on the computer" in limits(browser_report).replace("On", "on")


@pytest.mark.parametrize(
    ("accelerator", "requested", "said"),
    [
        ("wasm", "wasm", "wasm"),
        ("webgpu", "webgpu", "WebGPU"),
        ("webgpu-partial", "webgpu", "WebGPU, in part"),
        ("wasm", "webgpu", "wasm, WebGPU was asked for"),
        ("xnnpack-cpu", None, "xnnpack-cpu"),
        (None, None, "–"),
    ],
)
def test_what_ran_is_said_with_what_was_asked_for(accelerator, requested, said):
    assert devices.ran({"accelerator": accelerator, "requested": requested}) == said


def test_what_is_delegated_where_has_a_table(browser_report):
    export = browser_report["models"][0]["exports"][0]
    export["delegated"] = {"nodes": 20, "partitions": 3, "left": {"STRIDED_SLICE": 2}}
    rows(browser_report)[0] |= {"requested": "webgpu"}
    page = text(browser_report).replace("\u00a0", " ")
    assert "What runs where" in page
    assert "20 of 22 in 3 pieces; left: STRIDED_SLICE 2" in page
    assert "wasm, WebGPU was asked for" in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"secure_context": False}, "the page came over plain http"),
        ({"hidden": True}, "the page was out of sight"),
        ({"requested": "webgpu"}, "did not run entirely on what was asked for"),
    ],
)
def test_doubts_are_said_and_only_where_there_are_some(browser_report, change, said):
    assert said not in limits(browser_report)
    rows(browser_report)[3] |= change
    assert said in limits(browser_report)


def test_accuracy_and_size_are_drawn_against_time_for_each_device(browser_report):
    drawn = plots.draw(browser_report)["devices"].svg
    assert "Pixel 8, wasm, 1 thread" in drawn and "cpu, 1 thread" in drawn


SPANS = [(0.059, 0.085), (0.0195, 0.021), (0.0015, 0.0034), (1.2, 1.9), (0.9, 6), (0.012, 7), (0.9, 310), (1, 30_000)]


@pytest.mark.parametrize("span", SPANS)
def test_ticks_of_times_and_sizes_are_two_or_more_and_do_not_meet(span, browser_report):
    """On the panels of `latency` and the small ones of `devices`, as they are drawn."""
    exports = [export for model in browser_report["models"] for export in model["exports"]]
    for number, export in enumerate(exports):
        share = number / (len(exports) - 1)
        export["bytes"] = round(1e6 * span[0] ** (1 - share) * span[1] ** share)
        for measurement in export["measurements"]:
            measurement["median_ms"] = measurement["p10_ms"] = measurement["p90_ms"] = export["bytes"] / 1e6
    for name in ("latency", "devices"):
        with plots.styled() as figure:
            figure.set_size_inches(plots.WIDTH, plots.PLOTS[name].draw(browser_report, figure))
            figure.draw_without_rendering()
            panels = figure.axes if name == "latency" else [axes for part in figure.subfigs for axes in part.axes]
            axes = [panel.xaxis for panel in panels] + [panel.yaxis for panel in panels if panel.get_yscale() == "log"]
            for axis in axes:
                low, high = axis.get_view_interval()
                ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                texts = [tick.label1.get_window_extent() for tick in ticks]
                assert len(texts) >= 2 and not any(one.overlaps(other) for one, other in pairwise(texts))


def test_without_accuracies_there_is_nothing_to_draw_them_against(bundle_report):
    assert "devices" not in plots.draw(bundle_report)
