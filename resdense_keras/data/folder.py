"""Reads a folder of class folders: lists its files, finds the bad ones, and decodes the pixels where memory allows."""

import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resdense_keras.data import layout, resizing
from resdense_keras.data.images import HEIF_HINT, SUFFIXES, decode, decode_all, read_size
from resdense_keras.data.memory import most_pixel_bytes
from resdense_keras.data.pool import try_all
from resdense_keras.data.source import Found, Source
from resdense_keras.errors import RequestError, unknown

ON_BAD_IMAGE = ("fail", "skip")
SKIP_SHARE = 0.01  # share of bad files above which they are not an accident
FULL_SCAN_FILES = 20_000  # with fewer files all are decoded before the work, with more only headers are read
MOST_NAMED = 10  # listed files of one class that are bad for the same reason


@dataclass(frozen=True)
class _File:
    path: Path
    class_name: str
    part: str


def read_folder(
    root,
    *,
    image_size=None,
    channels=3,
    resize=resizing.DEFAULT,
    on_bad_image="fail",
    scan=False,
    val_judges=True,
    labelled=True,
):
    """Reads FOLDER/class/image, or FOLDER/split/class/image, see `layout.find`.

    The names of the class folders, sorted as text, are the classes. An empty folder is not a class; a folder with files
    but no image is an error. Hidden files and folders (`._*` of macOS) are skipped, files without the suffix of an
    image are named in a warning, and all others are read by their content, see `images.decode`. Before the training the
    headers of all files are read. All files are decoded too where their pixels fit in memory, where there are fewer
    than FULL_SCAN_FILES, or where `scan` asks for it.

    Without test/, val/ is also the test split, as it is for ImageNet: it then judges both the epochs and the result.

    Args:
        image_size: (height, width) for all images; None takes the size that they share.
        channels: 3 for RGB, 1 for grey.
        resize: How images come to that size, of resizing.RULES.
        on_bad_image: "fail", or "skip" to leave out up to SKIP_SHARE of the files; all files are then decoded.
        scan: Decode all files, however many.
        val_judges: False to do as version 0.1 did without test/: val/ is only the test split, and a share of train
            judges the epochs.
        labelled: False where classes do not matter: the images of a folder without class folders then form one class.
    Raises:
        RequestError: no images, splits that cannot be told apart, bad files (each of them named), or several sizes and
            no `image_size`.
    """
    if on_bad_image not in ON_BAD_IMAGE:
        raise unknown("way to treat a bad image", on_bad_image, ON_BAD_IMAGE)
    root, disk = Path(root), layout.Disk(_is_image)
    found = _found(root, disk, labelled)
    files = [file for part, classes in found.classes.items() for file in _list_images(part, classes, disk)]
    if found.loose:
        warnings.warn(f"{root}: {found.loose} images lie beside the class folders and are left out", stacklevel=2)
    sizes, bad = try_all(read_size, [file.path for file in files])
    _check_classes_readable(root, files, bad)
    if len(bad) == len(files):
        _judge(root, files, bad, "fail")

    readable = [position for position in range(len(files)) if position not in bad]
    counted = Counter(sizes[position] for position in readable)
    size = image_size or _common_size(root, counted)
    how = {"channels": channels, "size": size, "resize": resize}
    images, damaged = _decode_or_scan(
        [files[position].path for position in readable], scan or on_bad_image == "skip", **how
    )
    bad |= {readable[place]: reason for place, reason in damaged.items()}
    _check_classes_readable(root, files, bad)
    _judge(root, files, bad, on_bad_image)
    if damaged and images is not None:
        images = np.delete(images, list(damaged), axis=0)
    kept = [file for position, file in enumerate(files) if position not in bad]
    known = Found(names=found.names, left_out=found.left_out, sizes=counted, labelled=found.labelled)
    return _source(kept, images, known, val_judges, **how)


def _found(root, disk, labelled):
    """The Layout of `layout.find`; where classes do not matter, a folder without class folders is its own only
    class."""
    try:
        return layout.find(root, disk)
    except RequestError:
        if labelled or not disk.below(root).images:
            raise
    return layout.Layout(classes={"train": {"images": root}}, names={}, left_out={}, loose=0, labelled=False)


def readable(names):
    """Class names as text: bytes that are not UTF-8 become U+FFFD, and equal names get a number.

    Folders from a Windows zip or an old disk have names in other encodings. Python represents these by lone surrogates,
    which no text file, terminal or JSON parser accepts.
    """
    taken, texts = set(), []
    for name in names:
        text = plain = re.sub("[\ud800-\udfff]+", "\N{REPLACEMENT CHARACTER}", name)
        number = 1
        while text in taken or (text != name and text in names):
            number += 1
            text = f"{plain} {number}"
        taken.add(text)
        texts.append(text)
    return tuple(texts)


