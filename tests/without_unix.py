"""Not a test: runs commands of `resdense` as on Windows, where our modules find neither Unix' modules nor /proc.

    python without_unix.py FOLDER            # imports every module of ours, runs the commands, prints their exit codes

What is hidden is hidden from modules whose name begins with `resdense`, in this process and in its children: psutil
itself reads /proc on Linux, and needs none elsewhere. `fcntl`, `resource`, `termios` and `pwd` are what Windows lacks,
/proc is what macOS lacks too. FOLDER/hidden has a line for each thing that was asked for in vain: who, and what.
"""

import builtins
import importlib
import io
import json
import os
import pkgutil
import sys
from pathlib import Path

HIDDEN = ("fcntl", "resource", "termios", "pwd")
CHILDREN = """
import sys
sys.path.append({tests!r})
import without_unix
without_unix.hide({log!r})
"""


def module_of(variables):
    """The name of the module with these globals, that of `python -m NAME` too; "" where it is none of ours."""
    name, spec = variables.get("__name__") or "", variables.get("__spec__")
    name = spec.name if name == "__main__" and spec else name
    return name if name.startswith("resdense") else ""


def ours(depth=2):
    """The name of the caller, standard library left out, or "" where it is no module of ours."""
    frame = sys._getframe(depth)
    while frame is not None:
        if name := module_of(frame.f_globals):
            return name
        name = frame.f_globals.get("__name__", "")
        if name.partition(".")[0] not in ("pathlib", "io", "os", "importlib", "posixpath", "genericpath"):
            return ""
        frame = frame.f_back
    return ""


def hide(log):
    whole_import, whole_open, whole_access = builtins.__import__, io.open, os.access

    def note(who, what):
        with whole_open(log, "a") as file:
            file.write(f"{who} {what}\n")

    def limited_import(name, globals=None, *rest, **named):
        if name in HIDDEN and (who := module_of(globals or {})):
            note(who, name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return whole_import(name, globals, *rest, **named)

    def limited_open(file, *rest, **named):
        if str(file).startswith("/proc") and (who := ours()):
            note(who, file)
            raise FileNotFoundError(2, "No such file or directory", str(file))
        return whole_open(file, *rest, **named)

    def limited_access(path, *rest, **named):
        return False if str(path).startswith("/proc") and ours() else whole_access(path, *rest, **named)

    builtins.__import__, builtins.open, io.open, os.access = limited_import, limited_open, limited_open, limited_access


def hide_from_children(folder, log):
    """Every Python that this process starts imports FOLDER/site/sitecustomize.py first."""
    site = Path(folder).resolve() / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(CHILDREN.format(tests=str(Path(__file__).parent), log=log))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))


def modules():
    import resdense_cli
    import resdense_export
    import resdense_keras

    for package in (resdense_keras, resdense_export, resdense_cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith((".__main__", ".aware.worker")):  # these run, in a process of their own
                yield module.name


def run(folder):
    log = str(Path(folder).resolve() / "hidden")
    hide(log)
    hide_from_children(folder, log)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.chdir(folder)
    for name in modules():
        importlib.import_module(name)
    from resdense_cli.main import main

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
            main(list(command))
        except SystemExit as stop:
            codes[command[0]] = stop.code
    print(json.dumps(codes))


if __name__ == "__main__":
    run(sys.argv[1])
