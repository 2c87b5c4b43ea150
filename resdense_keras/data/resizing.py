"""How an image of any shape is resized to the input of a net: one row per rule.

The formulas are Python expressions. `model.json` gives them to people who write the rule again in another language, and
a test evaluates them.
"""

from dataclasses import dataclass

from resdense_keras.errors import unknown

DEFAULT = "crop"


@dataclass(frozen=True)
class Rule:
    """One way to resize.

    Attributes:
        name: Words that follow "resized to 224 by".
        words: The rule as a sentence, without its first step (the EXIF orientation).
    """

    name: str
    words: str


RULES = {
    "crop": Rule(
        "crop",
        "cut out the largest centred rectangle with the aspect ratio of the input, "
        "resize it with an antialiased bilinear filter",
    ),
    "stretch": Rule("stretch", "resize the whole image to the input's size with an antialiased bilinear filter"),
    "pad": Rule(
        "pad",
        "resize the whole image with an antialiased bilinear filter until it just fits into the input, "
        "centre it on black",
    ),
}

_GREY = "grey = (19595 * red + 38470 * green + 7471 * blue + 32768) // 65536"
_FILTER = {
    "support": "max(1, ratio)",
    "centre": "(i + 0.5) * ratio",
    "weight": "max(0, 1 - abs(j + 0.5 - centre) / support)",
    "rule": "output i is the sum over the pixels j of weight * pixel, divided by the sum of the weights",
    "rounding": "to the nearest integer, after the horizontal pass and after the vertical one",
}


@dataclass(frozen=True)
class Frame:
    """Which part of an image is shown, and where in the result.

    Attributes:
        box: (left, top, right, bottom) of the part in pixels of the image; may be fractions.
        size: (width, height) to which the box is resized.
        at: (left, top) of the resized box in the result; the rest of the result is black.
    """

    box: tuple
    size: tuple
    at: tuple = (0, 0)


def check(rule):
    """`rule` if it is one of RULES.

    Raises:
        RequestError: it is not.
    """
    if rule not in RULES:
        raise unknown("way to resize", rule, RULES)
    return rule


def words(rule):
    """The whole rule as a sentence."""
    return f"apply the EXIF orientation, {RULES[check(rule)].words}"


def steps(channels, rule=DEFAULT):
    """A rule step by step, for people who write it again in another language: [{"step", ...}].

    Names in the formulas: image_width and image_height after the step before, input_width and input_height of the net.
    Sizes and positions count pixels; `//` rounds down, `round` rounds halves to the even number. A step that is
    `optional` may be left out.
    """
    reduce = "a JPEG of more than 25,000,000 pixels may be decoded at 1/2, 1/4 or 1/8 of its size, as long as what is"
    return [
        {"step": "orient", "rule": "apply the EXIF orientation"},
        {"step": "reduce", "optional": True, "rule": f"{reduce} shown keeps twice the size that it is resized to"},
        *([{"step": "flatten", "rule": "lay what is transparent over white"}] if channels != 4 else []),
        *([{"step": "grey", "rule": _GREY}] if channels == 1 else []),
        *_STEPS[check(rule)],
    ]


_STEPS = {
    "crop": (
        {
            "step": "crop",
            "scale": "min(image_width / input_width, image_height / input_height)",
            "width": "max(1, round(scale * input_width))",
            "height": "max(1, round(scale * input_height))",
            "left": "(image_width - width) // 2",
            "top": "(image_height - height) // 2",
        },
        {"step": "resize", "order": ["horizontal", "vertical"], "ratio": "size / input_size", **_FILTER},
    ),
    "stretch": ({"step": "resize", "order": ["horizontal", "vertical"], "ratio": "size / input_size", **_FILTER},),
    "pad": (
        {
            "step": "resize",
            "scale": "max(image_width / input_width, image_height / input_height)",
            "width": "max(1, round(image_width / scale))",
            "height": "max(1, round(image_height / scale))",
            "order": ["horizontal", "vertical"],
            "ratio": "size / new_size",  # the new size is `width` in the horizontal pass and `height` in the other
            **_FILTER,
        },
        {
            "step": "pad",
            "left": "(input_width - width) // 2",
            "top": "(input_height - height) // 2",
            "fill": 0,
        },
    ),
}


