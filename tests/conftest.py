"""What all tests share: quiet libraries, a fixed hypothesis profile, and where real data and trained nets are."""

import os
import signal
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest
from hypothesis import HealthCheck, settings

CHROMIUM = Path("/usr/bin/chromium")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script's `pytest &` begins
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the processes that tests stop by it inherit this

# Building nets takes a second where a machine is busy; a deadline would measure the machine.
settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("default")


def _from_environment(variable, what):
    path = os.environ.get(variable)
    if not path or not Path(path).exists():
        pytest.skip(f"{variable} does not name {what}")
    return Path(path)


@pytest.fixture(scope="session")
def cifar10_file():
    """The .npz with all of CIFAR-10."""
    return _from_environment("RESDENSE_CIFAR10", "a CIFAR-10 .npz")


@pytest.fixture(scope="session")
def checkpoints():
    """The folder of trained CIFAR-10 nets in PyTorch's layout."""
    return _from_environment("RESDENSE_CHECKPOINTS", "a folder of checkpoints")


@pytest.fixture(scope="module")
def resnet8():
    """The name of a net that is not of the catalogue: what a run folder does is the same for any depth.

    TensorFlow traces it in half the time of the shallowest net that ships.
    """
    from functools import partial

    from resdense_keras import catalog, cifar_resnet

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(catalog.BUILDERS, "resnet8", partial(cifar_resnet, depth=8))
        yield "resnet8"


@pytest.fixture
def resdense(capsys, monkeypatch, tmp_path):
    """Runs a command in this process and in an empty working folder; (exit code, stdout, stderr)."""
    from resdense_cli.main import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return stop.value.code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def playwright():
    """Playwright, which refuses a second instance and keeps an event loop running: so it ends with its module."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: no page is opened")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright):
    """Chromium of the system."""
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
    yield chromium
    chromium.close()
