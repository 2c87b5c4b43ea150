"""One decode function: what every kind of image file becomes, and how the bad ones are refused."""

import io
import random
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from resdense_keras.data.images import MAX_PIXELS, decode, decode_all, read_size
from resdense_keras.errors import RequestError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 36, 3), dtype=np.uint8)
SMOOTH = np.stack([*np.meshgrid(np.linspace(0, 255, 36), np.linspace(0, 255, 24)), np.full((24, 36), 128.0)], -1)
SMOOTH = SMOOTH.astype(np.uint8)

BOMB_WARNING = "ignore::PIL.Image.DecompressionBombWarning"  # from 89 million pixels on; ours refuses far below
JPEG_TOLERANCE = 6  # grey levels that quality 95 costs on the smooth image


def encoded(image, format, **options):
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("format", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {})],
)
def test_lossless_formats_come_back_exactly_from_path_and_bytes(tmp_path, format, options):
    data = encoded(NOISE, format, **options)
    path = tmp_path / "größe 'x'.img"
    path.write_bytes(data)
    for given in (data, path, str(path)):
        np.testing.assert_array_equal(decode(given), NOISE)
    assert read_size(path) == (24, 36)


def test_jpeg_comes_back_nearly():
    pixels = decode(encoded(SMOOTH, "JPEG", quality=95, subsampling=0))
    assert np.abs(pixels.astype(int) - SMOOTH).max() <= JPEG_TOLERANCE


UPRIGHT = {  # what a viewer must do to the stored pixels; EXIF 2.32, tag 274
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(tmp_path, orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo"
    path.write_bytes(encoded(SMOOTH, format, exif=exif, **({"lossless": True} if format == "WEBP" else {})))
    expected = UPRIGHT[orientation](SMOOTH)
    assert np.abs(decode(path).astype(int) - expected).max() <= (12 if format == "JPEG" else 0)  # quality 75
    assert read_size(path) == expected.shape[:2]


def test_sixteen_bit_grey_on_its_side_is_turned_and_scaled():
    exif = Image.Exif()
    exif[0x0112] = 6
    ramp = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257 * 50
    pixels = decode(encoded(ramp, "PNG", exif=exif), channels=1)[..., 0]
    np.testing.assert_array_equal(pixels, np.rot90(np.arange(6).reshape(2, 3) * 50, -1))


def transparent(mode):
    """An image of 8 x 8 in `mode` whose left half is fully transparent and whose right half is opaque black."""
    if mode == "RGB":
        image = Image.new("RGB", (8, 8), (255, 0, 0))
        image.paste((0, 0, 0), (4, 0, 8, 8))
        return encoded(image, "PNG", transparency=(255, 0, 0))
    if mode == "P":
        image = Image.new("P", (8, 8), 1)
        image.putpalette([0, 0, 0, 255, 0, 0])
        image.paste(0, (4, 0, 8, 8))
        return encoded(image, "PNG", transparency=1)
    image = Image.new(mode, (8, 8))  # black, alpha 0
    image.paste((0, 255) if mode == "LA" else (0, 0, 0, 255), (4, 0, 8, 8))
    return encoded(image, "PNG")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_laid_over_white(mode, channels):
    pixels = decode(transparent(mode), channels=channels)
    assert pixels.shape == (8, 8, channels)
    assert (pixels[:, :4] == 255).all() and (pixels[:, 4:] == 0).all()


def test_half_transparent_red_over_white_is_pink():
    assert decode(encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 128)), "PNG"))[0, 0].tolist() == [255, 127, 127]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_and_not_cut(format):
    ramp = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    pixels = decode(encoded(ramp, format))
    np.testing.assert_array_equal(pixels[..., 0], (ramp / 257).round())
    assert (pixels[..., 0] == pixels[..., 2]).all()


