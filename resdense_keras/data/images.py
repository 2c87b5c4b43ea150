"""The one function that turns an image file into pixels, for training, calibration, evaluation and golden images alike.

Two decoders that disagree on orientation, alpha or the resize filter cost accuracy that no test of either one shows.
"""

import contextlib
import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

from resdense_keras.errors import RequestError

# Pillow's own list is longer, but each format is a parser for strangers' bytes, and EPS would start a program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
MAX_PIXELS = 25_000_000  # a PNG of 420 KB with 144 million pixels costs Pillow 2.2 GiB
RESIZE_RULE = (
    "apply the EXIF orientation, cut out the largest centred rectangle with the aspect ratio of the input, "
    "resize it with an antialiased bilinear filter"
)

_MODES = {1: "L", 3: "RGB"}
_TO_GREY = "grey = (19595 * red + 38470 * green + 7471 * blue + 32768) // 65536"
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # EXIF tag, and its values that swap width and height


def decode(path_or_bytes, *, channels=3, size=None, part=None):
    """Decodes one image file to (H, W, C) uint8 pixels.

    EXIF orientation is applied, alpha laid over white, 16 bits scaled to 8 (grey rounded; of colour Pillow takes the
    upper byte and shows a PNG's transparent colour), grey, palette and CMYK made RGB (or grey for one channel), of an
    animation the first frame is taken. Colour profiles are not applied: pixels count as sRGB. The content tells the
    format, whatever the file is called.

    Args:
        path_or_bytes: A path, or the bytes of a file.
        channels: 3 for RGB, 1 for grey.
        size: (height, width) to which RESIZE_RULE brings the image; None keeps its own.
        part: (area, ratio, down, right) of a part of the image that is brought to `size` in place of RESIZE_RULE's:
            its share of the area, its width to its height as a multiple of `size`'s, and where it lies, 0 to 1. Where
            it would reach beyond the image it is smaller, of the same shape.
    Raises:
        RequestError: not an image, damaged or cut short, of 32-bit pixels, over MAX_PIXELS (known from the header);
            names the file and the reason.
    """
    mode = _MODES[channels]
    with _opened(path_or_bytes) as image:
        image = _without_alpha(_eight_bit(ImageOps.exif_transpose(image))).convert(mode)
        if size is not None:
            image = _fit(image, size) if part is None else _cut(image, size, part)
        pixels = np.array(image)
    return pixels.reshape(*pixels.shape[:2], channels)


def resize_steps(channels):
    """RESIZE_RULE for people who write it again in another language: [{"step", ...}], in their order.

    Names in the formulas: image_width and image_height after the step before, input_width and input_height of the net.
    Sizes and positions count pixels; `//` rounds down, `round` rounds halves to the even number.
    """
    return [
        {"step": "orient", "rule": "apply the EXIF orientation"},
        {"step": "flatten", "rule": "lay what is transparent over white"},
        *([{"step": "grey", "rule": _TO_GREY}] if channels == 1 else []),
        {
            "step": "crop",
            "scale": "min(image_width / input_width, image_height / input_height)",
            "width": "max(1, round(scale * input_width))",
            "height": "max(1, round(scale * input_height))",
            "left": "(image_width - width) // 2",
            "top": "(image_height - height) // 2",
        },
        {
            "step": "resize",
            "order": ["horizontal", "vertical"],
            "ratio": "size / input_size",
            "support": "max(1, ratio)",
            "centre": "(i + 0.5) * ratio",
            "weight": "max(0, 1 - abs(j + 0.5 - centre) / support)",
            "rule": "output i is the sum over the pixels j of weight * pixel, divided by the sum of the weights",
            "rounding": "to the nearest integer, after the horizontal pass and after the vertical one",
        },
    ]


def read_size(path):
    """(height, width) of an image file as `decode` will give it, from the header alone; raises as `decode`."""
    with _opened(path) as image:
        # A TIFF's size is turned already; in a PNG Pillow looks behind the pixels too, and decodes them on the way.
        told = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        turned = told and image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
        return image.size if turned else image.size[::-1]


