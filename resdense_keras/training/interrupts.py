"""Delays Ctrl-C and SIGTERM (of a preempted machine) until the step is over and the state is saved.

A signal that the caller ignores, as a script's shell ignores Ctrl-C for what it starts with `&`, stays ignored. If it
were noted here, the training would stop, nothing would be raised, and the exit code would be that of a finished one.
"""

import signal
import threading


class Interrupts:
    """Notes SIGINT and SIGTERM while its body runs and raises them at its end; a second signal is not delayed."""

    def __init__(self):
        self.number, self._former = None, {}

    def __bool__(self):
        return self.number is not None

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        self.number = number
        self._restore()

    def _restore(self):
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def __exit__(self, kind, error, trace):
        self._restore()
        if kind is None and self:
            signal.raise_signal(self.number)
