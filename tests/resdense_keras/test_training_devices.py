"""Several devices train as one does: the same batches, the same weights."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resdense_keras.errors import RequestError, WorkError
from resdense_keras.training import devices, hosts, state

SCRIPT = Path(__file__).with_name("device_steps.py")
TOLERANCE = 1e-5  # of a weight after five steps; float32 sums in another order differ by 1e-6


def start(out, *how, backend="tensorflow"):
    environment = os.environ | {"KERAS_BACKEND": backend}
    return subprocess.Popen(
        [sys.executable, SCRIPT, out, *how], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def finish(process):
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors[-2000:]


def difference(first, second):
    with np.load(first) as a, np.load(second) as b:
        assert a.files == b.files
        return max(np.abs(a[name] - b[name]).max() for name in a.files)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Weights after five steps on one device."""
    out = tmp_path_factory.mktemp("alone") / "one.npz"
    finish(start(out, "one"))
    return out


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.slow
def test_two_devices_with_synchronized_norms_train_as_one(alone, tmp_path):
    finish(start(tmp_path / "two.npz", "synchronized"))
    assert difference(alone, tmp_path / "two.npz") < TOLERANCE


@pytest.mark.slow
def test_without_synchronization_norms_differ_from_one_device(alone, tmp_path):
    finish(start(tmp_path / "two.npz", "mirrored"))
    assert difference(alone, tmp_path / "two.npz") > TOLERANCE


@pytest.mark.slow
def test_two_processes_train_as_one_device(alone, tmp_path):
    port = str(free_port())
    both = [start(tmp_path / f"{number}.npz", port, str(number), backend="jax") for number in (0, 1)]
    for process in both:
        finish(process)
    assert difference(alone, tmp_path / "0.npz") < TOLERANCE
    assert not (tmp_path / "1.npz").exists()  # process 0 alone writes


@pytest.mark.slow
def test_two_processes_make_one_run_folder(tmp_path):
    """The command line's own way, held-out images and all."""
    command = [sys.executable, "-m", "resdense_cli", "train", "resnet20", "--data", "digits", "--recipe", "compare"]
    command += ["--set", "width=2", "--epochs", "1", "--out", tmp_path / "run", "--processes", "2"]
    command += ["--coordinator", f"127.0.0.1:{free_port()}"]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    both = [
        subprocess.Popen([*command, "--process", number], env=environment, stderr=subprocess.PIPE, text=True)
        for number in ("0", "1")
    ]
    for process in both:
        finish(process)
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    assert {"model.keras", "manifest.json", "config.yaml"} <= {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.long
def test_two_hosts_of_which_one_is_stopped_go_on_to_the_same_weights(tmp_path):
    """SIGTERM to the host that does not write, in the middle of an epoch; dropout and mixing, to the bit."""
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (180, 8, 8, 3), np.uint8), np.arange(180) % 3
    np.savez(tmp_path / "noise.npz", x_train=pixels, y_train=labels, x_test=pixels[:9], y_test=labels[:9])
    stopped, signalled = both_hosts(tmp_path, "begin")
    assert signalled.returncode == 128 + signal.SIGTERM, signalled.errors
    assert stopped.returncode == 1 and "another host was stopped" in stopped.errors, stopped.errors
    _, place = state.load(tmp_path / "cut" / "checkpoints" / "state.safetensors")
    assert (place["epoch"], place["step"]) == (1, 3)
    for host in both_hosts(tmp_path, "go-on"):
        assert host.returncode == 0, host.errors
        assert "going on in epoch 2 after step 3" in host.told
        assert f"{tmp_path / 'cut'} is finished" in host.told
    arrays, expected = (
        state.load(tmp_path / run / "checkpoints" / "state.safetensors")[0] for run in ("cut", "through")
    )
    assert [name for name in expected if not np.array_equal(arrays[name], expected[name])] == []


def both_hosts(folder, what):
    """The two ended processes, with what they wrote as `told` and `errors`."""
    port, environment = str(free_port()), os.environ | {"KERAS_BACKEND": "jax"}
    script = SCRIPT.with_name("stopped_hosts.py")
    both = [
        subprocess.Popen(
            [sys.executable, script, folder / "noise.npz", folder, port, number, what],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in ("0", "1")
    ]
    for process in both:
        process.told, process.errors = process.communicate(timeout=400)
    return both


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(RequestError, match="99 devices were asked for; this machine has 1"):
        devices.choose("99")


@pytest.mark.parametrize("given", ["none", "0", "-1", "1.5"])
def test_devices_are_all_or_a_number(given):
    with pytest.raises(RequestError, match="allowed: all, or a number of 1 or more"):
        devices.choose(given)


def test_a_batch_that_cannot_be_shared_is_refused():
    three = devices.OneDevice()
    three.count = 3
    with pytest.raises(RequestError, match="it must be a multiple of 3") as error:
        devices.check_batch(three, 128)
    assert error.value.hint == "pass --batch-size 129"


@pytest.mark.parametrize(
    "coordinator, process, processes, message",
    [
        ("node0", 0, 2, "it takes HOST:PORT"),
        ("node0:port", 0, 2, "it takes HOST:PORT"),
        ("node0:1234", 2, 2, "process must be 0 to processes - 1"),
        ("node0:1234", None, 2, "process must be 0 to processes - 1"),
        ("node0:1234", 0, None, "process must be 0 to processes - 1"),
    ],
)
def test_a_wrong_place_among_the_hosts_is_refused(coordinator, process, processes, message):
    with pytest.raises(RequestError, match=message):
        hosts.connect(coordinator, process, processes)


def test_hosts_need_the_jax_backend(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(RequestError, match="Keras' JAX backend, this process uses tensorflow") as error:
        hosts.connect("localhost:1234", 0, 2)
    assert error.value.hint == "set KERAS_BACKEND=jax before the command"


def test_a_coordinator_that_never_answers_is_named(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    port = free_port()
    with pytest.raises(WorkError, match=f"coordinator 127.0.0.1:{port} did not answer within 1 s"):
        hosts.connect(f"127.0.0.1:{port}", 1, 2, seconds=1)


def test_a_host_that_never_comes_is_named(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(WorkError, match=r"processes \[1, 2\] of 3 did not come to port"):
        hosts.connect(f"127.0.0.1:{free_port()}", 0, 3, seconds=1)
