"""`--deterministic`: the same command gives the same bits, in other processes and whatever else the machine does.

At full width and with the recipes' batches: smaller nets are not split among threads and repeat by themselves.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resdense_keras import RequestError, training
from resdense_keras.training.determinism import THREADS_VARIABLE

REPEATED_RUN = Path(__file__).with_name("repeated_run.py")


@pytest.fixture
def busy():
    """Another process that takes a core as long as a test runs."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield
    loop.kill()
    loop.wait()


def endings(net, batch, steps, backend="tensorflow"):
    """What two processes print that train at the same time, so that neither is left in peace."""
    command = [sys.executable, REPEATED_RUN, net, str(batch), str(steps)]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    found = [child.communicate(timeout=900) for child in children]
    assert [child.returncode for child in children] == [0, 0], found
    return [out for out, _ in found]


@pytest.mark.long
def test_a_deterministic_training_repeats_to_the_bit():
    """Twice in one process, as each process repeats itself as little as another where the flag does not hold."""
    done = subprocess.run([sys.executable, REPEATED_RUN, "resnet20", "128", "4", "2"], capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert first == second and float(first.split()[1]) > 0


@pytest.mark.parametrize(
    ("net", "backend"),
    [
        pytest.param("resnet20", "tensorflow", marks=pytest.mark.slow),
        pytest.param("densenet_bc22_16", "tensorflow", marks=pytest.mark.slow),
        pytest.param("resnet20", "jax", marks=pytest.mark.long),
        pytest.param("densenet_bc22_16", "jax", marks=pytest.mark.long),
    ],
)
def test_a_deterministic_training_repeats_at_full_width_on_a_busy_machine(busy, net, backend):
    first, second = endings(net, 128, 3, backend)
    assert first == second and float(first.split()[1]) > 0


@pytest.mark.long
def test_two_deterministic_comparisons_train_to_the_same_bits(tmp_path):
    """Both families at full width, in two processes at once: histories, accuracies and float files are equal."""
    random = np.random.default_rng(0)
    labels = np.arange(420) % 3
    pixels = random.integers(0, 200, (420, 32, 32, 3)) + 25 * labels[:, None, None, None]
    x, y = pixels.astype(np.uint8), labels
    np.savez(tmp_path / "data.npz", x_train=x[:360], y_train=y[:360], x_test=x[360:], y_test=y[360:])
    asked = ["compare", "resnet20", "densenet_bc22_16", "--data", "data.npz", "--epochs", "1", "--seeds", "1"]
    command = [sys.executable, "-m", "resdense_cli", *asked, "--deterministic", "--out"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    children = [subprocess.Popen([*command, name], **pipes) for name in ("one", "two")]
    said = [child.communicate(timeout=900)[1] for child in children]
    # After one epoch a file may fail a gate (exit 1); the report is there and says it.
    assert all(child.returncode in (0, 1) for child in children), said
    assert all((tmp_path / name / "report.json").is_file() for name in ("one", "two")), said
    first, second = (trained(tmp_path / name) for name in ("one", "two"))
    assert first == second and len(first) == 2


def trained(out):
    """{net: what its trainings ended in} of a folder of `compare`."""
    models = json.loads((out / "report.json").read_text())["models"]
    files = {
        model["name"]: {export["file"]: export["sha256"] for export in model["exports"] if export["scheme"] == "fp32"}
        for model in models
    }
    assert all(files.values())
    return {row["name"]: (row["history"], row["accuracy_by_seed"], files[row["name"]]) for row in models}


@pytest.mark.long
def test_a_deterministic_resnet18_repeats_on_a_busy_machine(busy):
    first, second = endings("resnet18", 32, 5)
    assert first == second and float(first.split()[1]) > 0


def test_determinism_is_refused_where_tensorflow_runs_several_operations_at_once_already(monkeypatch):
    import tensorflow as tf

    tf.constant(0)  # starts its threads
    monkeypatch.delenv(THREADS_VARIABLE, raising=False)
    with pytest.raises(RequestError, match="has already started to run several") as refused:
        training.be_deterministic()
    assert f"{THREADS_VARIABLE}=1" in refused.value.hint
