"""Keeps log messages of C++ libraries out of the terminal.

TensorFlow's converter and LiteRT write to descriptor 2 from C++, which neither `logging` nor `redirect_stderr` can
catch.
"""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile

from resdense_keras.errors import ResdenseError


@contextlib.contextmanager
def native_stderr():
    """Redirects descriptor 2 of the whole process into a file that is deleted.

    Where the body fails, the file is written to descriptor 2 after all, because it may say why. That is where the body
    raises (except a ResdenseError, which has its own message), and where the process dies, as by an abort in C++ code.
    Python's `sys.stderr` still leads to the terminal, so a progress display goes on.
    """
    sys.stderr.flush()
    kept, terminal = os.dup(2), _terminal()
    os.dup2(kept, terminal.fileno())  # descriptor 2 may lead elsewhere than at the last call
    with tempfile.NamedTemporaryFile() as sink, _told_of_death(sink.name):
        visible = contextlib.redirect_stderr(terminal) if _is_descriptor_2(sys.stderr) else contextlib.nullcontext()
        os.dup2(sink.fileno(), 2)
        failed = True
        try:
            with visible:
                yield
            failed = False
        except ResdenseError:
            failed = False
            raise
        finally:
            terminal.flush()
            os.dup2(kept, 2)
            if failed:
                _replay(sink, kept)
            os.close(kept)


@contextlib.contextmanager
def _told_of_death(sink):
    """While the body runs, a shell waits, and writes the file `sink` to descriptor 2 if this process dies.

    A signal handler cannot do this, because Python does not run after an abort. The shell reads one line from a pipe: a
    line means success, and the pipe ends without a line where this process dies.
    """
    shell = shutil.which("sh")
    if shell is None:  # Windows: what an abort swallows is lost there
        yield
        return
    waiter = 'trap "" INT TERM; read -r _ || { cat "$1" >&2; rm -f "$1"; }'
    with subprocess.Popen(
        [shell, "-c", waiter, "sh", sink], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as waiting:
        try:
            yield
        finally:
            waiting.communicate(b"\n")


def _replay(sink, descriptor):
    """Writes what the file `sink` holds to a descriptor."""
    sink.seek(0)
    while piece := sink.read(1 << 16):
        os.write(descriptor, piece)


@functools.cache
def _terminal():
    """A second stream to the target of descriptor 2. It is never closed, because loggers made meanwhile keep it."""
    return os.fdopen(os.dup(2), "w", buffering=1)


def _is_descriptor_2(stream):
    try:
        return stream.fileno() == 2
    except (AttributeError, OSError, ValueError):  # a notebook's or a test's stand-in has no descriptor
        return False
