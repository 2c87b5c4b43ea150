"""What has its final name is whole: killed, out of disk, with four writers at once, under odd names."""

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resdense_keras import files
from resdense_keras.errors import RequestError, WorkError

# Children load files.py and errors.py without the package's own imports: a start takes 50 ms and not seconds.
CHILD_START = f"""
import hashlib, itertools, os, pathlib, sys, time, types
package = types.ModuleType("resdense_keras")
package.__path__ = [{str(Path(files.__file__).parent)!r}]
sys.modules["resdense_keras"] = package
from resdense_keras import files
target = pathlib.Path(sys.argv[1])
"""

SAVER = """
def save(step):
    state = step.to_bytes(8, "big") + os.urandom(300_000)
    files.write_bytes(target, state + hashlib.sha256(state).digest())

first = int.from_bytes(target.read_bytes()[:8], "big") + 1 if target.exists() else 0
for step in itertools.count(first):
    save(step)
    print(step, flush=True)
"""

FOLDER_SAVER = """
for step in itertools.count(int(sys.argv[2])):
    with files.new_folder(target, overwrite=True) as folder:
        for name in "abcd":
            (folder / name).write_text(str(step))
    print(step, flush=True)
"""

WRITER = """
for _ in range(200):
    body = sys.argv[2].encode() * 20_000
    files.write_bytes(target, body + hashlib.sha256(body).digest())
"""

LOCKER = """
with files.lock(target):
    print("locked", flush=True)
    time.sleep(60)
"""


