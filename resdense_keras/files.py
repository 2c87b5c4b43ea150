"""Writes all files of this project such that a file under its final name is always complete.

A file or folder is written under a temporary name beside its place, flushed to the disk (fsync) and renamed. A reader
sees the old one or the new one, never a part, even if the writer is killed, fails or runs out of disk. Keras' own
savers write in place: killed in a loop, they destroyed 24 of 30 good files.

A temporary name holds the pid and the start time of its process, so the next write of the same target removes what a
killed process has left, and nothing that a running one needs. filelock and psutil, which support all systems, are
imported where they are used.
"""

import contextlib
import errno
import fnmatch
import hashlib
import itertools
import json
import os
import re
import shutil
import sys
import warnings
from pathlib import Path

from resdense_keras.errors import RequestError, WorkError

MANIFEST = "manifest.json"
# These change after the manifest is written and have their own checks.
GROWING = ("report.*", "metrics.jsonl", "checkpoints/*", "tensorboard/*")

_NEW, _OLD = ".new-", ".old-"  # kinds of temporary names: the new target, and the old folder that was moved away
_COUNTER = itertools.count()

_REASONS = {
    errno.ENOSPC: ("no space left on the disk", "free some space, or choose a folder on another disk"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose a folder on another disk"),
    errno.EFBIG: ("the file is larger than this file system or `ulimit -f` allows", "choose a folder on another disk"),
    errno.EACCES: ("permission denied", "choose a folder that you may write to"),
    errno.EPERM: ("permission denied", "choose a folder that you may write to"),
    errno.EROFS: ("the file system is read-only", "choose a folder on another disk"),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", "choose another folder"),
    errno.EEXIST: ("a part of this path is a file, not a folder", "choose another folder"),
    errno.EISDIR: ("a folder with this name is in the way", "choose another name, or remove the folder"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "choose a shorter name"),
    errno.EIO: ("the disk reports an input/output error", "check the disk, or choose a folder on another one"),
}


# Errors of a system call that the file system does not support.
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


def write_bytes(path, data):
    """Writes `data` to `path`, whole or not at all; makes the folders above it."""
    with writing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path, text):
    """Writes `text` as UTF-8; see `write_bytes`. Characters that UTF-8 cannot hold (from foreign file names) become
    U+FFFD."""
    write_bytes(path, re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text).encode())