def decode_all(paths, *, channels=3, size, parts=None):
    """Decodes files in parallel: (N, *size, channels) uint8, and {position: reason} of those that cannot be used.

    `parts`: One of `decode` for each file, or None.
    """
    images = np.zeros((len(paths), *size, channels), np.uint8)

    def decode_into(position):
        part = None if parts is None else parts[position]
        images[position] = decode(paths[position], channels=channels, size=size, part=part)

    return images, try_all(decode_into, range(len(paths)))[1]


def try_all(function, items):
    """Runs `function` on the items in parallel threads: a list of results, and {position: reason} of RequestErrors."""

    def attempt(item):
        try:
            return function(item), None
        except RequestError as error:
            return None, error.message

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow gives up the interpreter's lock while it decodes
        outcomes = list(pool.map(attempt, items))
    reasons = {position: reason for position, (_, reason) in enumerate(outcomes) if reason}
    return [result for result, _ in outcomes], reasons


@contextlib.contextmanager
def _opened(path_or_bytes):
    """A Pillow image whose header is within the limits; every fault inside becomes one RequestError.

    Pillow's readers answer damaged files with OSError, SyntaxError, ValueError, struct.error and half a dozen more.
    """
    in_memory = isinstance(path_or_bytes, bytes | bytearray | memoryview)
    name = f"image of {len(path_or_bytes)} bytes" if in_memory else str(path_or_bytes)
    try:
        with Image.open(io.BytesIO(path_or_bytes) if in_memory else path_or_bytes, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except Exception as error:
        raise RequestError(f"{name}: {_reason(error)}", "replace the file or remove it") from error


def _reason(error):
    match error:
        case Image.UnidentifiedImageError():
            return f"is no image that is read here ({', '.join(FORMATS)})"
        case Image.DecompressionBombError():
            return f"has more than {MAX_PIXELS / 1e6:.0f} million pixels"
        case FileNotFoundError() | PermissionError() | IsADirectoryError():
            return f"cannot be opened ({error.strerror})"
        case _:
            return f"is damaged ({error})"


def _eight_bit(image):
    """16-bit grey scaled to 8 bits, where Pillow's own conversion cuts at 255; 16-bit colour it scales itself."""
    if image.mode == "F" or (image.mode == "I" and not 0 <= image.getextrema()[0] <= image.getextrema()[1] < 1 << 16):
        raise ValueError("its pixels are 32-bit numbers, for which there is no agreed range")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image, np.uint32)
    scaled = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if "transparency" in image.info:  # the one grey of a PNG that is not there
        scaled.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return scaled


def _without_alpha(image):
    """The image over white: what browsers show, and what a photo of a printed page looks like."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _fit(image, size):
    """RESIZE_RULE without its first step; Pillow's filters grow with the reduction, that is their antialiasing."""
    height, width = size
    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    cut_width, cut_height = max(1, round(scale * width)), max(1, round(scale * height))
    left, top = (image.width - cut_width) // 2, (image.height - cut_height) // 2
    cut = image.crop((left, top, left + cut_width, top + cut_height))
    return cut.resize((width, height), Image.Resampling.BILINEAR)


def _cut(image, size, part):
    """The part of the image that `decode` describes, brought to `size` with the filter of RESIZE_RULE."""
    height, width = size
    area, ratio, down, right = (float(number) for number in part)
    pixels, ratio = area * image.width * image.height, ratio * width / height
    cut_width, cut_height = (pixels * ratio) ** 0.5, (pixels / ratio) ** 0.5
    scale = min(1.0, image.width / cut_width, image.height / cut_height)
    cut_width, cut_height = min(image.width, scale * cut_width), min(image.height, scale * cut_height)
    left, top = right * (image.width - cut_width), down * (image.height - cut_height)
    box = (left, top, min(image.width, left + cut_width), min(image.height, top + cut_height))
    return image.resize((width, height), Image.Resampling.BILINEAR, box)
