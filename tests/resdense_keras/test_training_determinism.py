"""`--deterministic`: the same command gives the same bits, in other processes and whatever else the machine does.

At full width and with the recipes' batches: smaller nets are not split among threads and repeat by themselves.
"""

import os
import subprocess
import sys
from pathlib import Path

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


def test_a_deterministic_training_repeats_to_the_bit():
    """Twice in one process, as each process repeats itself as little as another where the flag does not hold; the slow
    tests train in two."""
    done = subprocess.run([sys.executable, REPEATED_RUN, "resnet20", "128", "4", "2"], capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert first == second and float(first.split()[1]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize("net", ["resnet20", "densenet_bc22_16"])
def test_a_deterministic_training_repeats_at_full_width_on_a_busy_machine(busy, net, backend):
    first, second = endings(net, 128, 3, backend)
    assert first == second and float(first.split()[1]) > 0


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
