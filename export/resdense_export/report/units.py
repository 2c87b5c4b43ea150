"""Writes numbers for people. A no-break space keeps number and unit on one line."""

import math

SPACE = "\u00a0"
NOTHING = "–"  # stands where something was not measured


def significant(value, digits=3):
    """`0.0530`, `1.08`, `41.3`, `1,234`: so many significant digits, but always all digits before the point."""
    if not value:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return _signed(value, places)


def short(value):
    """`271 k`, `41.0 M`, `1.81 G`; None gives a dash."""
    return NOTHING if value is None else _scaled(value, ("", "k", "M", "G", "T", "P"), 1000)


def size(value):
    """`318 kB`, `1.08 MB` of bytes, steps of 1,000; None gives a dash."""
    return NOTHING if value is None else _scaled(value, ("B", "kB", "MB", "GB", "TB", "PB"), 1000)


def whole(value):
    """`271,098`; None gives a dash."""
    return NOTHING if value is None else f"{value:,}"


def percent(fraction, images=None):
    """`98.1 %`, with as many decimals as `images` test images can show; None gives a dash."""
    return NOTHING if fraction is None else f"{100 * fraction:.{decimals(images)}f}{SPACE}%"


def percents(low, high, images=None):
    """`97.5 to 98.3 %`."""
    return f"{100 * low:.{decimals(images)}f} to {percent(high, images)}"


def points(fraction, images=None):
    """`0.3`, `−1.2`: a difference of fractions in hundredths."""
    return _signed(100 * fraction, decimals(images))


def decimals(images):
    """Decimals of a percentage: one image of 1,000 is a tenth of a point."""
    return 1 if (images or 0) < 2000 else 2


def milliseconds(value):
    """`0.612 ms`; None gives a dash."""
    return NOTHING if value is None else f"{significant(value)}{SPACE}ms"


def seconds(value):
    """`41.3 s`, `12.3 min`, `3.20 h`; None gives a dash."""
    if value is None:
        return NOTHING
    for length, unit in ((3600, "h"), (60, "min")):
        if value >= 2 * length:
            return f"{significant(value / length)}{SPACE}{unit}"
    return f"{significant(value)}{SPACE}s"


def ratio(value):
    """`2.4`, `12`: how many times, with two digits."""
    return significant(value, 2)


def count(number, noun, plural=None):
    """`1 seed`, `3 seeds`."""
    return f"{number:,}{SPACE}{noun if number == 1 else plural or noun + 's'}"


def listing(items):
    """`a`, `a and b`, `a, b and c`."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def _scaled(value, units, step):
    index = 0
    while index + 1 < len(units) and round(value) >= step:
        value, index = value / step, index + 1
    number = f"{value:,.0f}" if index == 0 else significant(value)
    return f"{number}{SPACE}{units[index]}".rstrip(SPACE)


def _signed(value, places):
    """A true minus sign, and none before a zero."""
    text = f"{abs(value):,.{places}f}"
    return f"−{text}" if value < 0 and float(text.replace(",", "")) else text