def start(code, *arguments):
    command = [sys.executable, "-c", CHILD_START + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill_after(child, seconds):
    """SIGKILLs `child` that long after its first line; gives the lines that it had printed."""
    first = child.stdout.readline()
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    lines = [first, *child.communicate()[0].splitlines()]
    return [int(line) for line in lines if line.strip()]


def whole(data):
    return hashlib.sha256(data[:-32]).digest() == data[-32:]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MB of its own."""
    yield from mounted(tmp_path / "disk", "size=6m")


@pytest.fixture
def read_only_disk(tmp_path):
    """Permission bits do not stop root; a file system that is mounted read-only stops everyone."""
    yield from mounted(tmp_path / "read-only", "size=1m,ro")


def mounted(folder, options):
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"mounting a tmpfs needs root: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_saver_killed_40_times_loses_no_save_that_it_had_reported(tmp_path):
    target, chance, interrupted = tmp_path / "state.bin", random.Random(0), 0
    for _ in range(40):
        reported = kill_after(start(SAVER, target), chance.uniform(0, 0.03))
        assert whole(target.read_bytes())
        assert int.from_bytes(target.read_bytes()[:8], "big") in (reported[-1], reported[-1] + 1)
        interrupted += len(names(tmp_path)) > 1
    assert interrupted > 5, "too few kills hit the middle of a save to show anything"
    files.write_bytes(target, b"the next run")
    assert names(tmp_path) == ["state.bin"], "leftovers of the killed runs"


def test_folder_killed_while_it_is_replaced_is_the_old_or_the_new_one(tmp_path):
    target, chance, step = tmp_path / "bundle", random.Random(1), 0
    for _ in range(15):
        reported = kill_after(start(FOLDER_SAVER, target, step), chance.uniform(0, 0.02))
        assert names(target) == list("abcd")
        contents = {path.read_text() for path in target.iterdir()}
        assert len(contents) == 1 and int(contents.pop()) >= reported[-1]
        step = reported[-1] + 1
    with files.new_folder(target, overwrite=True):
        pass
    assert names(tmp_path) == ["bundle"]


def test_four_writers_of_one_file_never_show_a_torn_one(tmp_path):
    target = tmp_path / "shared.bin"
    files.write_bytes(target, b"start" + hashlib.sha256(b"start").digest())
    writers = [start(WRITER, target, letter) for letter in "abcd"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        data = target.read_bytes()
        assert whole(data)
        seen.add(data[:1])
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    assert len(seen) > 1, "the reader met one writer only, so it has shown nothing"
    assert names(tmp_path) == ["shared.bin"]


def test_full_disk_keeps_the_previous_file_and_leaves_nothing_behind(small_disk):
    target = small_disk / "state.bin"
    files.write_bytes(target, b"good" * 500_000)
    with pytest.raises(WorkError, match=r"cannot write .*/state\.bin: no space left on the disk"):
        files.write_bytes(target, bytes(5_000_000))
    assert target.read_bytes() == b"good" * 500_000
    assert names(small_disk) == ["state.bin"]


def test_full_disk_keeps_the_previous_folder_and_leaves_nothing_behind(small_disk):
    target = small_disk / "bundle"
    with files.new_folder(target) as folder:
        (folder / "file").write_bytes(b"good")
    with pytest.raises(WorkError, match="no space left"), files.new_folder(target, overwrite=True) as folder:
        (folder / "file").write_bytes(bytes(9_000_000))
    assert (target / "file").read_bytes() == b"good"
    assert names(small_disk) == ["bundle"]


def test_too_little_space_is_known_before_the_work(small_disk):
    files.check_writable(small_disk / "new" / "run", need_bytes=3_000_000)
    with pytest.raises(WorkError, match=r"about 900 MB are needed and [56] MB are free"):
        files.check_writable(small_disk / "new" / "run", need_bytes=900_000_000)
    assert names(small_disk) == []


def test_read_only_folder_fails_within_three_seconds(read_only_disk):
    begin = time.monotonic()
    for attempt in (files.check_writable, lambda path: files.write_text(path, "x")):
        with pytest.raises(WorkError, match="the file system is read-only"):
            attempt(read_only_disk / "run")
    with pytest.raises(WorkError, match="the file system is read-only"), files.new_folder(read_only_disk / "run"):
        pass
    assert time.monotonic() - begin < 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root ignores permission bits")
def test_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WorkError, match="permission denied"):
        files.write_text(tmp_path / "file", "x")


@pytest.mark.parametrize("name", ["größe 模型.json", "two  spaces", 'it\'s "quoted"', "-dash", "new\nline", "a" * 255])
def test_any_name_works(tmp_path, name):
    files.write_text(tmp_path / name / name, "ü")
    assert (tmp_path / name / name).read_text() == "ü"
    with files.new_folder(tmp_path / name, overwrite=True) as folder:
        (folder / "inside").touch()
    assert names(tmp_path) == [name] and names(tmp_path / name) == ["inside"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file/below", "a part of this path is a file"),
        ("file/below/deeper", "a part of this path is a file"),
        ("n" * 256, "the name is too long"),
        ("folder", "a folder with this name is in the way"),
    ],
)
def test_path_that_cannot_be_written_is_explained(tmp_path, path, reason):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(WorkError, match=f"cannot write .*: {reason}") as caught:
        files.write_text(tmp_path / path, "x")
    assert caught.value.hint
    assert names(tmp_path) == ["file", "folder"]


def test_failing_saver_leaves_the_old_file_alone(tmp_path):
    target = tmp_path / "model.keras"
    files.write_text(target, "old")
    with pytest.raises(KeyboardInterrupt), files.writing(target) as temporary:
        assert temporary.suffix == ".keras" and temporary.parent == tmp_path
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old" and names(tmp_path) == ["model.keras"]


def test_json_is_utf8_and_strict(tmp_path):
    path = tmp_path / "x.json"
    undecodable = os.fsdecode(b"caf\xe9")
    files.write_json(path, {"name": "größe", "file": undecodable})
    assert "größe" in path.read_text()
    assert json.loads(path.read_bytes()) == {"name": "größe", "file": undecodable}
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, float("nan"))


def test_link_keeps_pointing_at_the_file_that_was_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    files.write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "x"


def test_folder_with_content_is_replaced_only_on_request(tmp_path):
    target = tmp_path / "out"
    (target / "sub").mkdir(parents=True)
    with pytest.raises(RequestError, match=r"not empty.*--overwrite"), files.new_folder(target):
        pytest.fail("the body must not run")
    with files.new_folder(target, overwrite=True) as folder:
        assert names(target) == ["sub"], "the old folder stays while the new one grows"
        (folder / "new").touch()
    assert names(target) == ["new"] and names(tmp_path) == ["out"]


def test_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "model.keras").touch()
    with pytest.raises(RequestError, match=r"holds model\.keras and no report\.json"):
        files.check_replaceable(tmp_path, True, marker="report.json")
    with pytest.raises(RequestError, match="not empty") as caught:
        files.check_replaceable(tmp_path, False, marker="report.json")
    assert "--overwrite" not in caught.value.hint
    (tmp_path / "report.json").touch()
    files.check_replaceable(tmp_path, True, marker="report.json")


def test_empty_folder_counts_as_none_and_a_file_as_a_mistake(tmp_path):
    (tmp_path / "empty").mkdir()
    with files.new_folder(tmp_path / "empty") as folder:
        (folder / "x").touch()
    with pytest.raises(RequestError, match="is a file"), files.new_folder(tmp_path / "empty" / "x", overwrite=True):
        pass
    assert names(tmp_path) == ["empty"] and names(tmp_path / "empty") == ["x"]


def test_folder_that_someone_filled_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(RequestError, match="not empty"), files.new_folder(tmp_path / "out"):
        files.write_text(tmp_path / "out" / "theirs", "x")
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["theirs"]


def test_working_and_home_folder_are_never_replaced(tmp_path, monkeypatch):
    (tmp_path / "work" / "here").mkdir(parents=True)
    (tmp_path / "home" / "me").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    monkeypatch.chdir(tmp_path / "work" / "here")
    for folder in (tmp_path / "work", tmp_path / "home"):
        with pytest.raises(RequestError, match="home or the working"), files.new_folder(folder, overwrite=True):
            pass


def test_file_systems_without_exchange_replace_in_two_renames(tmp_path):
    old, new = tmp_path / "out", tmp_path / "fresh"
    files.write_text(old / "file", "old")
    files.write_text(new / "file", "new")
    files._replace_in_two_renames(new, old)
    assert (old / "file").read_text() == "new" and (new / "file").read_text() == "old"
    assert names(tmp_path) == ["fresh", "out"]


def test_folder_lost_between_two_renames_comes_back_with_the_next_run(tmp_path):
    old = tmp_path / "out"
    files.write_text(old / "file", "old")
    first_half = "target.rename(files._temporary(target, files._OLD))"
    assert start(first_half, old).wait() == 0
    assert not old.exists()
    with pytest.raises(RequestError, match="--overwrite"), files.new_folder(old):
        pass
    assert (old / "file").read_text() == "old" and names(tmp_path) == ["out"]


def test_second_run_is_told_who_holds_the_folder(tmp_path):
    first = start(LOCKER, tmp_path / "run")
    assert first.stdout.readline() == "locked\n"
    told = rf"another run is writing to .*run \(process {first.pid}\)"
    with pytest.raises(RequestError, match=told), files.lock(tmp_path / "run"):
        pytest.fail("two runs hold the lock")
    first.kill()
    first.communicate()
    assert names(tmp_path) == [".run.lock"]
    with files.lock(tmp_path / "run"):
        assert (tmp_path / ".run.lock").read_text() == str(os.getpid())
    assert names(tmp_path) == []


def test_lock_file_with_the_pid_of_a_stranger_is_stale(tmp_path):
    (tmp_path / ".run.lock").write_text("1")  # alive, but it never locked this: the pid was given away again
    told = f"process {os.getpid()}"
    with files.lock(tmp_path / "run"), pytest.raises(RequestError, match=told), files.lock(tmp_path / "run"):
        pytest.fail("one process holds the lock twice")


@pytest.mark.parametrize("code", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_disk_without_locks_gets_a_warning_and_the_work_goes_on(tmp_path, monkeypatch, code):
    """NFS without its lock daemon, Lustre and FUSE answer so."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*arguments):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="has no locks"), files.lock(tmp_path / "run"):
        files.write_text(tmp_path / "run" / "file", "x")
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("code", ["EINVAL", "ENOSYS", "EOPNOTSUPP"])
def test_disk_that_cannot_sync_is_written_to(tmp_path, monkeypatch, code):
    def refuse(descriptor):
        raise OSError(getattr(errno, code), "x")

    monkeypatch.setattr(os, "fsync", refuse)
    files.write_text(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_what_a_living_writer_needs_is_not_swept(tmp_path):
    mine = files._temporary(tmp_path / "file", files._NEW)
    mine.write_text("half")
    prefix, pid, started, number = mine.name.rsplit("-", 3)
    earlier = mine.with_name(f"{prefix}-{pid}-{int(started) - 1000}-{number}")  # a process gone before this one came
    earlier.write_text("half")
    files.write_text(tmp_path / "file", "x")
    assert mine.exists() and not earlier.exists()


@pytest.fixture
def bundle(tmp_path):
    for name in ("a.tflite", "golden/0.png", "report.html", "metrics.jsonl", "checkpoints/1.npz", ".DS_Store"):
        files.write_text(tmp_path / name, f"content of {name}")
    files.write_manifest(tmp_path)
    return tmp_path


def test_manifest_accepts_what_was_written_and_what_grows(bundle):
    assert list(json.loads((bundle / "manifest.json").read_text())["files"]) == ["a.tflite", "golden/0.png"]
    for name in ("report.html", "metrics.jsonl", "checkpoints/1.npz", "checkpoints/2.npz", ".hidden"):
        (bundle / name).write_text("more")
    assert files.verify_manifest(bundle) == []


def test_manifest_finds_every_flipped_bit(bundle):
    path = bundle / "a.tflite"
    good = path.read_bytes()
    for bit in range(8 * len(good)):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert files.verify_manifest(bundle) == ["a.tflite: its sha256 is not the manifest's"]


def test_manifest_finds_missing_extra_and_short_files(bundle):
    (bundle / "golden" / "0.png").unlink()
    (bundle / "golden" / "1.png").touch()
    (bundle / "a.tflite").write_text("short")
    assert files.verify_manifest(bundle) == [
        "a.tflite: has 5 bytes, the manifest says 19",
        "golden/0.png: is missing",
        "golden/1.png: is not in the manifest",
    ]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": {"a.tflite": 3}, "grows": []}', '{"files": 3, "grows": []}']
)
def test_broken_manifest_is_a_problem_and_no_traceback(bundle, text):
    (bundle / "manifest.json").write_text(text)
    assert "manifest.json cannot be used" in files.verify_manifest(bundle)[0]


def test_missing_manifest_is_a_problem(tmp_path):
    assert files.verify_manifest(tmp_path) == ["manifest.json is missing"]
