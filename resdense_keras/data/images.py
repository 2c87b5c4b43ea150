"""The only function that turns an image file into pixels: training, calibration, evaluation and golden images all use
it.

Two decoders that treat orientation, alpha or resizing differently cost accuracy, and no test of either one shows it.
"""

import contextlib
import functools
import io
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, features

from resdense_keras.data import resizing, salvage
from resdense_keras.data.pool import try_all
from resdense_keras.errors import RequestError

# Pillow's own list is longer, but each format is a parser for strangers' bytes, and EPS would start a program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIF")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif"),
)
MAX_PIXELS = Image.MAX_IMAGE_PIXELS  # 89.5 million: Pillow's own guard against small files of huge images
LARGE_PIXELS = 25_000_000  # larger images are decoded one at a time, and JPEGs at a reduced scale
RESIZE_RULE = resizing.words(resizing.DEFAULT)

_MODES = {1: "L", 3: "RGB"}
_STRIP_PIXELS = 1 << 20  # pixels converted at once, because conversions make several copies
_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {  # EXIF 2.32, tag 274: how to turn the stored pixels
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)  # the values that swap width and height
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_LARGE = threading.Lock()
_NO_LOCK = contextlib.nullcontext()

# An image over the limit is refused below; of broken EXIF and the like nothing is needed but the orientation.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def decode(
    path_or_bytes: str | Path | bytes,
    *,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    resize: str = resizing.DEFAULT,
    part: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """Decodes one image file to (H, W, C) uint8 pixels.

    The EXIF orientation is applied, alpha is laid over white, and 16 bits are scaled to 8 (grey is rounded; of colour
    Pillow takes the upper byte and shows a PNG's transparent colour). Grey, palette and CMYK become RGB (or grey for
    one channel), and of an animation the first frame is taken. Colour profiles are not applied: pixels count as sRGB.
    The format is told by the content, not by the name. Damage outside the pixels (EXIF, texts, profiles) is ignored.

    Decoding takes at most 10 bytes of memory per pixel. JPEGs over LARGE_PIXELS that are resized anyway are decoded at
    a half, a quarter or an eighth of their size, as long as that leaves twice the target size.

    Args:
        path_or_bytes: A path, or the bytes of a file.
        channels: 3 for RGB, 1 for grey.
        size: (height, width) to which the image is brought; None keeps its own.
        resize: How, of resizing.RULES.
        part: (area, ratio, down, right) of the part of the image that is resized to `size` instead of the whole: its
            share of the area, its aspect ratio as a multiple of that of the shape that `resize` shows, and its
            position, 0 to 1. A part that would reach beyond the image is made smaller and keeps its shape.
    Raises:
        RequestError: the file is not an image, is damaged or cut short, has 32-bit pixels, or more than MAX_PIXELS (by
            its header); names the file and the reason.
    """
    pixels = _read(path_or_bytes, functools.partial(_pixels, _MODES[channels], size, resizing.check(resize), part))
    return pixels.reshape(*pixels.shape[:2], channels)


def resize_steps(channels, resize=resizing.DEFAULT):
    """See resizing.steps."""
    return resizing.steps(channels, resize)


def read_size(path):
    """(height, width) that `decode` will give for an image file, read from the header; raises as `decode`."""
    return _read(path, _upright_size)


def decode_all(paths, *, channels=3, size, resize=resizing.DEFAULT, parts=None):
    """Decodes files in parallel: (N, *size, channels) uint8, and {position: reason} of those that cannot be used.

    `parts`: A `part` of `decode` for each file, or None.
    """
    images = np.zeros((len(paths), *size, channels), np.uint8)

    def decode_into(position):
        part = None if parts is None else parts[position]
        images[position] = decode(paths[position], channels=channels, size=size, resize=resize, part=part)

    return images, try_all(decode_into, range(len(paths)))[1]


def _read(path_or_bytes, work):
    """What `work` returns for the Pillow image; for a damaged file, for a copy of it that holds only its pixels.

    Pillow's readers answer damaged files with OSError, SyntaxError, ValueError, struct.error and half a dozen more.
    """
    in_memory = isinstance(path_or_bytes, bytes | bytearray | memoryview)
    try:
        return _opened(io.BytesIO(path_or_bytes) if in_memory else path_or_bytes, work)
    except Exception as error:
        fault = error
    if not isinstance(fault, Image.DecompressionBombError) and not getattr(fault, "errno", None):
        content = bytes(path_or_bytes) if in_memory else Path(path_or_bytes).read_bytes()
        for copy in salvage.copies(content):
            try:
                return _opened(io.BytesIO(copy), work)
            except Exception as error:
                fault = error if isinstance(fault, Image.UnidentifiedImageError) else fault  # it says more
        if isinstance(fault, Image.UnidentifiedImageError) and _is_heif(content) and not _reads_heif():
            fault = _NeedsExtraError()
    name = f"image of {len(path_or_bytes)} bytes" if in_memory else str(path_or_bytes)
    hint = HEIF_HINT if isinstance(fault, _NeedsExtraError) else "replace the file or remove it"
    raise RequestError(f"{name}: {_reason(fault)}", hint) from fault


