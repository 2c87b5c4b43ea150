"""Laws of what all lessons share: a picture never stops a lesson, an exercise always answers, a claim can fail."""

import json
import sys

import pytest

from resdense_keras.errors import RequestError
from resdense_keras.experiments import lesson


@pytest.fixture
def free_gib(monkeypatch):
    """Sets the free memory, in GiB."""
    return lambda gib: monkeypatch.setattr(lesson, "_free_gib", lambda: gib)


# Settings


def test_little_memory_is_said_and_takes_the_smaller_settings(free_gib, capsys):
    free_gib(1.8)
    lesson.begin()
    assert lesson.pick("usual", little="little") == "little"
    assert capsys.readouterr().out == "Only 1.8 GiB of memory are free: this run takes smaller settings.\n"
    free_gib(4)
    lesson.begin()
    assert lesson.pick("usual", little="little") == "usual"
    assert capsys.readouterr().out == ""


def test_a_missing_module_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SystemExit) as stop:
        lesson.begin("numpy", "sklearn")
    assert str(stop.value) == (
        "scikit-learn is missing, and this lesson needs it\nhint: python -m pip install scikit-learn"
    )


def test_another_backend_is_refused_where_tensorflow_is_needed(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    lesson.begin("numpy")
    with pytest.raises(SystemExit, match="KERAS_BACKEND=jax is set.*\nhint: KERAS_BACKEND=tensorflow"):
        lesson.begin("numpy", "tensorflow")


def test_a_large_run_is_stored_with_date_and_machine_and_read_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RESDENSE_FULL", "1")
    monkeypatch.setenv("RESDENSE_PLOTS", str(tmp_path))
    monkeypatch.setattr(lesson, "STORED_RUNS", tmp_path)
    assert lesson.large("99-run", lambda: {"accuracy": (0.5, 1.0)}) == {"accuracy": [0.5, 1.0]}
    stored = json.loads((tmp_path / "99-run.json").read_text())
    assert stored["created"].startswith("20") and stored["machine"].endswith("cores")
    said = capsys.readouterr().out
    monkeypatch.setenv("RESDENSE_FULL", "0")
    assert lesson.large("99-run", lambda: 1 / 0) == {"accuracy": [0.5, 1.0]}
    assert capsys.readouterr().out == said
    with pytest.raises(ValueError, match="no run '98-run' is stored"):
        lesson.large("98-run", dict)


# Pictures


def line(figure):
    figure.subplots().plot([0, 1])


def test_a_picture_is_written_where_there_is_no_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "TkAgg")  # would want a display
    lesson.show(line, "01-line", alt="a line")
    assert (tmp_path / "lesson-plots" / "01-line.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == "Picture: lesson-plots/01-line.png (a line)\n"


def test_a_drawing_is_written_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lesson.show_drawing("<svg/>", "01-block", alt="a block")
    assert (tmp_path / "lesson-plots" / "01-block.svg").read_text() == "<svg/>"
    assert capsys.readouterr().out == "Drawing: lesson-plots/01-block.svg (a block)\n"


def test_the_folder_of_the_pictures_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("RESDENSE_PLOTS", str(tmp_path / "a b"))
    lesson.show(line, "01-line", alt="a line")
    assert [path.name for path in (tmp_path / "a b").iterdir()] == ["01-line.png"]


@pytest.mark.parametrize("folder", ["file/plots", "/proc/plots"])  # permission bits would not stop root
def test_a_folder_that_cannot_be_written_is_named_and_the_lesson_goes_on(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESDENSE_PLOTS", str(tmp_path / folder))
    lesson.show(line, "01-line", alt="a line")
    printed = capsys.readouterr().out
    assert printed.startswith("No picture of 01-line: ") and folder in printed
    assert printed.endswith("The lesson goes on; RESDENSE_PLOTS=FOLDER names another place.\n")


def test_without_matplotlib_the_install_line_is_named_and_the_lesson_goes_on(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    lesson.show(line, "01-line", alt="a line")
    assert "`python -m pip install matplotlib`" in capsys.readouterr().out


def test_the_same_drawing_gives_the_same_bytes():
    assert lesson.render(line, (2, 1)) == lesson.render(line, (2, 1))


def test_no_two_sources_have_the_same_colour():
    assert len(set(lesson.SOURCE_COLORS)) == len(lesson.SOURCE_COLORS)
    assert len(set(lesson.COLORS.values())) == len(lesson.COLORS)


@lesson.exercise
def check_two(answer):
    """`answer()` is 2."""
    if answer() != 2:
        raise lesson.NotYet(f"answer() gave {answer()}, not 2")


@pytest.mark.parametrize(
    "answer, verdict",
    [
        (lambda: 2, "Right.\n"),
        (lambda: 3, "Not yet: answer() gave 3, not 2\n"),
        (lambda: 1 / 0, "Not yet: your code stopped with ZeroDivisionError: division by zero\n"),
    ],
)
def test_an_exercise_prints_its_verdict_whatever_the_answer_does(answer, verdict, capsys):
    check_two(answer)
    assert capsys.readouterr().out == verdict
    assert check_two.__doc__ == "`answer()` is 2."


def claim_it_is_small(size=1):
    assert size < 10, f"size is {size}"


def test_a_refutation_says_what_failed_and_refuses_a_claim_that_still_holds():
    assert lesson.refutation(claim_it_is_small, {"size": 20}) == "claim_it_is_small(size=20)\n    fails: size is 20"
    with pytest.raises(RuntimeError, match=r"claim_it_is_small\(size=2\) still holds"):
        lesson.refutation(claim_it_is_small, {"size": 2})


def test_the_cost_is_at_least_what_this_process_holds(capsys):
    before = lesson.peak_bytes()
    ballast = bytearray(64 * 2**20)
    assert lesson.peak_bytes() >= before >= 10 * 2**20
    assert len(ballast) <= lesson.peak_bytes()
    assert 0 < lesson.process_seconds() < 86_400
    lesson.cost()
    said = capsys.readouterr().out
    assert "MiB of memory at its peak" in said and "s of processor time" in said


def documented(number):
    """A docstring
    of two lines.
    """
    return number + 1  # a comment stays


def test_a_source_is_the_code_that_runs_without_its_docstring(capsys):
    lesson.source(documented)
    assert capsys.readouterr().out == "def documented(number):\n    return number + 1  # a comment stays\n"


def test_a_stored_run_says_when_where_and_by_which_command_it_was_made(capsys):
    found = lesson.stored("09-flowers")
    said = capsys.readouterr().out
    assert said.startswith("Stored: 2026-") and said.endswith("python benchmarks/lessons.py 09-flowers\n")
    assert lesson.stored("09-flowers", quiet=True) == found and capsys.readouterr().out == ""


def test_a_run_that_is_not_stored_is_an_error_with_its_command():
    with pytest.raises(RequestError, match="no run '00-none' is stored") as problem:
        lesson.stored("00-none")
    assert problem.value.hint == "python benchmarks/lessons.py 00-none"
