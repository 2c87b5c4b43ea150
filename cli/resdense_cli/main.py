"""`resdense`: the command line over the libraries.

Results go to stdout (`--json` for machines), everything else to stderr. Exit 0: done; 1: the work failed; 2: the
request is wrong; 130: Ctrl-C; 143: SIGTERM. Nothing heavy is imported before a command needs it.
"""

import errno
import importlib
import inspect
import os
import pkgutil
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from resdense_keras.errors import RequestError, ResdenseError

from . import commands, completion

app = typer.Typer(
    name="resdense",
    help="ResNet and DenseNet in Keras: build, train, export to TFLite, compare.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

HELP = "`resdense --help` and `resdense COMMAND --help` list all commands and options"
REFUSED = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some of your quota, or write to another disk",
    errno.EFBIG: "the disk or `ulimit -f` allows no larger file: write to another disk, or raise the limit",
    errno.EACCES: "allow it to be read and written, or choose another place",
    errno.EPERM: "allow it to be read and written, or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.EMFILE: "raise the limit of open files: `ulimit -n 4096`",
    errno.EIO: "the disk fails: copy the data to another one",
}
STOPPED = "files under their final names are complete; run the same command again"


class Terminated(BaseException):
    """Raised on SIGTERM, so that temporary files are removed as on Ctrl-C."""


def main(arguments=None):
    """Runs the command line; never returns, but exits with the codes above."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    signal.signal(signal.SIGTERM, _terminate)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell (`>&-`)
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape")  # a path whose name is not UTF-8 is printed as it is
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code = app(_with_address(arguments), prog_name="resdense", standalone_mode=False) or 0
        if code == 130:  # typer catches Ctrl-C and says nothing
            _say_stopped(arguments)
    except (KeyboardInterrupt, Terminated) as stop:
        if debug:
            raise
        code = 143 if isinstance(stop, Terminated) else 130
        _say_stopped(arguments)
    except Exception as error:
        if debug:
            raise
        code = _explain(error, arguments)
    sys.exit(code)


def _say_stopped(arguments):
    command = COMMANDS.get(arguments[0] if arguments else None)
    hint = getattr(command, "STOPPED", STOPPED)
    if getattr(command, "UNTIL_STOPPED", False):
        print(f"stopped: {hint}", file=sys.stderr)
    else:
        _complain("stopped", hint)


def _with_address(arguments):
    """Writes `--lan` without an address as `--lan=pick`, because typer has no options with an optional value."""
    from ipaddress import ip_address

    def is_address(text):
        try:
            return bool(ip_address(text))
        except ValueError:
            return False

    following = [*arguments, ""][1:]
    return [
        "--lan=pick" if argument == "--lan" and not is_address(after) else argument
        for argument, after in zip(arguments, following, strict=True)
    ]


def _terminate(number, frame):
    raise Terminated


def _explain(error, arguments):
    """Prints an error and its hint, a line each; returns the exit code."""
    if isinstance(error, ResdenseError):
        _complain(error.message, error.hint or HELP)
        return 2 if isinstance(error, RequestError) else 1
    if type(error).__name__ == "NoArgsIsHelpError":  # the help is printed
        return 2
    if hasattr(error, "format_message"):  # what typer says of wrong usage
        _complain(error.format_message(), HELP)
        return 2
    if type(error).__name__ == "Abort":  # typer's own word for Ctrl-C
        _say_stopped(arguments)
        return 130
    if isinstance(error, OSError) and error.errno:  # what the machine refuses; our own faults have no number
        where = f": {error.filename}" if error.filename else ""
        _complain(f"{error.strerror}{where}", REFUSED.get(error.errno, "--debug shows where it happened"))
        return 1
    if isinstance(error, MemoryError):
        _complain("memory is full", "close other programs, or take fewer or smaller images")
        return 1
    if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's, of a device or of this machine
        command = COMMANDS.get(arguments[0] if arguments else None)
        batched = command and "batch_size" in inspect.signature(command.command).parameters
        hint = "pass a smaller --batch-size" if batched else "take smaller images, or free memory on the device"
        _complain(f"the memory of the device is full: {str(error).splitlines()[0][:200]}", hint)
        return 1
    _complain(f"{type(error).__name__}: {error}", "this is a defect; --debug shows where it happened")
    return 1


def _complain(message, hint):
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)


def _warn(message, category, filename, lineno, file=None, line=None):
    """Prints a warning for users; Python's own form shows a line of our source."""
    print(f"warning: {message}", file=sys.stderr)


def _show_version(wanted: bool):
    if wanted:
        from importlib.metadata import version

        print(version("resdense-keras"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
):
    pass


def _found():
    """{name: module} of the commands, in the order in which the help lists them."""
    names = (module.name for module in pkgutil.iter_modules(commands.__path__))
    modules = {name: importlib.import_module(f"{commands.__name__}.{name}") for name in names}
    return dict(sorted(modules.items(), key=lambda item: item[1].ORDER))


COMMANDS = _found()
for _name, _module in COMMANDS.items():
    app.command(_name)(completion.attach(_module.command))
