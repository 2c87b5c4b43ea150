"""What measurements say besides times: what ran where, whether the answers were right, and what to doubt."""

from . import units, view


def browser(measurement):
    """Whether a measurement comes from the page of `resdense phone`: only those know of secure addresses."""
    return "secure_context" in measurement


def computer(report):
    """The condition of the computer that made the files, or None."""
    return next((found for found in view.conditions(report) if not _is_browser(report, found)), None)


def times_of_computer(measurement, here):
    """`×2.4 slower`: a browser's median divided by the computer's; None where there is nothing to compare with."""
    if not (here and browser(measurement)):
        return None
    ratio = measurement["median_ms"] / here["median_ms"]
    return f"×{units.ratio(1 / ratio)} faster" if ratio < 1 else f"×{units.ratio(ratio)} slower"


def ran(measurement):
    """`wasm`, `WebGPU, in part`, `wasm, WebGPU was asked for`."""
    name = {"wasm": "wasm", "webgpu": "WebGPU", "webgpu-partial": "WebGPU, in part"}
    accelerator = measurement["accelerator"] or units.NOTHING
    shown, asked = name.get(accelerator, accelerator), measurement.get("requested")
    if accelerator.startswith("webgpu") and (precision := measurement.get("precision")):
        shown = f"{shown}, {view.FLOATS.get(precision, precision)}"
    if asked in (None, accelerator) or accelerator == f"{asked}-partial":
        return shown
    return f"{shown}, {name.get(asked, asked)} was asked for"


def delegated(export):
    """What XNNPACK ran on the computer: `22 of 23 operators in 1 piece; left: MEAN 1`."""
    found = export["delegated"]
    if not found or found["nodes"] is None:
        return units.NOTHING
    total = sum(export["operators"].values())
    pieces = units.count(found["partitions"] or 0, "piece")
    left = ", ".join(f"{name} {number}" for name, number in (found["left"] or {}).items())
    return f"{found['nodes']} of {total} in {pieces}" + (f"; left: {left}" if left else "")


def wrong(measurement):
    """`18 of 20 known images answered as on the computer`, where a device gave other answers; None where it did not."""
    golden = measurement.get("golden")
    if not golden or (golden["same_top1"] == golden["images"] and golden.get("last", True)):
        return None
    text = f"{golden['same_top1']} of {golden['images']} known images answered as on the computer"
    return text + ("; right on its first run, wrong on its last" if golden.get("first") and not golden["last"] else "")


def limits(report, condition):
    """Sentences on why to doubt the times of a condition."""
    rows = [row for export in _exports(report) if (row := view.measured(export, condition)) and browser(row)]
    if not rows:
        return
    name = condition.name
    if not all(row["secure_context"] for row in rows):
        yield f"on {name} the page came over plain http: one thread, no GPU, and a coarse clock; an app is faster."
    if any(row.get("hidden") for row in rows):
        yield f"on {name} the page was out of sight for a while, and browsers slow down hidden pages."
    if any(row.get("requested") not in (None, row["accelerator"]) for row in rows):
        yield f"on {name} some files did not run entirely on what was asked for; see the table of what ran where."
    if any(wrong(row) for row in rows):
        yield f"on {name} some files gave other answers than on the computer: do not ship them there."


def _is_browser(report, condition):
    return any(browser(row) for export in _exports(report) if (row := view.measured(export, condition)))


def _exports(report):
    return [export for model in report["models"] for export in model["exports"]]