def _source(files, images, found, val_judges, *, channels, size, resize):
    numbers = {name: number for number, name in enumerate(sorted({file.class_name for file in files}))}
    count = Counter(file.part for file in files)
    given = tuple(count[part] for part in layout.PARTS)
    if not val_judges and given[1] and not given[2]:
        given = (given[0], 0, given[1])
        names = {"train": found.names["train"], "test": found.names["validation"]}
        found = Found(names=names, left_out=found.left_out, sizes=found.sizes)
    return Source(
        labels=np.array([numbers[file.class_name] for file in files], np.int64),
        image_shape=(*size, channels),
        given=given,
        class_names=readable(tuple(numbers)),
        images=images,
        paths=tuple(file.path for file in files),
        resize=resize,
        found=found,
    )


def _list_images(part, classes, disk):
    """The images of one split, class by class, sorted; class folders may contain folders."""
    found = [(name, disk.below(folder)) for name, folder in classes.items()]
    others = [path.name for _, below in found for path in below.others]
    if others:
        names = ", ".join(readable(others[:5])) + (", ..." if len(others) > 5 else "")
        where = next(iter(classes.values())).parent
        warnings.warn(f"{where}: {len(others)} files are not images by their suffix: {names}", stacklevel=3)
    return [_File(path, name, part) for name, below in found for path in below.images]


def _is_image(name):
    return Path(name).suffix.lower() in SUFFIXES


def _common_size(root, sizes):
    """The one size in `sizes`, a Counter of (height, width)."""
    if len(sizes) > 1:
        (height, width), count = sizes.most_common(1)[0]
        message = f"{root} has images of {len(sizes)} sizes, most often {height} x {width} ({count} times)"
        raise RequestError(message, "pass one size for all of them, e.g. `--image-size 224`")
    return next(iter(sizes))


def _decode_or_scan(paths, scan, *, channels, size, resize):
    """(all pixels, or None where memory is too small; {place: reason} of the files whose pixels are damaged)."""
    how = {"channels": channels, "size": size, "resize": resize}
    height, width = size
    if len(paths) * height * width * channels <= most_pixel_bytes():
        return decode_all(paths, **how)
    if scan or len(paths) < FULL_SCAN_FILES:
        return None, try_all(lambda path: decode(path, **how) is None, paths)[1]  # and forgets the pixels
    return None, {}


def _check_classes_readable(root, files, bad):
    """Refuses a folder with a class of which no file can be read, and names the class: in a list of files it would go
    unnoticed, and the model would silently lack a class."""
    total, faulty = (
        Counter((file.part, file.class_name) for file in chosen)
        for chosen in (files, [files[position] for position in bad])
    )
    lost = [key for key in total if faulty[key] == total[key]]
    if not lost or len(bad) == len(files) <= MOST_NAMED:
        return
    lines = []
    for part, name in lost:
        position = next(place for place in sorted(bad) if (files[place].part, files[place].class_name) == (part, name))
        lines.append(
            f"class {readable([name])[0]}: none of its {total[part, name]} files can be read, such as {bad[position]}"
        )
    message = "\n".join([f"{root} has classes without an image that can be read:", *lines])
    raise RequestError(message, _hint(bad, "save these images as JPEG or PNG, or move the class folders elsewhere"))


def _judge(root, files, bad, on_bad_image):
    if not bad:
        return
    if on_bad_image == "fail" or len(bad) > SKIP_SHARE * len(files):
        allowed = f"at most {SKIP_SHARE:.0%} of the files"
        skip = "or pass `--on-bad-image skip`, which leaves out" if on_bad_image == "fail" else "skipping allows"
        hint = _hint(bad, f"repair or remove them, {skip} {allowed}")
        raise RequestError(_list_bad(root, files, bad, "cannot be used"), hint)
    warnings.warn(_list_bad(root, files, bad, "are skipped"), stacklevel=3)


def _hint(bad, otherwise):
    return HEIF_HINT if any("extra `heic`" in reason for reason in bad.values()) else otherwise


def _list_bad(root, files, bad, fate):
    """Lists every bad file with its reason; of many HEIC photos in one class only the first few."""
    lines, alike = [f"{len(bad)} of {len(files)} image files in {root} {fate}:"], Counter()
    for position in sorted(bad):
        key = files[position].class_name if "extra `heic`" in bad[position] else None
        alike[key] += 1
        if key is None or alike[key] <= MOST_NAMED:
            lines.append(bad[position])
    more = {key: count - MOST_NAMED for key, count in alike.items() if key is not None and count > MOST_NAMED}
    return "\n".join([*lines, *(f"and {count:,} more HEIC photos of class {name}" for name, count in more.items())])