def frame(image_size, size, rule=DEFAULT, part=None):
    """The Frame by which an image becomes one of `size`.

    Args:
        image_size: (width, height) of the image, upright.
        size: (height, width) of the result.
        rule: Of RULES.
        part: See `images.decode`.
    """
    height, width = size
    if part is None:
        return _WHOLE[rule](*image_size, width, height)
    return _PARTS[rule](*image_size, width, height, *(float(number) for number in part))


def _crop(image_width, image_height, width, height):
    scale = min(image_width / width, image_height / height)
    cut_width, cut_height = max(1, round(scale * width)), max(1, round(scale * height))
    left, top = (image_width - cut_width) // 2, (image_height - cut_height) // 2
    return Frame((left, top, left + cut_width, top + cut_height), (width, height))


def _stretch(image_width, image_height, width, height):
    return Frame((0, 0, image_width, image_height), (width, height))


def _pad(image_width, image_height, width, height):
    scale = max(image_width / width, image_height / height)
    new_width, new_height = max(1, round(image_width / scale)), max(1, round(image_height / scale))
    at = (width - new_width) // 2, (height - new_height) // 2
    return Frame((0, 0, image_width, image_height), (new_width, new_height), at)


def _part_box(image_width, image_height, shape, area, ratio, down, right):
    """The part of an image whose aspect ratio is `ratio` times that of `shape`."""
    pixels, ratio = area * image_width * image_height, ratio * shape
    cut_width, cut_height = (pixels * ratio) ** 0.5, (pixels / ratio) ** 0.5
    scale = min(1.0, image_width / cut_width, image_height / cut_height)
    cut_width, cut_height = min(image_width, scale * cut_width), min(image_height, scale * cut_height)
    left, top = right * (image_width - cut_width), down * (image_height - cut_height)
    return left, top, min(image_width, left + cut_width), min(image_height, top + cut_height)


def _crop_part(image_width, image_height, width, height, *part):
    return Frame(_part_box(image_width, image_height, width / height, *part), (width, height))


def _stretch_part(image_width, image_height, width, height, *part):
    """The part has the shape of the image, so that it is stretched like the whole image."""
    return Frame(_part_box(image_width, image_height, image_width / image_height, *part), (width, height))


def _pad_part(image_width, image_height, width, height, *part):
    """A part of the padded image: the piece of it inside the image, and its place."""
    scale = max(image_width / width, image_height / height)
    border_x, border_y = (scale * width - image_width) / 2, (scale * height - image_height) / 2
    left, top, right, bottom = _part_box(scale * width, scale * height, width / height, *part)
    zoom_x, zoom_y = width / (right - left), height / (bottom - top)
    columns = _shown(left - border_x, right - border_x, image_width, zoom_x, width)
    rows = _shown(top - border_y, bottom - border_y, image_height, zoom_y, height)
    (box_left, box_right, new_width, at_left), (box_top, box_bottom, new_height, at_top) = columns, rows
    return Frame((box_left, box_top, box_right, box_bottom), (new_width, new_height), (at_left, at_top))


def _shown(begin, end, image, zoom, size):
    """Clips the interval from `begin` to `end` to 0 to `image`: (begin, end, its new length, its new place)."""
    low, high = max(0.0, begin), min(float(image), end)
    if high <= low:  # only the border is left: take one pixel of the image, so that there is something to resize
        low, high = (0.0, min(1.0, image)) if end <= 0 else (max(0.0, image - 1.0), float(image))
    length = min(size, max(1, round((high - low) * zoom)))
    return low, high, length, min(size - length, max(0, round((low - begin) * zoom)))


_WHOLE = {"crop": _crop, "stretch": _stretch, "pad": _pad}
_PARTS = {"crop": _crop_part, "stretch": _stretch_part, "pad": _pad_part}
