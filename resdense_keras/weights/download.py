"""Files from Keras' own storage into the user's cache, each checked against its published checksum.

Two environment variables are read: `RESDENSE_HOME` is the cache folder (default: ~/.cache/resdense, or the one in
XDG_CACHE_HOME), `RESDENSE_WEIGHTS_URL` is the address of a mirror of the files: `resnet/...h5`, `densenet/...h5`,
`imagenet_class_index.json`.
"""

import logging
import os
import sys
from pathlib import Path

from ..errors import WorkError

BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
CLASS_INDEX_URL = "https://storage.googleapis.com/download.tensorflow.org/data"
CLASS_INDEX, CLASS_INDEX_MD5 = "imagenet_class_index.json", "c2c37ea517e94d9795004a39431a14cb"
SECONDS = 30  # without a byte


OFFLINE = "or take weights that need no network: resnet20 or densenet_bc22_16 with the name cifar10"


def fetch(weight_set, *, head=True):
    """Path of the file of a WeightSet, with or without its head; downloaded if it is not in the cache."""
    file, md5 = (weight_set.file, weight_set.md5) if head else (weight_set.notop_file, weight_set.notop_md5)
    return _fetched(BASE_URL, file, md5, f"up to {weight_set.megabytes} MB", f", {OFFLINE}")


def class_index():
    """Path of Keras' imagenet_class_index.json: {"0": ["n01440764", "tench"], ...}."""
    return _fetched(CLASS_INDEX_URL, CLASS_INDEX, CLASS_INDEX_MD5, "35 kB")


def cache_folder():
    """Folder of the downloads."""
    import pooch

    home = os.environ.get("RESDENSE_HOME")
    return (Path(home).expanduser() if home else pooch.os_cache("resdense")) / "weights"


def _fetched(base, file, md5, size, instead=""):
    """Path of `file` in the cache, verified by its checksum. Prints what it downloads before it does so.

    Raises:
        WorkError: there is no network, the file is not there, its checksum is wrong (the file is removed), or the disk
            is full or read-only.
    """
    import pooch

    url = f"{os.environ.get('RESDENSE_WEIGHTS_URL', base).rstrip('/')}/{file}"
    path = cache_folder() / Path(file).name
    pooch.get_logger().setLevel(logging.WARNING)  # it would say the same in its own words
    try:
        if not path.is_file() or pooch.file_hash(path, alg="md5") != md5:
            print(f"downloading {url} ({size}) to {path}", file=sys.stderr)
        pooch.retrieve(
            url,
            known_hash=f"md5:{md5}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(timeout=SECONDS),
        )
    except ValueError as error:  # the checksum; pooch has removed what it fetched
        raise WorkError(
            f"{url} is not the published file: {error}", "try again later; if it stays so, do not use that file"
        ) from error
    except OSError as error:  # requests' errors are OSErrors too
        raise WorkError(
            f"cannot download {url}: {type(error).__name__}: {str(error)[:200]}",
            f"check the connection, or put the file at {path} yourself, or pass a path as weights{instead}",
        ) from error
    return path