def sixteen_bit_png(pixels, *more):
    """(H, W, C) uint16 as a PNG file, which Pillow does not write; `more` are chunks of (type, content)."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in chunks)


@pytest.mark.parametrize("kind", ["RGB", "RGB with alpha", "grey with alpha", "PPM"])
def test_sixteen_bit_colour_is_scaled_within_one_level(kind):
    ramp = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64, 1)
    opaque = np.full_like(ramp, 65535)
    if kind == "PPM":
        data = b"P6 64 64 65535\n" + np.repeat(ramp, 3, -1).astype(">u2").tobytes()
    else:
        colours = [ramp] if "grey" in kind else [ramp] * 3
        data = sixteen_bit_png(np.concatenate(colours + [opaque] * ("alpha" in kind), -1))
    pixels = decode(data)
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels.astype(int) - (ramp / 257).round()).max() <= 1
    assert pixels.min() == 0 and pixels.max() == 255


@pytest.mark.parametrize("turned", [False, True])
def test_the_transparent_grey_of_a_sixteen_bit_png_is_laid_over_white(turned):
    ramp = np.arange(6, dtype=np.uint16).reshape(2, 3, 1) * 257 * 40
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    chunks = [(b"tRNS", struct.pack(">H", 257 * 40)), (b"eXIf", exif.tobytes()[6:])]
    expected = np.arange(6).reshape(2, 3) * 40
    expected[0, 1] = 255
    pixels = decode(sixteen_bit_png(ramp, *chunks), channels=1)[..., 0]
    np.testing.assert_array_equal(pixels, np.rot90(expected, -1) if turned else expected)


@pytest.mark.parametrize("pixels", [np.ones((4, 4), np.float32), np.full((4, 4), 1 << 20, np.int32)])
def test_thirty_two_bit_pixels_are_refused(pixels):
    with pytest.raises(RequestError, match="no agreed range"):
        decode(encoded(pixels, "TIFF"))


def test_cmyk_palette_bilevel_and_grey_become_rgb():
    cmyk = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(cmyk.astype(int) - (255, 0, 0)).max() <= JPEG_TOLERANCE
    assert decode(encoded(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF"))[0, 0].tolist() == [255, 0, 0]
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert decode(encoded(palette, "PNG"))[0, 0].tolist() == [10, 20, 30]
    assert decode(encoded(Image.new("1", (2, 2), 1), "PNG"))[0, 0].tolist() == [255, 255, 255]
    assert decode(encoded(Image.new("L", (2, 2), 77), "PNG"))[0, 0].tolist() == [77, 77, 77]
    assert decode(encoded(Image.new("RGB", (2, 2), (77, 77, 77)), "PNG"), channels=1).tolist() == [[[77], [77]]] * 2


@pytest.mark.parametrize(("format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_first_frame_of_an_animation_is_taken(format, options):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3
    assert decode(data)[0, 0].tolist() == [255, 0, 0]


def test_resize_is_antialiased():
    checkerboard = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    inner = decode(encoded(checkerboard, "PNG"), channels=1, size=(8, 8))[1:-1, 1:-1]
    assert inner.min() >= 126 and inner.max() <= 129, "every second pixel was dropped instead of averaged"


@pytest.mark.parametrize(("height", "width", "size"), [(40, 120, (20, 20)), (120, 40, (20, 20)), (50, 50, (20, 40))])
def test_resize_keeps_the_centre_and_the_aspect_ratio(height, width, size):
    """The rectangle that RESIZE_RULE cuts out is white, all else black: the result must be white to its border."""
    scale = min(height / size[0], width / size[1])
    rows, columns = round(size[0] * scale), round(size[1] * scale)
    top, left = (height - rows) // 2, (width - columns) // 2
    image = np.zeros((height, width), np.uint8)
    image[top : top + rows, left : left + columns] = 255
    pixels = decode(encoded(image, "PNG"), channels=1, size=size)
    assert pixels.shape == (*size, 1)
    assert pixels.min() == 255


def test_image_of_the_right_size_is_not_touched():
    np.testing.assert_array_equal(decode(encoded(NOISE, "PNG"), size=(24, 36)), NOISE)


RAMP = 10  # grey levels to the pixel, of an image whose grey tells the place


@pytest.mark.parametrize(
    ("part", "columns", "rows"),
    [
        ((1.0, 1.0, 0.5, 0.5), (6, 18), (0, 12)),  # more than fits: the largest square
        ((0.125, 1.0, 0.0, 1.0), (18, 24), (0, 6)),  # 36 of 288 pixels, at the top right
        ((0.25, 2.0, 1.0, 0.0), (0, 12), (6, 12)),  # twice as wide as high, at the bottom left
    ],
)
def test_a_part_has_the_area_the_shape_and_the_place_that_were_asked_for(part, columns, rows):
    ramp = np.arange(24, dtype=np.uint8) * RAMP
    across = decode(encoded(np.tile(ramp, (12, 1)), "PNG"), channels=1, size=(3, 3), part=part)[..., 0]
    down = decode(encoded(np.tile(ramp[:12, None], (1, 24)), "PNG"), channels=1, size=(3, 3), part=part)[..., 0]
    for found, (begin, end) in ((across[0], columns), (down[:, 0], rows)):
        third = (end - begin) / 3
        assert found[1] == RAMP * ((begin + end - 1) / 2)  # the middle
        # At its border a filter sees one side of the ramp only, so the outer thirds lie a little nearer to the middle.
        assert RAMP * third * 0.7 <= found[2] - found[1] <= RAMP * third + 1


def test_a_part_of_a_tiny_image_and_of_a_photo_on_its_side_is_of_the_size():
    assert decode(encoded(np.zeros((1, 1), np.uint8), "PNG"), size=(5, 4), part=(0.08, 0.75, 0.9, 0.9)).shape == (
        5,
        4,
        3,
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = encoded(SMOOTH, "PNG", exif=exif)
    whole = decode(photo, size=(36, 24), part=(1.0, 1.0, 0.3, 0.3))
    np.testing.assert_array_equal(whole, UPRIGHT[6](SMOOTH))


@pytest.mark.filterwarnings(BOMB_WARNING)
def test_more_than_25_megapixels_are_refused_from_the_header():
    bombs = {
        "png": encoded(Image.new("1", (12_000, 12_000)), "PNG"),
        "just over": encoded(Image.new("1", (5_000, MAX_PIXELS // 5_000 + 1)), "PNG"),
    }
    for name, data in bombs.items():
        begin = time.perf_counter()
        with pytest.raises(RequestError, match="more than 25 million pixels"):
            decode(data)
        assert time.perf_counter() - begin < 0.1, name  # to inflate 144 million pixels takes seconds


def damaged_files():
    photo, drawing = encoded(NOISE, "JPEG"), encoded(NOISE, "PNG")
    flipped = bytearray(drawing)
    flipped[len(drawing) // 2] ^= 255
    return {
        "truncated jpeg": (photo[: len(photo) // 2], "is damaged"),
        "truncated png": (drawing[: len(drawing) // 2], "is damaged"),
        "truncated webp": (encoded(NOISE, "WEBP", lossless=True)[:300], "is (damaged|no image)"),
        "png with a flipped byte": (bytes(flipped), "is damaged"),
        "empty": (b"", "is no image that is read here"),
        "text": (b"hello", "is no image that is read here"),
        "postscript, which would start a program": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "is no image",
        ),
    }


@pytest.mark.parametrize("kind", damaged_files())
def test_damaged_file_is_refused_by_name(tmp_path, kind):
    data, reason = damaged_files()[kind]
    (tmp_path / "bad.png").write_bytes(data)
    with pytest.raises(RequestError, match=rf"bad\.png: {reason}") as caught:
        decode(tmp_path / "bad.png")
    assert caught.value.hint
    with pytest.raises(RequestError, match=f"image of {len(data)} bytes: {reason}"):
        decode(data)


def test_missing_file_and_folder_are_refused_by_name(tmp_path):
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(RequestError, match=f"{path}: cannot be opened"):
            decode(path)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.filterwarnings("ignore::UserWarning", BOMB_WARNING)  # Pillow names the damage that it can live with
def test_mutated_files_decode_or_are_refused(format):
    good, chance, refused = encoded(NOISE, format), random.Random(0), 0
    for _ in range(100):
        data = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data) if chance.random() < 0.5 else 64)] = chance.randrange(256)
        try:
            assert decode(bytes(data), size=(8, 8)).shape == (8, 8, 3)
        except RequestError:
            refused += 1
    assert refused > 0


def test_many_files_are_decoded_in_order_and_the_bad_ones_told(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded(np.full((4, 4), number, np.uint8), "PNG"))
    paths[7].write_bytes(b"")
    images, reasons = decode_all(paths, channels=1, size=(4, 4))
    assert images[:, 0, 0, 0].tolist() == [0 if number == 7 else number for number in range(20)]
    assert list(reasons) == [7] and "7.png: is no image" in reasons[7]
