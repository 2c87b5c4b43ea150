"""Finds out which folders in a folder of photos are splits, which are classes, and which are neither.

The structure decides, and names only tell splits apart: folders beside each other that hold the same class folders are
splits, and the words in their names say which. Words are separated by signs that are not letters and by changes of
case, so `seg_train` contains the word train and `TestData` the word test, but `contest` does not.
"""

import functools
import itertools
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from resdense_keras.errors import RequestError

PARTS = ("train", "validation", "test")  # a file's part is its position here
WORDS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing"),
}
# What Windows, macOS, Linux and network disks leave behind; names that begin with a dot are left out anyway.
JUNK = (
    *("thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "__macosx", "lost+found"),
    *("@eadir", "#recycle", "__pycache__"),
)
TABLES = (".csv", ".tsv", ".json", ".xlsx", ".parquet")
_HINT = "put the images of each class into a folder of its own: FOLDER/cat/1.jpg, FOLDER/dog/1.jpg"


@dataclass(frozen=True)
class Layout:
    """What `find` found.

    Attributes:
        classes: {part: {class name: its folder}}; where there are no splits, all of them in "train".
        names: {part: name of its folder, such as `seg_train`}; empty where there are no splits.
        left_out: {folder beside the splits that is not a split: number of its images}.
        loose: Images beside the class folders or the splits; they belong to no class.
        labelled: Whether there are class folders.
    """

    classes: dict
    names: dict
    left_out: dict
    loose: int
    labelled: bool = True


def words(name):
    """{"seg", "train"} of "seg_train": the words of a name, in small letters."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return {word.lower() for word in re.split(r"[\W\d_]+", apart) if word}


def part_of(name):
    """The part (train, val or test) that a folder's name says, or None. `train_val` means train; any other two parts in
    one name mean nothing."""
    said = [part for part, known in WORDS.items() if words(name) & set(known)]
    if said == ["train", "validation"]:
        return "train"
    return said[0] if len(said) == 1 else None


def find(root, disk):
    """The Layout of the folder `root` on `disk`.

    Raises:
        RequestError: no images in class folders, splits that cannot be told apart, a folder of class folders beside the
            splits that is not a split, or a class folder whose files are not images.
    """
    top = _walked(root, disk)
    level = disk.entries(top)
    inside = {name: _Inside(top / name, disk) for name in disk.inside(top)}
    parts = _splits(top, inside, disk) if inside else {}
    if not parts:
        return Layout({"train": _class_folders(top, disk)}, {}, {}, len(level.images))
    left_out = {name: len(disk.below(top / name).images) for name in inside if name not in parts.values()}
    classes = _in_one_spelling({part: _class_folders(inside[name].level, disk) for part, name in parts.items()})
    loose = len(level.images) + sum(len(disk.entries(inside[name].level).images) for name in parts.values())
    return Layout(classes, parts, left_out, loose)


class _Inside:
    """A folder that may be a split: `level` is the folder in it that holds its class folders, with their names."""

    def __init__(self, path, disk):
        self.level = _walked(path, disk)
        self.classes = set(disk.inside(self.level))
        self.has_images = bool(disk.entries(path).images)


def _walked(path, disk):
    """The folder at or below `path` that holds the class folders or splits: folders that hold one folder and no image
    are walked through."""
    while True:
        inside, level = disk.inside(path), disk.entries(path)
        if level.images or len(inside) != 1:
            return path
        below = path / inside[0]
        if disk.entries(below).images or not disk.inside(below):  # it is a class
            return path
        empty = [name for name in level.folders if name not in inside and part_of(name)]
        if empty and part_of(inside[0]):  # a split beside one without images, which `_splits` refuses
            return path
        path = below


def _splits(top, inside, disk):
    """{part: name} of the splits among the folders `inside` of `top`; {} where these are the classes."""
    holders = {name: folder for name, folder in inside.items() if folder.classes}
    told = {name: part for name in holders if (part := part_of(name))}
    alike = [
        pair
        for pair in itertools.combinations(holders, 2)
        if _are_alike(*(holders[name].classes for name in pair), least=1 if set(pair) <= set(told) else 2)
    ]
    trains = [name for name, part in told.items() if part == "train" and not holders[name].has_images]
    alone = bool(trains) and (len(told) > 1 or len(holders[trains[0]].classes) > 1)
    if not alike and not alone:
        _check_no_test_beside_classes(top, inside, told)
        _check_no_flat_splits(top, inside, disk)
        return {}
    _check_told_apart(top, holders, told, alike)
    train = next(name for name, part in told.items() if part == "train")
    parts = {
        part: name
        for name, part in told.items()
        if part == "train" or len(holders[name].classes) > 1 or holders[name].classes <= holders[train].classes
    }
    for name, folder in holders.items():
        if name not in told and len(folder.classes) > 1:
            message = f"{top} has {train}/ with class folders inside, and {name}/ beside it, which holds others"
            raise RequestError(message, f"move {name}/ elsewhere, or its class folders into {train}/")
    for name in disk.entries(top).folders:
        if name not in inside and part_of(name):
            raise RequestError(f"{top / name} holds no images in class folders", _HINT)
    return dict(sorted(parts.items(), key=lambda part: PARTS.index(part[0])))


def _are_alike(first, second, least):
    """Whether two folders hold the same class folders; one may lack some."""
    smaller, larger = sorted((first, second), key=len)
    shared = smaller & larger
    return len(shared) >= least and (least == 1 or smaller <= larger)


def _check_told_apart(top, holders, told, alike):
    for first, second in alike:
        unclear = first not in told or second not in told or told[first] == told[second]
        if unclear:
            message = f"{top}: {first}/ and {second}/ hold the same class folders, and their names do not say which"
            raise RequestError(f"{message} is for training and which for testing", _rename(first, second))
    parts = list(told.values())
    if "train" not in parts:
        first, second = [*told, *holders][:2]
        message = f"{top}: {first}/ and {second}/ hold class folders, and no name beside them says train"
        raise RequestError(message, _rename(first, second))
    twice = [name for name, part in told.items() if parts.count(part) > 1]
    if twice:
        message = f"{top}: the names of {' and '.join(f'{name}/' for name in twice)} say the same, {told[twice[0]]}"
        raise RequestError(message, _rename(*twice[:2]))


def _check_no_test_beside_classes(top, inside, told):
    for name in told:
        if both := sorted(inside[name].classes & set(inside)):
            message = f"{top} has class folders and, beside them, {name}/ with class folders of the same names"
            raise RequestError(
                f"{message}: {', '.join(both[:5])}", f"move {', '.join(both[:5])} ... into a folder train/"
            )


def _check_no_flat_splits(top, inside, disk):
    """Refuses splits without class folders, as competitions have them (their names would become the classes), and one
    folder beside a table of labels."""
    told = {name: part for name in inside if (part := part_of(name))}
    if "train" in told.values() and len(set(told.values())) > 1 and len(told) == len(inside):
        names = " and ".join(f"{name}/" for name in told)
        message = f"{top}: {names} are splits by their names, but hold no class folders"
        raise RequestError(message + _tables(top, disk), _HINT)
    if len(inside) == 1 and (tables := _tables(top, disk)):
        raise RequestError(f"{top} has one class only: {', '.join(inside)}{tables}", _HINT)


def _tables(level, disk):
    """A half sentence about the tables in a folder; "" where there is none."""
    names = [path.name for path in disk.entries(level).others if path.suffix.lower() in TABLES]
    return f"; {names[0]} may say the class of each image, but tables are not read" if names else ""


def _rename(first, second):
    return (
        f"rename them so that the words train, val or test say what each is for: `train` and `test` for {first} and "
        f"{second}, for example; if they are the classes, put the images directly into them"
    )


def _class_folders(level, disk):
    """{class name: its folder} below `level`.

    Raises:
        RequestError: no images in folders, or a folder that has files and none that is an image.
    """
    inside = disk.inside(level)
    if loose := len(disk.entries(level).images) if not inside else 0:
        message = f"{level} holds no images in class folders, but {loose:,} image{'s' * (loose != 1)} directly"
        message += _tables(level, disk)
        above = level.absolute().parent
        raise RequestError(message, f"if these are one class, give the folder of all classes, {above}; else {_HINT}")
    if not inside:
        raise RequestError(f"{level} holds no images in class folders{_kinds(disk.below(level).others)}", _HINT)
    for name in disk.entries(level).folders:
        if name not in inside and (others := disk.below(level / name).others):
            message = f"class {name} has no image that can be read{_kinds(others)}: {level / name}"
            raise RequestError(
                message, "save its images as JPEG or PNG; if it is not a class, move the folder elsewhere"
            )
    return {name: level / name for name in inside}


def _in_one_spelling(classes):
    """The classes of all splits, spelt as in train: macOS writes é as e and an accent, other systems as one sign."""
    known = {unicodedata.normalize("NFC", name): name for name in classes["train"]}

    def spelt(name):
        return name if name in classes["train"] else known.get(unicodedata.normalize("NFC", name), name)

    return {part: {spelt(name): folder for name, folder in found.items()} for part, found in classes.items()}


def _kinds(files):
    """ ": 30 files, .dcm" of files that are not images."""
    if not files:
        return ""
    suffixes = sorted({Path(path).suffix.lower() or "without a suffix" for path in files})
    return f" ({len(files):,} files: {', '.join(suffixes[:5])})"


@dataclass(frozen=True)
class _Entries:
    """The entries of one folder, or of it and all folders below; broken links count as images."""

    folders: list
    images: list
    others: list


class Disk:
    """Folders as they lie on the disk, each read once.

    Hidden entries and JUNK are left out. Links to folders are followed, but no folder is entered twice, nor one that
    contains the present folder, so links cannot lead in circles.

    Args:
        is_image: Function of a file's name: whether the file is read as an image.
    """

    def __init__(self, is_image):
        self.is_image = is_image
        self.entries, self.below = functools.cache(self._entries), functools.cache(self._below)
        self.inside = functools.cache(self._inside)

    def _entries(self, path):
        """The _Entries of the folder `path`: names of folders, paths of files; sorted.

        Raises:
            RequestError: reading the folder is not permitted.
        """
        found = _Entries([], [], [])
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.name.lower() not in JUNK:
                        self._sort(found, path, entry)
        except OSError as error:
            raise RequestError(
                f"{path} cannot be read ({error.strerror})", "allow it to be read, or move it"
            ) from error
        return _Entries(sorted(found.folders), sorted(found.images), sorted(found.others))

    def _sort(self, found, path, entry):
        try:
            if entry.is_dir():
                found.folders.append(entry.name)
            elif entry.is_file():
                (found.images if self.is_image(entry.name) else found.others).append(path / entry.name)
            elif entry.is_symlink():
                found.images.append(path / entry.name)
        except OSError:  # a link to itself
            found.images.append(path / entry.name)

    def _inside(self, path):
        """Names of the folders in `path` with images in or below them."""
        return [name for name in self.entries(path).folders if self.below(path / name).images]

    def _below(self, path):
        """The _Entries of `path` and all below it."""
        images, others, waiting = [], [], [path]
        seen = {_identity(folder) for folder in (*path.parents, *path.resolve().parents)}
        while waiting:
            folder = waiting.pop()
            if (identity := _identity(folder)) not in seen:
                seen.add(identity)
                found = self.entries(folder)
                images += found.images
                others += found.others
                waiting += [folder / name for name in reversed(found.folders)]
        return _Entries([], sorted(images), sorted(others))


def _identity(path):
    try:
        found = path.stat()
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror})", "allow it to be read, or move it") from error
    return found.st_dev, found.st_ino