def _opened(file, work):
    """`work` of the Pillow image in a file whose header is within the limits."""
    with Image.open(file, formats=_formats()) as image:
        pixels = image.width * image.height
        if pixels > MAX_PIXELS:
            raise Image.DecompressionBombError
        with _LARGE if pixels > LARGE_PIXELS else _NO_LOCK:
            return work(image)


@functools.cache
def _formats():
    """The formats of FORMATS that this installation can read."""
    left_out = {"AVIF"} - {name.upper() for name in features.get_supported()}
    return [name for name in FORMATS if name not in left_out and (name != "HEIF" or _reads_heif())]


@functools.cache
def _reads_heif():
    """Whether the extra `heic`, which reads the photos of iPhones, is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener(thumbnails=False)
    return True


HEIF_HINT = "install what reads them: python -m pip install pillow-heif; or save the photos as JPEG"


class _NeedsExtraError(Exception):
    pass


def _is_heif(content):
    return content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS


def _reason(error):
    match error:
        case _NeedsExtraError():
            return "is a HEIC photo, which needs the extra `heic`"
        case Image.UnidentifiedImageError():
            return f"is not an image of a kind that is read here ({', '.join(FORMATS)})"
        case Image.DecompressionBombError():
            return f"has more than {MAX_PIXELS / 1e6:.1f} million pixels"
        case OSError(errno=int()):
            return f"cannot be opened ({error.strerror})"
        case _:
            return f"is damaged ({error})"


def _pixels(mode, size, resize, part, image):
    """What `decode` returns, before its last reshape; closes `image` as soon as its pixels are read."""
    upright = _upright(_reduced(image, size, resize, part))
    if size is None:
        strips = _strips(upright, mode, (0, 0, *upright.size))
        pixels = np.empty((upright.height, upright.width, len(mode)), np.uint8)
        for begin, strip in strips:
            pixels[begin : begin + strip.height] = np.asarray(strip).reshape(*strip.size[::-1], -1)
        return pixels
    frame = resizing.frame(upright.size, size, resize, part)
    if part is None:  # its box lies on whole pixels, and those beyond it do not count
        flat = _flat(upright, mode, frame.box)
        upright.close()
        shown = flat if flat.size == frame.size else flat.resize(frame.size, Image.Resampling.BILINEAR)
    else:
        flat = _flat(upright, mode, (0, 0, *upright.size))
        upright.close()
        shown = flat.resize(frame.size, Image.Resampling.BILINEAR, frame.box)
    if frame.size != size[::-1]:
        shown, inner = Image.new(mode, size[::-1]), shown
        shown.paste(inner, frame.at)
    return np.array(shown)


def _reduced(image, size, resize, part):
    """The image; a JPEG that is so large that no detail is lost is told to decode itself smaller."""
    if size is None or image.format not in ("JPEG", "MPO") or image.width * image.height <= LARGE_PIXELS:
        return image
    turned = _orientation(image) in _ON_ITS_SIDE
    upright = image.size[::-1] if turned else image.size
    frame = resizing.frame(upright, size, resize, part)
    left, top, right, bottom = frame.box
    room = min((right - left) / frame.size[0], (bottom - top) / frame.size[1]) / 2
    factor = next((factor for factor in (8, 4, 2) if factor <= room), 1)
    if factor > 1:
        image.draft(image.mode, (image.width // factor, image.height // factor))
    return image


def _upright(image):
    """The decoded image, turned by its EXIF orientation; the file's own pixels are freed."""
    image.load()
    method = _UPRIGHT.get(_orientation(image))
    if method is None:
        return image
    turned = image.transpose(method)
    image.close()
    return turned


def _upright_size(image):
    # A TIFF's size is turned already; in a PNG Pillow looks behind the pixels too, and decodes them on the way.
    told = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
    turned = told and _orientation(image) in _ON_ITS_SIDE
    return image.size if turned else image.size[::-1]


def _orientation(image):
    """The EXIF orientation, or None where it is missing or cannot be read."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # Pillow raises a dozen kinds of errors for a broken EXIF block
        return None


def _flat(image, mode, box):
    """The part of an image in `box` (whole pixels), in `mode`, over white and in eight bits."""
    left, top, right, bottom = box
    flat = Image.new(mode, (right - left, bottom - top))
    for begin, strip in _strips(image, mode, box):
        flat.paste(strip, (0, begin))
    return flat


def _strips(image, mode, box):
    """(first row, strip) of `_flat` in strips, because converting the whole image makes several copies of it."""
    if image.mode == "F" or (image.mode == "I" and not 0 <= image.getextrema()[0] <= image.getextrema()[1] < 1 << 16):
        raise ValueError("its pixels are 32-bit numbers, for which there is no agreed range")
    left, top, right, bottom = box
    rows = max(1, _STRIP_PIXELS // (right - left))
    for begin in range(top, bottom, rows):
        strip = image.crop((left, begin, right, min(begin + rows, bottom)))
        yield begin - top, _without_alpha(_eight_bit(strip)).convert(mode)


def _eight_bit(image):
    """16-bit grey scaled to 8 bits; Pillow's own conversion would cut at 255. (It scales 16-bit colour itself.)"""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image, np.uint32)
    scaled = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if "transparency" in image.info:  # the grey value that a PNG declares transparent
        scaled.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return scaled


def _without_alpha(image):
    """The image over white: what browsers show, and what a photo of a printed page looks like."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
