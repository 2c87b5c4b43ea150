"""Keeps the chatter of C++ libraries out of the terminal.

TensorFlow's converter and LiteRT log to descriptor 2 from C++, where neither `logging` nor `redirect_stderr` reaches.
"""

import contextlib
import functools
import os
import sys
import tempfile


@contextlib.contextmanager
def native_stderr():
    """Sends what is written to descriptor 2 into a file that is thrown away, for the whole process.

    Python's own `sys.stderr` keeps its way to the terminal where it has one, so a progress display goes on.
    """
    sys.stderr.flush()
    kept, terminal = os.dup(2), _terminal()
    os.dup2(kept, terminal.fileno())  # descriptor 2 may lead elsewhere than at the last call
    with tempfile.TemporaryFile() as sink:
        visible = contextlib.redirect_stderr(terminal) if _is_descriptor_2(sys.stderr) else contextlib.nullcontext()
        os.dup2(sink.fileno(), 2)
        try:
            with visible:
                yield
        finally:
            terminal.flush()
            os.dup2(kept, 2)
            os.close(kept)


@functools.cache
def _terminal():
    """A second stream to where descriptor 2 leads. Never closed: a logger that is made meanwhile keeps it for good."""
    return os.fdopen(os.dup(2), "w", buffering=1)


def _is_descriptor_2(stream):
    try:
        return stream.fileno() == 2
    except (AttributeError, OSError, ValueError):  # a notebook's or a test's stand-in has no descriptor
        return False
