"""From a data spec, as users type it, to a data set with three disjoint splits."""

import functools
import warnings
import zipfile
from pathlib import Path

import numpy as np

from resdense_keras.data import class_names, resizing
from resdense_keras.data.arrays import read_digits, read_keras, read_npz
from resdense_keras.data.dataset import Dataset, Split
from resdense_keras.data.folder import read_folder
from resdense_keras.data.images import MAX_PIXELS, SUFFIXES
from resdense_keras.data.splits import TEST_SHARE, VALIDATION_SHARE, hold_out
from resdense_keras.errors import RequestError, nearest, unknown

NAMED = {
    "digits": read_digits,
    "fashion_mnist": functools.partial(read_keras, "fashion_mnist", class_names.FASHION_MNIST),
    "cifar10": functools.partial(read_keras, "cifar10", class_names.CIFAR10),
    "cifar100": functools.partial(read_keras, "cifar100", class_names.CIFAR100),
}

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
FOLDERS = "FOLDER/cat/1.jpg, FOLDER/dog/1.jpg"
DIGITS = ("digits", "mnist", "svhn")  # files and folders of these names hold digits, in colour too


def load(
    spec: str | Path,
    *,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    resize: str = resizing.DEFAULT,
    on_bad_image: str = "fail",
    scan: bool = False,
    held_out: float = VALIDATION_SHARE,
    val_judges: bool = True,
    labelled: bool = True,
) -> Dataset:
    """Loads the data that `spec` names, as train, validation and test.

    Splits are disjoint and stratified, and depend only on the data and `seed`. A test split in the data is used as it
    is; otherwise TEST_SHARE or more of the images become one. Unless the data have a validation split, a share of the
    training images becomes one. In one case two splits are the same: a folder with val/ and without test/.

    Args:
        spec: A name of NAMED, a .npz file (see `read_npz`) or a folder of class folders (see `read_folder`).
        seed: 0 or more; decides the splits that we make.
        image_size: One number, or (height, width): the images of a folder are resized to it.
        channels: 3 or 1 channels, in which a folder is decoded; None means 3. Arrays keep their own.
        resize: How the images of a folder are resized, a name of resizing.RULES.
        on_bad_image, scan: What happens to damaged files of a folder, and whether all files are read in full to find
            them, see `read_folder`.
        held_out: Share of the training images of each class that becomes the validation split, above 0 and below 1.
        val_judges: False to treat a folder with val/ and without test/ as version 0.1 did, see `read_folder`.
        labelled: False where classes do not matter: one class is then enough, and a folder may hold images directly.
    Raises:
        RequestError: there is no such data, or they do not fit; with the reason.
        WorkError: a download failed.
    """
    if seed < 0:
        raise RequestError(f"seed={seed} was given; it must be 0 or more", "leave it out, or pass 0, 1, 2 ...")
    if not 0 < held_out < 1:
        message = f"held_out={held_out} was given; it must be above 0 and below 1"
        raise RequestError(message, f"leave it out, or pass a share such as {VALIDATION_SHARE}")
    if channels not in (None, 1, 3):
        raise RequestError(f"{channels} channels were asked for; images have 1 or 3", "take a net of 1 or 3 channels")
    size = _height_width(image_size)
    if not str(spec).strip():
        raise RequestError("the name of the data is empty", f"pass {', '.join(NAMED)}, a .npz file or a folder")
    if is_folder(spec):
        source = read_folder(
            Path(spec).expanduser(),
            image_size=size,
            channels=channels or 3,
            resize=resizing.check(resize),
            on_bad_image=on_bad_image,
            scan=scan,
            val_judges=val_judges,
            labelled=labelled,
        )
    else:
        source = _of_size(spec, _read(spec), size, resizing.check(resize))
    parts = _positions(source, seed, held_out)
    _check_classes(spec, source, parts, labelled)
    splits = {name: _take(source, positions) for name, positions in parts.items()}
    if parts["test"] is parts["validation"]:
        splits["test"] = splits["validation"]
    return Dataset(
        spec=str(spec),
        class_names=source.class_names,
        image_shape=source.image_shape,
        given=source.given,
        held_out=held_out,
        mirror=source.mirror and Path(spec).stem.lower() not in DIGITS,
        found=source.found,
        **splits,
    )


def is_folder(spec: str | Path) -> bool:
    """Whether `spec` names a folder of images; a name of NAMED never does, even if there is a folder of that name."""
    return spec not in NAMED and Path(spec).expanduser().is_dir()


