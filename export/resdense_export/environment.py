"""The command and the versions, for a report to say how it was made."""

import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("resdense-keras", "tensorflow", "keras", "numpy", "ai-edge-litert", "litert-quantizer")


def versions():
    """{"python": "3.11.7", "keras": "3.15.1", ...}; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def command():
    """The present command line, without the folders of the program."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
