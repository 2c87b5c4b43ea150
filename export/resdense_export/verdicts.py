"""The third answer of a gate, "not proved": the images are too few to tell whether a figure keeps its limit.

It reads a file's record in the form of report.json, so card, terminal, report and `check` use the same words.
"""

import math

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
    """Which intervals reach beyond their limits, and what to do about it; None where all is proved.

    `not proved by 200 images: -1.50 to 2.50 points of accuracy lost; about 750 test images would prove it; written,
    and may be used`: 95 % intervals, and the images that `judging.check` calculated from the measured shares.
    """
    gates = open_gates(export)
    if not gates:
        return None
    found = [
        _INTERVALS[name](*gate["interval"]) if name in _INTERVALS and gate.get("interval") else name
        for name, gate in gates.items()
    ]
    needed = [gate.get("would_prove") for gate in gates.values()]
    enough = f"about {_two_digits_up(max(needed)):,} test images would prove it; " if all(needed) else ""
    return f"not proved by {export['images']:,} images: {', '.join(found)}; {enough}written, and may be used"


def open_gates(export):
    """{gate: its record} of those that passed without being proved.

    A gate that judges the figure itself (Limits.strict) does not have this third answer.
    """
    return {
        name: gate
        for name, gate in export["gates"].items()
        if gate and gate["passed"] and gate.get("proved") is False and not gate.get("strict")
    }


def _two_digits_up(number):
    """276 as 280: the next number that has two digits and then zeros."""
    step = 10 ** max(0, len(str(number)) - 2)
    return math.ceil(number / step) * step
