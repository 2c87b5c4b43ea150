"""The third answer of a gate, "not proved": the images are too few to tell whether a figure keeps its limit.

It reads a file's record in the form of report.json, so card, terminal, report and `check` use the same words.
"""

_INTERVALS = {
    "accuracy": lambda low, high: f"{low:.2f} to {high:.2f} points of accuracy lost",
    "agreement": lambda low, high: f"{100 * low:.2f} to {100 * high:.2f} % kept right",
}


def verdict(export):
    """ "failed", "not proved" or "passed", from a file's record."""
    if any(gate and not gate["passed"] for gate in export["gates"].values()):
        return "failed"
    return "not proved" if unproved(export) else "passed"


def unproved(export):
    """`not proved by 200 images: -1.50 to 2.50 points of accuracy lost`, by 95 % intervals; None where all is proved.

    A gate that judges the figure itself (Limits.strict) does not have this third answer.
    """
    found = [
        _INTERVALS[name](*gate["interval"]) if name in _INTERVALS and gate.get("interval") else name
        for name, gate in export["gates"].items()
        if gate and gate["passed"] and gate.get("proved") is False and not gate.get("strict")
    ]
    return f"not proved by {export['images']:,} images: {', '.join(found)}" if found else None
