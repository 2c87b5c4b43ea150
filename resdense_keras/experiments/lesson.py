"""Shared by all lessons: settings that fit the machine, pictures that need no display, exercises with a verdict, claims
that can fail, and the costs of the run.

A lesson never stops because of a picture: where matplotlib is missing or the folder cannot be written, it says so and
continues. Keras is not imported here before `begin` has checked that it will work.
"""

import ast
import base64
import contextlib
import datetime
import functools
import importlib.util
import inspect
import io
import json
import os
import platform
import sys
import textwrap
import time
from pathlib import Path

from .. import files
from ..errors import RequestError, ResdenseError

# Below this much free memory a lesson takes its `little` settings. A machine of 2 GiB is below, a limit of 2 GiB too.
LITTLE_BYTES = 5 * 2**29
STORED_RUNS = Path(__file__).parent / "stored_runs"

# Okabe and Ito's hues, which every kind of colour blindness tells apart. The families' are those of the report.
COLORS = {"residual": "#0067ad", "dense": "#c04a00", "plain": "#6a7079", "other": "#87479c"}
SOURCE_COLORS = ("#c3c8d0", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00")  # the input, then block by block

_STYLE = {
    "font.size": 12,  # 12 points on 6 inches: readable on a phone of 360 pixels
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "figure.constrained_layout.use": True,
}


# Settings


def begin(*needs, threads=None):
    """A lesson's first call, before Keras is imported: prints the settings, and stops where the lesson cannot run.

    Args:
        needs: Modules beyond numpy that the lesson cannot do without, e.g. "tensorflow" or "sklearn".
        threads: Threads for one operation of TensorFlow. For the smallest nets 1 is best: with 2 a step of a net of
            16 channels takes a third more processor time.
    Raises:
        SystemExit: a module is missing, or Keras is set to another backend; with a hint and exit status 1.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # keeps TensorFlow's own log out
    if threads is not None:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
    for module in needs:
        if not _installed(module):
            package = {"sklearn": "scikit-learn"}.get(module, module)
            raise SystemExit(f"{package} is missing, and this lesson needs it\nhint: python -m pip install {package}")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow" and "tensorflow" in needs:
        raise SystemExit(
            f"KERAS_BACKEND={backend} is set; this lesson measures with TensorFlow\nhint: KERAS_BACKEND=tensorflow"
        )
    if "tensorflow" in needs:
        with _without_start_up_log():
            import tensorflow  # noqa: F401
    if _is_full():
        print("RESDENSE_FULL=1: the large settings are measured too; this can take hours.")
    elif _is_little():
        print(f"Only {_free_gib():.1f} GiB of memory are free: this run takes smaller settings.")


@contextlib.contextmanager
def _without_start_up_log():
    """TensorFlow writes it to descriptor 2 from C++, some of it before TF_CPP_MIN_LOG_LEVEL counts."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def pick(usual, *, little):
    """`usual`, or `little` where memory is short (under 2.5 GiB free)."""
    return little if _is_little() else usual


def large(name, measure):
    """The result of the large settings: measured now under RESDENSE_FULL=1, else the stored one; prints which.

    A new result is written beside the pictures. The stored ones are such files, copied to `experiments/stored_runs`.

    Args:
        name: Name of the file, without its suffix.
        measure: Function without arguments; what it returns must be JSON.
    Raises:
        RequestError: no such run is stored.
    """
    if _is_full():
        run = measured_run(name, measure)
        _write(f"{name}.json", lambda path: files.write_json(path, run), "result")
    else:
        run = _stored(name, "RESDENSE_FULL=1 measures it")
    print(f"Large settings: {_measured_where(run)}")
    return run["result"]


def stored(name, quiet=False):
    """The result of a run that `benchmarks/lessons.py` stored; says when, where and by which command."""
    run = _stored(name, f"python benchmarks/lessons.py {name}")
    if not quiet:
        print(f"Stored: {_measured_where(run)}; python benchmarks/lessons.py {name}")
    return run["result"]


def _stored(name, hint):
    path = STORED_RUNS / f"{name}.json"
    if not path.exists():
        raise RequestError(f"no run {name!r} is stored", hint)
    return json.loads(path.read_text())


def _measured_where(run):
    return f"{run['created'][:10]}, {run['machine']}, Keras {run['keras']}, {run['minutes']:g} minutes"


def source(function):
    """Prints a function's code without its docstring: the lines that the lesson is about, as they run."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    body = ast.parse("\n".join(lines)).body[0].body
    if ast.get_docstring(ast.parse("\n".join(lines)).body[0]) is not None:
        del lines[body[0].lineno - 1 : body[0].end_lineno]
    print("\n".join(lines))


def measured_run(name, measure):
    """The content of a file of `stored_runs`: the result of `measure()`, and when, where and with which versions it was
    measured."""
    start = time.perf_counter()
    run = {"name": name, "result": json.loads(json.dumps(measure())), **_provenance()}
    return run | {"minutes": round((time.perf_counter() - start) / 60, 1)}


def _provenance():
    import keras

    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    machine = f"{_processor()}, {os.cpu_count()} cores"
    return {"created": now, "machine": machine, "keras": keras.__version__}


def _processor():
    """The processor's name; platform.processor() at best knows its family."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _installed(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # the module is there as None, which is how its import is switched off
        return False


def _is_full():
    return os.environ.get("RESDENSE_FULL", "") not in ("", "0")


def _is_little():
    return _free_gib() * 2**30 < LITTLE_BYTES


@functools.cache
def _free_gib():
    """Free memory at the first call: a lesson must not change its settings while its own nets fill the memory."""
    from ..data.memory import available_bytes

    return available_bytes() / 2**30


# Pictures


def show(draw, name, *, alt, size=(6, 4)):
    """Shows the picture in a notebook; in a script writes it to the folder `lesson-plots` (or $RESDENSE_PLOTS).

    Args:
        draw: Function of an empty matplotlib Figure.
        name: Name of the file, without its suffix.
        alt: What the picture shows, with its numbers, for those who do not see it. In a notebook it is also the
            output's text, for viewers that do not show alternative texts.
        size: Width and height in inches; 6 wide fits a phone.
    """
    try:
        picture = render(draw, size)
    except ImportError:
        print(f"No picture of {name}: matplotlib is missing; `python -m pip install matplotlib` brings it.")
        return
    if _in_notebook():
        from IPython.display import display

        data = {"image/png": base64.b64encode(picture).decode(), "text/plain": alt}
        display(data, metadata={"image/png": {"alt": alt}}, raw=True)
        return
    path = _write(f"{name}.png", lambda path: files.write_bytes(path, picture), "picture")
    if path:
        print(f"Picture: {path} ({alt})")


def show_drawing(svg, name, *, alt):
    """Shows a drawing of `resdense_keras.draw` in a notebook; in a script writes it beside the pictures."""
    if _in_notebook():
        from IPython.display import display

        display({"image/svg+xml": str(svg), "text/plain": alt}, raw=True)
        return
    path = _write(f"{name}.svg", lambda path: files.write_text(path, str(svg)), "drawing")
    if path:
        print(f"Drawing: {path} ({alt})")


def _write(name, write, kind):
    """Writes a file to the lesson's folder by `write(path)`; returns its path, or prints why not and returns None."""
    path = Path(os.environ.get("RESDENSE_PLOTS", "lesson-plots")) / name
    try:
        write(path)
    except (ResdenseError, OSError) as problem:
        stem = Path(name).stem
        print(f"No {kind} of {stem}: {problem}. The lesson goes on; RESDENSE_PLOTS=FOLDER names another place.")
        return None
    return path


def render(draw, size):
    """PNG bytes of a figure that `draw` fills; without window and pyplot, and the same bytes every time."""
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
    """An exercise is not solved; the message says what was returned and what was expected."""


def exercise(check):
    """Makes an exercise of `check(answer)`, which raises NotYet: the exercise prints the verdict.

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
    """The failure of `claim` when `change` (some of its arguments) removes what makes it true.

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
    """Prints the wall time of this process, its peak memory and its processor time, with the machine.

    Wall time includes the work of others on a busy machine; processor time does not.
    """
    import keras

    print(
        f"This run: {process_seconds():.0f} s, {_mib(peak_bytes())} of memory at its peak, "
        f"{time.process_time():.0f} s of processor time, {os.cpu_count()} cores, "
        f"Keras {keras.__version__} on {keras.backend.backend()}"
    )


def process_seconds():
    """Seconds since this process started, its imports included."""
    import psutil

    return time.time() - psutil.Process().create_time()


def peak_bytes():
    """Peak resident memory of this process; None where the system does not tell it (only Linux does)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _mib(size):
    return "an unknown size" if size is None else f"{size / 2**20:.0f} MiB"
