"""Laws of what all lessons share: a picture never stops a lesson, an exercise always answers, a claim can fail."""

import sys

import pytest

from resdense_keras.experiments import lesson


def line(figure):
    figure.subplots().plot([0, 1])


def test_a_picture_is_written_where_there_is_no_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "TkAgg")  # would want a display
    lesson.show(line, "01-line", alt="a line")
    assert (tmp_path / "lesson-plots" / "01-line.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == "Picture: lesson-plots/01-line.png (a line)\n"


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
    assert "MiB of memory at its peak" in capsys.readouterr().out
