"""One decode function: what every kind of image file becomes, and how the bad ones are refused."""

import io
import random
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin, features

from resdense_keras.data import images, resizing
from resdense_keras.data.images import MAX_PIXELS, decode, decode_all, read_size
from resdense_keras.errors import RequestError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 36, 3), dtype=np.uint8)
SMOOTH = np.stack([*np.meshgrid(np.linspace(0, 255, 36), np.linspace(0, 255, 24)), np.full((24, 36), 128.0)], -1)
SMOOTH = SMOOTH.astype(np.uint8)

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


def test_more_pixels_than_pillow_allows_are_refused_from_the_header():
    bombs = {
        "png": encoded(Image.new("1", (12_000, 12_000)), "PNG"),
        "just over": encoded(Image.new("1", (9_000, MAX_PIXELS // 9_000 + 1)), "PNG"),
    }
    for name, data in bombs.items():
        begin = time.perf_counter()
        with pytest.raises(RequestError, match=r"more than 89\.5 million pixels"):
            decode(data)
        assert time.perf_counter() - begin < 0.1, name  # to inflate 144 million pixels takes seconds


LARGE = (5_200, 4_900)  # height and width: over the 25 million pixels from which on one is decoded at a time


@pytest.mark.parametrize("rule", resizing.RULES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpeg_is_reduced_while_it_is_decoded_and_shows_the_same(tmp_path, rule, orientation, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = Image.fromarray(SMOOTH).resize(LARGE[::-1], Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.jpg", exif=exif)
    drafts, draft = [], JpegImagePlugin.JpegImageFile.draft
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile, "draft", lambda self, *how: drafts.append(how) or draft(self, *how)
    )
    found = decode(tmp_path / "photo.jpg", size=(70, 60), resize=rule)
    assert drafts == [("RGB", (LARGE[1] // 8, LARGE[0] // 8))]
    monkeypatch.setattr(images, "LARGE_PIXELS", MAX_PIXELS)
    whole = decode(tmp_path / "photo.jpg", size=(70, 60), resize=rule)
    assert len(drafts) == 1 and np.abs(found.astype(int) - whole).max() <= 4
    assert read_size(tmp_path / "photo.jpg") == (LARGE if orientation == 1 else LARGE[::-1])


def test_part_of_a_large_jpeg_keeps_twice_the_size_it_is_brought_to(monkeypatch):
    data, kept = encoded(Image.new("RGB", LARGE[::-1]), "JPEG"), []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, filter, box: kept.append(box) or resize(self, size, filter, box)
    )
    for area in (0.9, 0.1, 0.001):
        assert decode(data, size=(200, 200), part=(area, 1.0, 0.5, 0.5)).shape == (200, 200, 3)
    # 4,900 x .95 / 8, 1,596 / 2, and no reduction of 160 pixels
    assert [round(right - left) for left, _, right, _ in kept] == [599, 798, 160]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is Linux's")
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "16 bit"])
def test_large_png_costs_at_most_ten_bytes_a_pixel(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind == "16 bit":
        image = Image.fromarray(np.zeros(LARGE, np.uint16))
    else:
        image = Image.new(kind, LARGE[::-1], (200, 100, 50, 99)[: len(kind)])
    image.save(tmp_path / "photo.png", exif=exif, compress_level=1)
    del image
    before = restart_peak()
    assert decode(tmp_path / "photo.png", size=(224, 224)).shape == (224, 224, 3)
    assert peak() - before < 10 * LARGE[0] * LARGE[1]


def restart_peak():
    """Bytes that the process holds now; `peak` counts from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak():
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) * 1024 for row in rows if row.startswith("VmHWM"))


def with_chunks(png, *chunks):
    """A PNG with further (type, content, whether its checksum is right) behind its header."""
    head, rest = png[:33], png[33:]
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ (not right))
        for kind, content, right in chunks
    ]
    return head + b"".join(parts) + rest


def with_segments(jpeg, *segments):
    """A JPEG with further (marker, content) behind its first two bytes."""
    parts = [bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content for marker, content in segments]
    return jpeg[:2] + b"".join(parts) + jpeg[2:]


def with_ancillary_damage():
    drawing, photo = encoded(NOISE, "PNG"), encoded(NOISE, "JPEG")
    inflated = zlib.compress(bytes(2_000_000))
    return {
        "png with a text over a megabyte": with_chunks(drawing, (b"zTXt", b"Comment\0\0" + inflated, True)),
        "png with a profile over a megabyte": with_chunks(drawing, (b"iCCP", b"profile\0\0" + inflated, True)),
        "png with a text of a wrong checksum": with_chunks(drawing, (b"tEXt", b"Comment\0hello", False)),
        "png with a profile that cannot be inflated": with_chunks(drawing, (b"iCCP", b"profile\0\0broken", True)),
        "png with a broken time": with_chunks(drawing, (b"pHYs", b"\0", True)),
        "png with EXIF that is none": with_chunks(drawing, (b"eXIf", b"GARBAGE!", True)),
        "jpeg with EXIF that is none": with_segments(photo, (0xE1, b"Exif\0\0GARBAGE!")),
        "jpeg with EXIF cut short": with_segments(photo, (0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12")),
        "jpeg with a broken index of pictures": with_segments(photo, (0xE2, b"MPF\0MM\0*\0\0\0\x08\0\x01")),
        "jpeg with a broken Photoshop block": with_segments(photo, (0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0")),
        "jpeg with half a profile": with_segments(photo, (0xE2, b"ICC_PROFILE\0\x01\x05abc")),
        "webp cut short in its EXIF": encoded(NOISE, "WEBP", lossless=True, exif=b"Exif\0\0" + bytes(100))[:-50],
    }


@pytest.mark.parametrize("kind", with_ancillary_damage())
def test_damage_outside_the_pixels_does_not_refuse_them(tmp_path, kind):
    expected = decode(encoded(NOISE, "JPEG")) if kind.startswith("jpeg") else NOISE
    data = with_ancillary_damage()[kind]
    (tmp_path / "photo").write_bytes(data)
    np.testing.assert_array_equal(decode(data), expected)
    np.testing.assert_array_equal(decode(tmp_path / "photo"), expected)
    assert read_size(tmp_path / "photo") == NOISE.shape[:2]


def test_orientation_is_applied_beside_other_damage():
    exif = Image.Exif()
    exif[0x0112] = 6
    damaged = with_chunks(encoded(SMOOTH, "PNG", exif=exif), (b"tEXt", b"Comment\0hello", False))
    np.testing.assert_array_equal(decode(damaged), UPRIGHT[6](SMOOTH))


def test_damaged_pixels_are_refused_whatever_else_is_damaged():
    drawing = with_chunks(encoded(NOISE, "PNG"), (b"tEXt", b"Comment\0hello", False))
    with pytest.raises(RequestError, match="is damaged"):
        decode(drawing[: len(drawing) // 2])


def test_avif_is_read():
    if not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    pixels = decode(encoded(SMOOTH, "AVIF", quality=95))
    assert np.abs(pixels.astype(int) - SMOOTH).max() <= 12


def test_photo_of_an_iphone_is_read_with_the_extra(tmp_path):
    pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed").register_heif_opener()
    Image.fromarray(SMOOTH).save(tmp_path / "photo.heic", quality=95)
    assert np.abs(decode(tmp_path / "photo.heic").astype(int) - SMOOTH).max() <= 12
    assert read_size(tmp_path / "photo.heic") == (24, 36)


def test_photo_of_an_iphone_names_the_extra_that_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    images._reads_heif.cache_clear()
    images._formats.cache_clear()
    try:
        with pytest.raises(RequestError, match="is a HEIC photo, which needs the extra `heic`") as caught:
            decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
        assert "pip install pillow-heif" in caught.value.hint
    finally:
        images._reads_heif.cache_clear()
        images._formats.cache_clear()


def damaged_files():
    photo, drawing = encoded(NOISE, "JPEG"), encoded(NOISE, "PNG")
    flipped = bytearray(drawing)
    flipped[len(drawing) // 2] ^= 255
    return {
        "truncated jpeg": (photo[: len(photo) // 2], "is damaged"),
        "truncated png": (drawing[: len(drawing) // 2], "is damaged"),
        "truncated webp": (encoded(NOISE, "WEBP", lossless=True)[:300], "is (damaged|no image)"),
        "png with a flipped byte": (bytes(flipped), "is damaged"),
        "empty": (b"", "is not an image of a kind that is read here"),
        "text": (b"hello", "is not an image of a kind that is read here"),
        "postscript, which would start a program": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "is not an image",
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
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow names the damage that it can live with
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
    found, reasons = decode_all(paths, channels=1, size=(4, 4))
    assert found[:, 0, 0, 0].tolist() == [0 if number == 7 else number for number in range(20)]
    assert list(reasons) == [7] and "7.png: is not an image" in reasons[7]
