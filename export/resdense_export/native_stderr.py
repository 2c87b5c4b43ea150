"""Keeps the chatter of C++ libraries out of the terminal.

TensorFlow's converter and LiteRT log to descriptor 2 from C++, where neither `logging` nor `redirect_stderr` reaches.
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
    """Sends what is written to descriptor 2 into a file that is thrown away, for the whole process.

    Where the body fails, what was swallowed is written to descriptor 2 after all, for it may say why: where it raises
    (but not a ResdenseError, which says itself what was wrong), and where the whole process dies in it, as C++ code
    ends it by an abort. Python's own `sys.stderr` keeps its way to the terminal where it has one, so a progress display
    goes on.
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
    """While the body runs, a shell waits beside this process, and writes the file `sink` to descriptor 2 if it dies.

    No handler of a signal could do it: an abort gives Python no turn. The shell reads one line from a pipe; a line says
    that all went well, and the pipe ends without one where this process does.
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
    """A second stream to where descriptor 2 leads. Never closed: a logger that is made meanwhile keeps it for good."""
    return os.fdopen(os.dup(2), "w", buffering=1)


def _is_descriptor_2(stream):
    try:
        return stream.fileno() == 2
    except (AttributeError, OSError, ValueError):  # a notebook's or a test's stand-in has no descriptor
        return False
