"""Commands work where a system has none of Unix' own modules and no /proc: Windows and macOS, as far as Linux shows.

Children too, the runner of .tflite files among them: it limits itself where it can.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[1]
UNIX = ("fcntl", "resource", "termios", "pwd", "grp", "tty", "pty")


def test_no_module_imports_unix_when_it_is_imported():
    for package in ("resdense_keras", "export/resdense_export", "cli/resdense_cli"):
        for path in (PACKAGES / package).rglob("*.py"):
            lines = path.read_text().splitlines()
            assert not [line for line in lines if line.startswith(tuple(f"import {name}" for name in UNIX))], path


@pytest.mark.slow
def test_commands_work_without_unix_and_without_proc(tmp_path):
    script = Path(__file__).with_name("without_unix.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    assert codes == dict.fromkeys(("--help", "models", "train", "export", "report"), 0), done.stderr
    assert (tmp_path / "made" / "report.html").is_file() and list((tmp_path / "made").glob("*-int8.tflite"))
    assert "resdense_export.tflite.child resource" in (tmp_path / "hidden").read_text().splitlines()  # in a child