def _read(spec):
    if spec in NAMED:
        return NAMED[spec]()
    path = Path(spec).expanduser()
    if path.is_file():
        _check_kind(path)
        return read_npz(path)
    hint = "check the path; it is taken from the working folder"
    if "://" in str(spec):
        message = f"{str(spec)!r} is an address; data are files of this machine"
        raise RequestError(message, "download and unpack it, and give the folder")
    if path.suffix or len(path.parts) > 1:
        raise RequestError(f"no file or folder {str(spec)!r}", hint)
    if nearest(spec, NAMED):
        raise unknown("data spec", spec, [*NAMED, "the path of a .npz file", "the path of a folder of class folders"])
    raise RequestError(f"no file or folder {str(spec)!r}, and no data set of that name ({', '.join(NAMED)})", hint)


def _check_kind(path):
    """Refuses the files that people give in place of a folder; whether a .npz is whole `read_npz` tells."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        message = f"{path} is one image; data are a .npz file or a folder of class folders"
        raise RequestError(message, f"give the folder that holds the class folders: {FOLDERS}")
    if suffix in ARCHIVES and not _holds_arrays(path):
        message = f"{path} is an archive; data are a .npz file or a folder of class folders"
        raise RequestError(message, f"unpack it and give the folder that holds the class folders: {FOLDERS}")
    if suffix != ".npz" and not zipfile.is_zipfile(path):
        message = f"{path} is no .npz file; data are a .npz file or a folder of class folders"
        raise RequestError(message, f"save arrays with numpy.savez, or give a folder: {FOLDERS}")


def _holds_arrays(path):
    """Whether a file is a .npz under another name; a damaged one is not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _height_width(image_size):
    if image_size is None:
        return None
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        message = f"image_size={image_size} was given; allowed are 1 pixel to {MAX_PIXELS / 1e6:.0f} million"
        raise RequestError(message, "pass the size that the model takes, e.g. 224")
    return height, width


def _of_size(spec, source, size, resize):
    """`source`, unless another size than its own is asked for, which is refused: enlarging small arrays gains
    nothing."""
    if resize != resizing.DEFAULT:
        message = f"resize={resize} was given; {spec} holds arrays, which are never resized"
        raise RequestError(message, "leave `--resize` out; it is for folders of images")
    height, width, _ = source.image_shape
    if size not in (None, (height, width)):
        message = f"{spec} has images of {height} x {width}, {size[0]} x {size[1]} was asked for"
        raise RequestError(message, "leave `--image-size` out; it brings the files of an image folder to one size")
    return source


def _positions(source, seed, held_out):
    """{split: its positions in the source, rising}; where a source has only val/, test gets the positions of
    validation."""
    train, validation, test = np.split(np.arange(len(source.labels)), np.cumsum(source.given)[:2])
    if len(validation) and not len(test):
        test = validation
    if not len(test):
        train, test = hold_out(train, source.labels[train], TEST_SHARE, seed, 0)
    if not len(validation):
        train, validation = hold_out(train, source.labels[train], held_out, seed, 1)
    return {"train": train, "validation": validation, "test": test}


def _check_classes(spec, source, parts, labelled):
    for name, positions in parts.items():
        if not len(positions):
            raise RequestError(f"{spec}: the {name} split is empty", "give more images: 3 or more of each class")
    if not labelled:
        return
    trained = set(source.labels[parts["train"]])
    if len(trained) < 2:
        only = ", ".join(_names(source, trained))
        raise RequestError(f"{spec} has one class only: {only}", "a classifier needs images of two classes or more")
    for name in ("validation", "test"):
        held = set(source.labels[parts[name]])
        if held - trained:
            message = f"{spec}: {name} has classes that train lacks: {', '.join(_names(source, held - trained))}"
            raise RequestError(message, "add training images of these classes, or remove them")
        if trained - held:
            lacking = ", ".join(_names(source, trained - held))
            warnings.warn(f"{spec}: {name} has no images of these classes: {lacking}", stacklevel=3)


def _names(source, labels):
    return [source.class_names[label] if source.class_names else str(label) for label in sorted(labels)]


def _take(source, positions):
    return Split(
        labels=source.labels[positions],
        indices=positions.astype(np.int64),
        image_shape=source.image_shape,
        resize=source.resize,
        images=None if source.images is None else source.images[positions],
        paths=None if source.paths is None else tuple(source.paths[position] for position in positions),
    )
