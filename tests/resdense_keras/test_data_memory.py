"""What of memory and processors this process may use: the machine's, a container's, or what a variable says."""

import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest

from resdense_keras import data, preprocessing
from resdense_keras.data import cgroups, memory, pool
from resdense_keras.errors import RequestError

GIB = 2**30


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Writes the files of a control group, {name: text}, that this process is in."""
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "groups")
    monkeypatch.setattr(cgroups, "MEMBERSHIP", tmp_path / "membership")

    def write(folder, **files):
        place = tmp_path / "groups" / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (place / name.replace("__", ".")).write_text(f"{text}\n")

    (tmp_path / "membership").write_text("5:memory:/jobs/mine\n3:cpu,cpuacct:/jobs/mine\n0::/jobs/mine\n")
    return write


def test_container_of_the_second_kind_leaves_what_it_does_not_use(group):
    group("", memory__max=GIB, memory__current=700_000, memory__stat="anon 5\ninactive_file 200000")
    assert cgroups.free_bytes() == GIB - 500_000
    assert memory.available_bytes() == GIB - 500_000


def test_container_of_the_first_kind_leaves_what_it_does_not_use(group):
    group(
        "memory",
        memory__limit_in_bytes=GIB,
        memory__usage_in_bytes=700_000,
        memory__stat="inactive_file 1\ntotal_inactive_file 200000",
    )
    assert cgroups.free_bytes() == GIB - 500_000


def test_tightest_of_the_groups_around_a_process_counts(group):
    group("jobs/mine", memory__max=GIB, memory__current=1000)
    group("jobs", memory__max=GIB // 2, memory__current=GIB // 4)
    group("", memory__max="max", memory__current=GIB)
    assert cgroups.free_bytes() == GIB // 4
    group("jobs/mine", memory__max=1000, memory__current=5000)
    assert cgroups.free_bytes() == 0


@pytest.mark.parametrize("limit", ["max", 9223372036854771712])
def test_group_without_a_limit_limits_nothing(group, limit):
    group("", memory__max=limit, memory__current=5)
    assert memory.available_bytes() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_variable_replaces_the_free_memory(group, monkeypatch):
    group("", memory__max=1000, memory__current=500)
    monkeypatch.setenv(memory.VARIABLE, "12345")
    assert memory.available_bytes() == 12345 and memory.most_pixel_bytes() == 2469
    for wrong in ("1e9", "-5", "many"):
        monkeypatch.setenv(memory.VARIABLE, wrong)
        with pytest.raises(RequestError, match=f"RESDENSE_FREE_BYTES={wrong} is set; it must be a whole number"):
            memory.available_bytes()


@pytest.mark.parametrize(
    ("folder", "files", "expected"),
    [
        ("", {"cpu__max": "150000 100000"}, 2),
        ("", {"cpu__max": "max 100000"}, None),
        ("jobs/mine", {"cpu__max": "20000 100000"}, 1),
        ("cpu", {"cpu__cfs_quota_us": "300000", "cpu__cfs_period_us": "100000"}, 3),
        ("cpu", {"cpu__cfs_quota_us": "-1", "cpu__cfs_period_us": "100000"}, None),
    ],
)
def test_container_gives_whole_processors(group, folder, files, expected):
    group(folder, **files)
    assert cgroups.processors() == expected
    assert pool.usable_processors() == min(expected or 10_000, len(psutil.Process().cpu_affinity()))


def test_all_decoding_shares_the_threads_of_one_pool():
    names = set()
    for _ in range(3):
        pool.try_all(lambda _: names.add(threading.current_thread().name), range(50))
    assert 1 <= len(names) <= pool.usable_processors()
    assert all(name.startswith("decode") for name in names)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_decodes_with_threads_of_its_own():
    code = """
import os, signal
from resdense_keras.data import pool
pool.try_all(abs, range(9))
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(sum(pool.try_all(abs, range(4))[0]))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["6"]


# Statistics of pixels


def test_statistics_are_those_of_all_pixels_however_they_come():
    images = np.random.default_rng(0).integers(0, 256, (300, 7, 9, 3), dtype=np.uint8)
    found = preprocessing.measured(images)
    np.testing.assert_allclose(found.mean, images.mean(axis=(0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(found.std, images.std(axis=(0, 1, 2)), atol=1e-4)
    assert preprocessing.measured(iter(np.array_split(images, 7))) == found


def test_statistics_of_a_constant_channel_do_not_divide_by_zero():
    assert preprocessing.measured(np.full((5, 2, 2, 1), 7, np.uint8)).std == (1.0,)


def test_statistics_of_no_pixels_are_refused():
    with pytest.raises(RequestError, match="no images were given"):
        preprocessing.measured(iter([]))


def test_blocks_are_the_images_in_their_order_and_small(tmp_path):
    digits = data.load("digits").train
    blocks = list(digits.blocks(count=100))
    assert {len(block) for block in blocks[:-1]} == {100}
    np.testing.assert_array_equal(np.concatenate(blocks), digits.images)
    chosen = np.array([5, 3, 900])
    np.testing.assert_array_equal(np.concatenate(list(digits.blocks(chosen, count=2))), digits.images[chosen])
