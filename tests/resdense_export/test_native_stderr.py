"""Laws of native_stderr: what C++ prints is kept from the terminal, until it is what says why something failed."""

import os
import subprocess
import sys

import pytest

from resdense_export.native_stderr import native_stderr
from resdense_keras.errors import RequestError


def test_what_went_well_says_nothing(capfd):
    with native_stderr():
        os.write(2, b"chatter\n")
        print("progress", file=sys.stderr)
    os.write(2, b"afterwards\n")
    assert "chatter" not in capfd.readouterr().err


@pytest.mark.parametrize(("error", "shown"), [(ValueError("unforeseen"), True), (RequestError("known", "do"), False)])
def test_what_raises_shows_what_was_swallowed_unless_it_says_itself(error, shown, capfd):
    with pytest.raises(type(error)), native_stderr():
        os.write(2, b"the reason\n")
        raise error
    assert ("the reason" in capfd.readouterr().err) is shown


@pytest.mark.parametrize("end", ["os.abort()", "os.kill(os.getpid(), 9)", "os._exit(3)"])
def test_what_kills_the_process_shows_what_was_swallowed(end):
    code = (
        "import os\nfrom resdense_export.native_stderr import native_stderr\n"
        f"with native_stderr():\n    os.write(2, b'the reason\\n'); {end}"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode != 0 and run.stderr.count("the reason") == 1
