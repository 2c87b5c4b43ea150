"""Shows what a long command is doing and what is left: a live display in a terminal, plain lines elsewhere.

All of it goes to stderr; stdout belongs to results.
"""

import sys
from contextlib import contextmanager


class Steps:
    """Counts through a known number of steps. This base class shows nothing, for use from Python."""

    def start(self, text):
        """Begins the next step."""

    def detail(self, text):
        """What the running step is doing now."""


class PlainSteps(Steps):
    """One line a step, flushed, for logs."""

    def __init__(self, total):
        self.total, self.done = total, 0

    def start(self, text):
        self.done += 1
        print(f"[{self.done}/{self.total}] {text}", file=sys.stderr, flush=True)


class LiveSteps(Steps):
    """A bar with the step, its detail, the time that has passed and how many steps are left."""

    def __init__(self, progress, total):
        self.progress = progress
        self.task = progress.add_task("", total=total, detail="")
        self.running = False

    def start(self, text):
        self.progress.update(self.task, advance=1 if self.running else 0, description=text, detail="")
        self.running = True

    def detail(self, text):
        self.progress.update(self.task, detail=text)


@contextmanager
def steps(total):
    """A Steps for `total` steps: live where stderr is a terminal, else plain lines."""
    if not sys.stderr.isatty():
        yield PlainSteps(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.description} [dim]{task.fields[detail]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield LiveSteps(progress, total)
