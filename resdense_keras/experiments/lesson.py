"""What all lessons share: pictures that need no display, exercises that answer, claims that must be able to fail, and
what the run cost.

A lesson never stops for something that is only looked at: where matplotlib is missing or the folder cannot be written,
it says so and goes on.
"""

import functools
import io
import os
import sys
import time
from pathlib import Path

from .. import files
from ..errors import ResdenseError

# Okabe and Ito's hues, which every kind of colour blindness tells apart. The families' are those of the report.
COLORS = {"residual": "#0067ad", "dense": "#c04a00", "plain": "#6a7079", "other": "#87479c"}
SOURCE_COLORS = ("#c3c8d0", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00")  # the input, then block by block

_IMPORTED = time.perf_counter()
_STYLE = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "figure.constrained_layout.use": True,
}


def show(draw, name, *, alt, size=(8, 3.5)):
    """Shows the picture in a notebook; in a script writes it to the folder `lesson-plots` (or $RESDENSE_PLOTS).

    Args:
        draw: Function of an empty matplotlib Figure.
        name: Name of the file, without its suffix.
        alt: What the picture shows, for those who do not see it.
        size: Width and height in inches.
    """
    try:
        picture = render(draw, size)
    except ImportError:
        print(f"No picture of {name}: matplotlib is missing; `python -m pip install matplotlib` brings it.")
        return
    if _in_notebook():
        from IPython.display import Image, display

        display(Image(picture, alt=alt))
        return
    path = Path(os.environ.get("RESDENSE_PLOTS", "lesson-plots")) / f"{name}.png"
    try:
        files.write_bytes(path, picture)
    except (ResdenseError, OSError) as problem:
        print(f"No picture of {name}: {problem}. The lesson goes on; RESDENSE_PLOTS=FOLDER names another place.")
    else:
        print(f"Picture: {path} ({alt})")


def render(draw, size):
    """PNG bytes of what `draw` draws on a figure; no window, no pyplot, the same bytes every time."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, facecolor="white")
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _in_notebook():
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython(), "kernel") if ipython else False


# Exercises


class NotYet(Exception):
    """An exercise is not solved; the message says what came back and what should have."""


def exercise(check):
    """Makes `check(answer)`, which raises NotYet, an exercise: it prints the verdict.

    An unsolved exercise must not stop the lesson, whatever the learner's code raises.
    """

    @functools.wraps(check)
    def verdict(answer):
        try:
            check(answer)
        except NotYet as problem:
            print(f"Not yet: {problem}")
        except Exception as problem:
            print(f"Not yet: your code stopped with {type(problem).__name__}: {problem}")
        else:
            print("Right.")

    return verdict


# Claims


def refutation(claim, change):
    """What `claim` says when `change` (arguments of it) takes away what makes it true.

    Raises:
        RuntimeError: the claim still holds, so it has shown nothing.
    """
    call = f"{claim.__name__}({', '.join(f'{name}={value!r}' for name, value in change.items())})"
    try:
        claim(**change)
    except AssertionError as problem:
        return f"{call}\n    fails: {str(problem).partition(chr(10))[0]}"
    raise RuntimeError(f"{call} still holds; a claim that cannot fail shows nothing")


# Cost


def cost():
    """Prints the wall time of this process and its peak memory, with the machine."""
    import keras

    print(
        f"This run: {process_seconds():.0f} s, {peak_bytes() / 2**20:.0f} MiB of memory at its peak, "
        f"{os.cpu_count()} cores, Keras {keras.__version__} on {keras.backend.backend()}"
    )


def process_seconds():
    """Seconds since this process started, its imports included."""
    try:
        after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(after_name[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5), in ticks since boot
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except OSError:  # no /proc
        return time.perf_counter() - _IMPORTED


def peak_bytes():
    """The largest resident size that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held before it started us
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
