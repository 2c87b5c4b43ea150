"""A folder of class folders: what lies in it, which files are bad, and their pixels where memory allows."""

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resdense_keras.data.images import SUFFIXES, decode, decode_all, read_size, try_all
from resdense_keras.data.memory import most_pixel_bytes
from resdense_keras.data.source import Source
from resdense_keras.errors import RequestError, unknown

ON_BAD_IMAGE = ("fail", "skip")
SKIP_SHARE = 0.01  # more bad files than this are no accident
FULL_SCAN_FILES = 20_000  # fewer are decoded once before the work, as many are judged by their headers

_PARTS = ("train", "validation", "test")  # a file's part is its position here
_PART_FOLDERS = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}  # in lower case


@dataclass(frozen=True)
class _File:
    path: Path
    class_name: str
    part: int


def read_folder(root, *, image_size=None, on_bad_image="fail", scan=False):
    """Reads FOLDER/class/image, or FOLDER/train/class/image with test/ or val/ (or both) beside train/.

    val/ may be called valid/ or validation/, all of them in small or capital letters. The folder names in order are
    the classes; one without images is none. A class that train has and test lacks is named in a warning and kept, one
    that train lacks is an error (both in `data.load`). Without test/, val/ is the test split, as it is for ImageNet.
    Hidden files and folders (`._*` of macOS) are skipped; what has no image's suffix is named in a warning; what has
    one is read by its content, see `images.decode`. The headers of all files are read before anything
    is trained, and all files are decoded where their pixels fit in memory, below FULL_SCAN_FILES of them, or on demand.

    Args:
        image_size: (height, width) for all; None takes the size that they share.
        on_bad_image: "fail", or "skip" for up to SKIP_SHARE of the files, which are then decoded, however many.
        scan: Decode all files, however many.
    Raises:
        RequestError: no images, folders beside train/ that are no split, bad files (each of them named), or several
            sizes and no `image_size`.
    """
    if on_bad_image not in ON_BAD_IMAGE:
        raise unknown("way to treat a bad image", on_bad_image, ON_BAD_IMAGE)
    files = [file for part, folder in _part_folders(Path(root)) for file in _list_images(folder, part)]
    sizes, bad = try_all(read_size, [file.path for file in files])
    if len(bad) == len(files):
        raise _too_many_bad(root, bad, len(files), on_bad_image)

    readable = [position for position in range(len(files)) if position not in bad]
    size = image_size or _common_size(root, Counter(sizes[position] for position in readable))
    images, damaged = _decode_or_scan(
        [files[position].path for position in readable], size, scan or on_bad_image == "skip"
    )
    bad |= {readable[place]: reason for place, reason in damaged.items()}
    _judge(root, bad, len(files), on_bad_image)
    if damaged and images is not None:
        images = np.delete(images, list(damaged), axis=0)
    return _source([file for position, file in enumerate(files) if position not in bad], images, size)


def _source(files, images, size):
    numbers = {name: number for number, name in enumerate(sorted({file.class_name for file in files}))}
    count = Counter(file.part for file in files)
    return Source(
        labels=np.array([numbers[file.class_name] for file in files], np.int64),
        image_shape=(*size, 3),
        given=tuple(count[part] for part in range(len(_PARTS))),
        class_names=tuple(numbers),
        images=images,
        paths=tuple(file.path for file in files),
    )


def _part_folders(root):
    """(part, folder) of each split that the folder's layout gives; of one without such a layout, root as train.

    A class may be called "train" too: a split has class folders inside, and no class beside it.

    Raises:
        RequestError: train has class folders, and beside it is what is no split, or a split twice. As classes they
            would be trained on, test images and all.
    """
    parts, others = {}, []
    for folder in _subfolders(root):
        part = _PART_FOLDERS.get(folder.name.lower())
        if part is None or part in parts:
            others.append(folder.name)
        else:
            parts[part] = folder
    inside = _subfolders(parts[0]) if 0 in parts else []
    if not inside or (others and not any(_is_image(path) for folder in inside for path in _visible_files(folder))):
        return [(0, root)]
    if others:
        names, train = ", ".join(f"{name}/" for name in others), parts[0].name
        message = f"{root} has {train}/ with class folders inside, and {names} beside it"
        hint = "beside it may stand val/ (or valid/, validation/) and test/, once each; move other folders elsewhere"
        raise RequestError(message, hint)
    if 2 not in parts and 1 in parts:
        parts[2] = parts.pop(1)
    return sorted(parts.items())


def _subfolders(folder):
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _list_images(folder, part):
    """The images in the class folders of `folder`, sorted; class folders may have folders inside."""
    found = [(subfolder.name, path) for subfolder in _subfolders(folder) for path in _visible_files(subfolder)]
    images = [_File(path, name, part) for name, path in found if _is_image(path)]
    others = [path.name for _, path in found if not _is_image(path)]
    if others:
        names = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        warnings.warn(f"{folder}: {len(others)} files are no images by their suffix: {names}", stacklevel=2)
    if not images:
        hint = "put the images of each class into a folder of its own: FOLDER/cat/1.jpg, FOLDER/dog/1.jpg"
        raise RequestError(f"{folder} holds no images in class folders", hint)
    return images


def _visible_files(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _is_image(path):
    return path.suffix.lower() in SUFFIXES


def _common_size(root, sizes):
    """The one size in `sizes`, a Counter of (height, width)."""
    if len(sizes) > 1:
        (height, width), count = sizes.most_common(1)[0]
        message = f"{root} has images of {len(sizes)} sizes, most often {height} x {width} ({count} times)"
        raise RequestError(message, "say with `--image-size` to which size all are brought, e.g. `--image-size 224`")
    return next(iter(sizes))


def _decode_or_scan(paths, size, scan):
    """All pixels where memory allows, else None; and {place: reason} of the files whose pixels are damaged."""
    height, width = size
    if len(paths) * height * width * 3 <= most_pixel_bytes():
        return decode_all(paths, size=size)
    if scan or len(paths) < FULL_SCAN_FILES:
        return None, try_all(_check_pixels, paths)[1]
    return None, {}


def _check_pixels(path):
    decode(path)  # and forgets them


def _judge(root, bad, total, on_bad_image):
    if not bad:
        return
    if on_bad_image == "fail" or len(bad) > SKIP_SHARE * total:
        raise _too_many_bad(root, bad, total, on_bad_image)
    warnings.warn(_list_bad(root, bad, total, "are skipped"), stacklevel=3)


def _too_many_bad(root, bad, total, on_bad_image):
    allowed = f"at most {SKIP_SHARE:.0%} of the files"
    skip = "or pass `--on-bad-image skip`, which leaves out" if on_bad_image == "fail" else "skipping allows"
    return RequestError(_list_bad(root, bad, total, "cannot be used"), f"repair or remove them, {skip} {allowed}")


def _list_bad(root, bad, total, fate):
    return "\n".join([f"{len(bad)} of {total} image files in {root} {fate}:", *(bad[key] for key in sorted(bad))])
