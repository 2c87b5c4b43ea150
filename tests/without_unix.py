"""Not a test: runs commands of `resdense` as on Windows, where our modules find neither Unix' modules nor /proc.

    python without_unix.py FOLDER            # imports every module of ours, runs the commands, prints their exit codes

What is hidden is hidden from modules whose name begins with `resdense`: psutil itself reads /proc on Linux, and needs
none elsewhere. `fcntl`, `resource`, `termios` and `pwd` are what Windows lacks, /proc is what macOS lacks too.
"""

import builtins
import importlib
import io
import json
import os
import pkgutil
import sys

HIDDEN = ("fcntl", "resource", "termios", "pwd")


def ours(depth=2):
    """Whether the caller, standard library left out, is a module of ours."""
    frame = sys._getframe(depth)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("resdense"):
            return True
        if name.partition(".")[0] not in ("pathlib", "io", "os", "importlib", "posixpath", "genericpath"):
            return False
        frame = frame.f_back
    return False


def hide():
    whole_import, whole_open, whole_access = builtins.__import__, io.open, os.access

    def limited_import(name, globals=None, *rest, **named):
        if name in HIDDEN and (globals or {}).get("__name__", "").startswith("resdense"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return whole_import(name, globals, *rest, **named)

    def limited_open(file, *rest, **named):
        if str(file).startswith("/proc") and ours():
            raise FileNotFoundError(2, "No such file or directory", str(file))
        return whole_open(file, *rest, **named)

    def limited_access(path, *rest, **named):
        return False if str(path).startswith("/proc") and ours() else whole_access(path, *rest, **named)

    builtins.__import__, builtins.open, io.open, os.access = limited_import, limited_open, limited_open, limited_access


def modules():
    import resdense_cli
    import resdense_export
    import resdense_keras

    for package in (resdense_keras, resdense_export, resdense_cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith((".__main__", ".aware.worker")):  # these run, in a process of their own
                yield module.name


def main(folder):
    hide()
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.chdir(folder)
    for name in modules():
        importlib.import_module(name)
    from resdense_cli.main import main as resdense

    codes = {}
    run = ("--set", "width=4", "--data", "digits", "--epochs", "1", "--jit", "off", "--out", "run")
    for command in (
        ("--help",),
        ("models", "resnet2*"),
        ("train", "resnet20", *run),
        ("export", "run/model.keras", "--data", "digits", "--max-drop", "100", "--min-agreement", "0", "--out", "made"),
        ("report", "made"),
    ):
        try:
            resdense(list(command))
        except SystemExit as stop:
            codes[command[0]] = stop.code
    print(json.dumps(codes))


if __name__ == "__main__":
    main(sys.argv[1])
