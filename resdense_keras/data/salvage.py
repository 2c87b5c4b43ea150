"""Copies of image files without the parts that pixels do not need (comments, colour profiles, thumbnails), which may be
damaged.

Pillow refuses a whole photo where a text chunk is too long, the checksum of a profile is wrong, or an index of further
pictures is malformed. So a file that it calls damaged is tried again with only the parts that the pixels need.
"""

import struct
import zlib

_PNG, _JPEG, _WEBP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"WEBP"
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_APP0, _EXIF, _APP14, _APP15, _COMMENT = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_SCAN = 0xDA


def copies(content):
    """Copies of a file to try instead of it: with its orientation, then without. No copy where nothing can be left out,
    or where the parts cannot be told apart.

    Args:
        content: The bytes of a file.
    """
    lean = _png if content.startswith(_PNG) else _jpeg if content.startswith(_JPEG) else None
    lean = _webp if content[8:12] == _WEBP else lean
    seen = {content}
    for keep_exif in (True, False) if lean else ():
        copy = lean(content, keep_exif)
        if copy is not None and copy not in seen:
            seen.add(copy)
            yield copy


def _png(content, keep_exif):
    """The critical chunks, and of the others only the transparency (and the EXIF) with a correct checksum."""
    wanted, parts, place = (b"tRNS", b"eXIf") if keep_exif else (b"tRNS",), [_PNG], len(_PNG)
    while place + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        chunk = content[place : place + length + 12]
        right = len(chunk) == length + 12 and zlib.crc32(chunk[4:-4]) == struct.unpack(">I", chunk[-4:])[0]
        if kind in _CRITICAL or (kind in wanted and right):
            parts.append(chunk)
        place += len(chunk)
        if kind == b"IEND":
            break
    return b"".join(parts)


def _jpeg(content, keep_exif):
    """All but the application segments; Adobe's (14) stays, because it says how colours are stored."""
    parts, place = [_JPEG], len(_JPEG)
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker == _SCAN:
            return b"".join(parts) + content[place:]
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        kept = marker in (_APP0, _APP14) or not (_APP0 <= marker <= _APP15 or marker == _COMMENT)
        if kept or (marker == _EXIF and keep_exif):
            parts.append(content[place:end])
        place = end
    return None


def _webp(content, keep_exif):
    """The complete chunks of pixels and of animation; the header's flags for the removed chunks are cleared."""
    wanted, parts, place = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"), [], 12
    wanted += (b"EXIF",) * keep_exif
    while place + 8 <= len(content):
        kind, length = struct.unpack("<4sI", content[place : place + 8])
        end = place + 8 + length + length % 2
        chunk = content[place:end]
        if kind == b"VP8X" and len(chunk) == 18:
            gone = 0x20 | 0x04 | (0 if keep_exif else 0x08)  # profile, XMP, EXIF
            chunk = chunk[:8] + bytes([chunk[8] & ~gone]) + chunk[9:]
        if kind in wanted and (len(chunk) == end - place or kind.startswith(b"VP8")):
            parts.append(chunk)
        place = end
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body
