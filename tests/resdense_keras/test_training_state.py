"""Laws of the state file: whole or refused, whatever kills the process or fills the disk."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from resdense_keras import RequestError, WorkError
from resdense_keras.training import state

ARRAYS = {
    "weight": np.arange(12, dtype="float32").reshape(3, 4),
    "steps": np.array(7, "int64"),
    "seed": np.array([1, 2**32 - 1], "uint32"),
    "empty": np.zeros((0, 3), "float32"),
}


@pytest.fixture
def saved(tmp_path):
    state.save(tmp_path / "state.safetensors", ARRAYS, {"epoch": 3})
    return tmp_path / "state.safetensors"


def test_a_state_comes_back_to_the_bit(saved):
    arrays, place = state.load(saved)
    assert place == {"epoch": 3} and arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_half_a_file_is_refused(saved, share):
    saved.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    with pytest.raises(RequestError, match=r"state\.safetensors is damaged"):
        state.load(saved)


def test_every_changed_bit_is_refused(saved):
    data = saved.read_bytes()
    for place in random.Random(0).sample(range(8, len(data)), 100):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        saved.write_bytes(damaged)
        with pytest.raises(RequestError):
            state.load(saved)


def test_another_version_and_another_kind_of_file_are_named(saved, monkeypatch):
    monkeypatch.setattr(state, "SCHEMA", "resdense-state/2")
    with pytest.raises(RequestError, match=r"resdense-state/1 is in it, resdense-state/2 is read here"):
        state.load(saved)
    from safetensors.numpy import save_file

    save_file({"weight": ARRAYS["weight"]}, saved)
    with pytest.raises(RequestError, match="not a state of this version"):
        state.load(saved)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_state_that_is_not_finite_never_replaces_a_good_one(saved, value):
    before = saved.read_bytes()
    with pytest.raises(WorkError, match="weight is not finite"):
        state.save(saved, {"weight": np.array([1, value], "float32")}, {})
    assert saved.read_bytes() == before


# Saves for ever; each state counts one further, in every value, so that a mixture of two would show.
SAVER = """
import sys
from pathlib import Path
import numpy as np
from resdense_keras.training import state
path = Path(sys.argv[1])
count = state.load(path)[1]["count"] if path.exists() else 0
while True:
    count += 1
    state.save(path, {f"w{n}": np.full(50_000, count, "float32") for n in range(8)}, {"count": count})
    assert "tensorflow" not in sys.modules and "keras" not in sys.modules
    print(count, flush=True)
"""


@pytest.mark.slow
def test_of_forty_kills_and_more_while_saving_each_loses_at_most_one_state(tmp_path):
    path, moments = tmp_path / "state.safetensors", random.Random(0)
    kills = mid_write = 0
    while kills < 40 or (mid_write < 10 and kills < 400):  # a busy machine writes less often
        kills += 1
        child = subprocess.Popen([sys.executable, "-c", SAVER, path], stdout=subprocess.PIPE, text=True)
        told = int(child.stdout.readline())  # it has begun
        time.sleep(moments.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        told = int((child.stdout.read().split() or [told])[-1])
        child.wait()
        mid_write += any(entry.name.startswith(".new-") for entry in tmp_path.iterdir())
        arrays, place = state.load(path)
        assert place["count"] in (told, told + 1)
        assert all((array == place["count"]).all() for array in arrays.values())
    assert mid_write >= 10, f"{kills} kills fell between the writes, and show nothing"
    state.save(path, ARRAYS, {})
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system of 6 MB needs root")
def test_a_full_disk_leaves_the_state_before_it_whole(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        path = disk / "checkpoints" / "state.safetensors"
        state.save(path, {"w": np.ones(900_000, "float32")}, {"epoch": 1})
        before = hashlib.sha256(path.read_bytes()).hexdigest()
        with pytest.raises(WorkError, match=r"cannot write .*no space left on the disk"):
            state.save(path, {"w": np.ones(1_000_000, "float32")}, {"epoch": 2})
        assert hashlib.sha256(path.read_bytes()).hexdigest() == before
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    finally:
        subprocess.run(["umount", disk], check=True)