def write_json(path, obj):
    """Writes `obj` as indented JSON; a NaN raises a ValueError, because browsers refuse it."""
    text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # File names that are not UTF-8 reach us as lone surrogates; written as \udcXX they are JSON, and come back equal.
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def writing(path):
    """Gives a temporary path with the suffix of `path`, for savers that take a path; renamed to `path` on success.

    Raises:
        WorkError: the disk is full or read-only, permission is missing, or the path is impossible.
    """
    path = _real(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        temporary = _temporary(path, _NEW)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def new_folder(path, *, overwrite=False):
    """Gives a temporary folder beside `path`; renamed to `path` on success, removed if the body fails.

    With `overwrite` an old folder at `path` stays complete until the new one replaces it in one step. An empty folder
    does not count.

    Raises:
        RequestError: `path` is a file or a folder with content and `overwrite` is False, or replacing it would remove
            the home or the working folder.
        WorkError: as `writing`.
    """
    path = _real(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        check_replaceable(path, overwrite)
        temporary = _temporary(path, _NEW)
        temporary.mkdir()
        try:
            yield temporary
            for entry in temporary.rglob("*"):
                _sync(entry)
            check_replaceable(path, overwrite)  # again: hours may have passed
            _place_folder(temporary, path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # the unfinished new folder, or the old one that gave way


@contextlib.contextmanager
def lock(path):
    """Keeps every other run out of the folder `path` while the body runs.

    The system locks a hidden file beside the folder, so the lock ends with its process, however that dies. A file left
    by a killed run is taken over, and a reused pid cannot hold it. The pid in the file is only for the message. Some
    disks have no locks (NFS without its lock daemon, Lustre, FUSE): a warning says so, and the body runs without a
    lock.

    Raises:
        RequestError: another run, or this process itself, holds the lock; names its pid.
    """
    path = _real(path)
    file = path.with_name(f".{path.name}.lock")
    with _explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(file, path)
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # Windows removes no open file: it stays, without a lock
            file.unlink(missing_ok=True)  # before the lock is given up, or a successor's file would go
        os.close(descriptor)


def check_writable(path, need_bytes=0):
    """Fails now, instead of after an hour of work, where `path` cannot be written or has too little space.

    Args:
        path: A file or folder, which need not exist yet.
        need_bytes: Free space that the work will need.
    Raises:
        WorkError: says which of the two, with the bytes needed and free.
    """
    path = _real(path)
    with _explained(path):
        folder = next(place for place in (path, *path.parents) if place.exists())
        folder = folder.parent if folder == path and path.is_file() else folder
        probe = _temporary(folder / "probe", _NEW)
        probe.touch()
        probe.unlink()
        total, _, free = shutil.disk_usage(folder)
    if total and free < need_bytes:  # a disk of size 0 does not tell its size
        raise WorkError(
            f"cannot write {path}: about {need_bytes / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free",
            _REASONS[errno.ENOSPC][1],
        )


def write_manifest(folder, *, grows=GROWING):
    """Writes manifest.json: size and sha256 of each file in `folder`, except those that match `grows` and hidden
    ones."""
    folder = Path(folder)
    names = [name for name in _names(folder) if not _matches(name, grows)]
    content = {
        "schema": "resdense-manifest/1",
        "grows": list(grows),
        "files": {name: _fingerprint(folder / name) for name in names},
    }
    write_json(folder / MANIFEST, content)


def verify_manifest(folder):
    """One sentence for each file of `folder` that is not as it was written; an empty list where all are.

    Only files found in the folder are opened: names in a foreign manifest are compared, never used as paths.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        known, grows = dict(manifest["files"]), list(manifest["grows"])
        found = [name for name in _names(folder) if not _matches(name, grows)]
        return [problem for name in sorted({*known, *found}) if (problem := _compare(folder, name, known, found))]
    except FileNotFoundError:
        return [f"{MANIFEST} is missing"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{MANIFEST} cannot be used: {error!r}"]


def _compare(folder, name, known, found):
    """One sentence on what is wrong with the file `name`, or None."""
    if name not in found:
        return f"{name}: is missing"
    if name not in known:
        return f"{name}: is not in the manifest"
    now = _fingerprint(folder / name)
    if now["bytes"] != known[name]["bytes"]:
        return f"{name}: has {now['bytes']} bytes, the manifest says {known[name]['bytes']}"
    return None if now == known[name] else f"{name}: its sha256 is not the manifest's"


def _fingerprint(path):
    with path.open("rb") as file:
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _names(folder):
    """The files under `folder` that a manifest lists, as sorted relative names; hidden files are left out."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = (path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
    return sorted(name for name in visible if name != MANIFEST)


def _matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _real(path):
    """`path` as an absolute path without links, so that the target of a link is replaced and not the link."""
    return Path(os.path.realpath(path))


@contextlib.contextmanager
def _explained(path):
    """Turns the OSErrors that a user can cause into a WorkError with a hint."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        reason, hint = _REASONS[error.errno]
        raise WorkError(f"cannot write {path}: {reason}", hint) from error


def check_replaceable(path, overwrite, marker=None):
    """Raises the error of `new_folder` where a folder may not be made or replaced at `path`.

    Args:
        marker: Name of a file that every folder holds which may be replaced; without it the folder is something else,
            such as a training run. None: any folder may be.
    """
    path = _real(path)
    if path.is_file():
        raise RequestError(f"{path} is a file, a folder is to be made there", "choose another folder")
    if not path.exists() or not any(path.iterdir()):
        return
    foreign = marker and not (path / marker).is_file()
    if not overwrite:
        hint = "choose another folder" if foreign else "pass `--overwrite` to replace it"
        raise RequestError(f"{path} exists and is not empty", hint)
    if any(kept.is_relative_to(path) for kept in (_real("."), _real(os.environ.get("HOME", ".")))):
        raise RequestError(f"replacing {path} would remove the home or the working folder", "choose another folder")
    if foreign:
        holds = ", ".join(sorted(inside.name for inside in path.iterdir())[:3])
        message = f"{path} holds {holds} and no {marker}, so it is not what this command made, and is not replaced"
        raise RequestError(message, "choose another folder, or remove this one yourself")


def _prefix(path, kind):
    """Start of the temporary names of `path`: a digest, because the name itself may already have the greatest
    length."""
    return kind + hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]


def _temporary(path, kind):
    """A new name beside `path` that identifies its owner: kind, target, pid, start of the process, a counter,
    suffix."""
    pid = os.getpid()
    return path.with_name(f"{_prefix(path, kind)}-{pid}-{_started(pid)}-{next(_COUNTER)}{path.suffix}")


def _started(pid):
    """Start time of a process in hundredths of a second, which tells it from a later one with its pid; None if it is
    gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(100 * process.create_time())
    except psutil.NoSuchProcess:
        return None


def _is_alive(pid, started):
    """Whether the process that began at this time still runs; a second's difference is allowed, because clocks get
    adjusted."""
    now = _started(pid)
    return now is not None and abs(now - started) <= 100


def _sweep(path):
    """Removes what killed runs have left beside `path`; first puts back an old folder that was moved away but not
    replaced."""
    prefixes = _prefix(path, _OLD), _prefix(path, _NEW)
    for leftover in [entry for entry in path.parent.iterdir() if entry.name.startswith(prefixes)]:
        pid, started = leftover.name.split("-")[2:4]
        if _is_alive(int(pid), int(started)):
            continue
        if leftover.name.startswith(_OLD) and not path.exists():
            leftover.rename(path)
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _place_folder(new, path):
    """Renames `new` to `path`; a folder that was there is afterwards found under the name `new`."""
    if path.exists() and any(path.iterdir()):
        if not _exchange(new, path):
            _replace_in_two_renames(new, path)
    else:
        new.rename(path)


def _exchange(first, second):
    """Swaps two names in one step; False where the kernel or the file system cannot (NFS, some FUSE)."""
    if sys.platform != "linux":
        return False
    import ctypes  # most writers never overwrite a folder

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of <linux/fs.h>
    if rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_SUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(second))


def _replace_in_two_renames(new, path):
    """Two renames, where one step is impossible: after a kill between them the old folder waits under its `_OLD` name
    for `_sweep`."""
    aside = _temporary(path, _OLD)
    path.rename(aside)
    try:
        new.rename(path)
    except OSError:
        aside.rename(path)
        raise
    aside.rename(new)


def _acquire(file, path):
    """Descriptor of `file`, locked where the disk has locks, with this process' pid in it."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        locked = _try_to_lock(descriptor, path)
        if locked is False:
            holder = _holder(descriptor)
            os.close(descriptor)
            message = f"another run is writing to {path} (process {holder})"
            raise RequestError(message, "wait for it to end, or choose another folder")
        if locked is None or _still_named(descriptor, file):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            return descriptor
        os.close(descriptor)  # its holder ended and removed the file between our open and our lock


def _try_to_lock(descriptor, path):
    """True when locked, False where another process holds the lock, None (with a warning) where the disk has no
    locks."""
    import filelock

    try:
        return filelock.lock_descriptor(descriptor, blocking=False)
    except OSError as error:
        warnings.warn(
            f"the disk of {path} has no locks ({error.strerror or error}): "
            "nothing keeps a second run out of this folder, so start only one",
            stacklevel=2,
        )
        return None


def _holder(descriptor):
    """The pid in a lock's file; Windows lets nobody read what another process has locked."""
    try:
        return os.read(descriptor, 32).decode() or "unknown"
    except OSError:
        return "unknown"


def _still_named(descriptor, file):
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _sync(path):
    """Flushes a file, or the list of names of a folder, to the disk."""
    windows = sys.platform == "win32"
    if windows and path.is_dir():
        return  # it opens no folders
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:  # file systems that cannot sync a folder
            raise
    finally:
        os.close(descriptor)
