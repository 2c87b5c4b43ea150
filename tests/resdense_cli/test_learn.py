"""Laws of `resdense learn`: it lists the lessons, runs one anywhere, and needs nothing but the wheel."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

from resdense_cli.commands import learn
from resdense_keras.errors import RequestError, WorkError

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))
NUMBERS = [int(script.name[:2]) for script in SCRIPTS]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the wheel, built here, was unpacked as pip does it; the only place where we are found."""
    pytest.importorskip("hatchling", reason='hatchling is missing: python -m pip install ".[test]"')
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return target


def installed_learn(installed, folder, *arguments):
    """`resdense learn` of the installed wheel in `folder`, without a display."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "RESDENSE_PLOTS", "RESDENSE_FULL")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": str(installed), "COLUMNS": "100"}
    command = [installed / "bin" / "resdense", "learn", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


# The wheel


def test_the_wheel_holds_every_lesson_with_the_summary_and_nothing_else_of_their_folder(installed):
    held = sorted(path.name for path in (installed / "resdense_keras" / "tutorials").glob("*.*"))
    assert held == [*(script.name for script in SCRIPTS), "difference.md"]


def test_the_installed_wheel_lists_its_own_lessons(installed, tmp_path):
    run = installed_learn(installed, tmp_path, "--json")
    assert (run.returncode, run.stderr) == (0, "")
    rows = json.loads(run.stdout)
    assert [Path(row["file"]) for row in rows] == [
        installed / "resdense_keras" / "tutorials" / script.name for script in SCRIPTS
    ]
    assert [row["lesson"] for row in rows] == NUMBERS
    assert all(row["title"] and 1 <= row["minutes"] <= 3 for row in rows)


# In a checkout


def test_the_cells_are_jupytexts():
    for script in SCRIPTS:
        theirs = jupytext.read(script, fmt="py:percent").cells
        ours = learn.cells(script.read_text())
        assert [(cell.is_text, cell.source) for cell in ours] == [
            (cell.cell_type == "markdown", cell.source) for cell in theirs
        ]
        lines = script.read_text().splitlines()
        assert all(lines[cell.line - 1] in (cell.source.splitlines()[0], "") for cell in ours if not cell.is_text)


def test_a_lesson_is_found_by_number_and_by_name():
    first = learn.lessons()[0]
    assert {learn.find(name) for name in ("1", "01", first.path.stem, first.path.name)} == {first}


def test_an_unknown_lesson_is_named_with_those_that_there_are(resdense):
    numbers = ", ".join(map(str, NUMBERS))
    assert resdense("learn", "99") == (
        2,
        "",
        f"error: lesson '99' was asked for; there are {numbers}\nhint: `resdense learn` lists them\n",
    )


def test_the_list_is_a_table_and_the_script_can_be_had(resdense):
    code, out, err = resdense("learn")
    assert (code, err) == (0, "") and "Add or concatenate?" in out
    assert resdense("learn", "1", "--script") == (0, SCRIPTS[0].read_text(), "")


@pytest.fixture
def short_lesson(tmp_path, monkeypatch):
    """Makes a lesson of the given code; `run` runs it in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESDENSE_PLOTS", "")  # run sets it; this restores what it was

    def make(code):
        path = tmp_path / "scripts" / "01_short.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# %% [markdown]\n# # 1. Short\n#\n# **Predict.** What comes?\n\n# %%\n{code}\n")
        return learn.Lesson(1, "Short", 1, path)

    return make


def test_pictures_go_to_the_folder_that_was_asked_for(short_lesson, tmp_path, capsys):
    code = "from resdense_keras.experiments import lesson\nlesson.show(lambda figure: None, '01-empty', alt='nothing')"
    learn.run(short_lesson(code), tmp_path / "pictures")
    assert (tmp_path / "pictures" / "01-empty.png").exists()
    assert "What comes?" in capsys.readouterr().out  # and nobody was asked to press a key


def test_a_terminal_says_how_to_work_on_the_exercises_where_they_begin(short_lesson, capsys):
    exercises = "# %% [markdown]\n# ## Exercises\n#\n# Replace each body, run the cell.\n\n# %%\nprint('Not yet')"
    learn.run(short_lesson(f"print('a cell')\n\n{exercises}"), "pictures")
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("`resdense learn 1 --script > lesson1.py`, edit lesson1.py, then `python lesson1.py`") == 1
    assert out.index("a cell") < out.index("To solve them") < out.rindex("Not yet")


def test_what_a_lesson_misses_is_an_error_with_its_hint(short_lesson):
    code = "from resdense_keras.experiments import lesson\nlesson.begin('no_such_module')"
    with pytest.raises(WorkError, match="no_such_module is missing, and this lesson needs it") as error:
        learn.run(short_lesson(code), "pictures")
    assert error.value.hint == "python -m pip install no_such_module"


def test_an_error_in_a_lesson_points_to_its_line(short_lesson):
    import traceback

    with pytest.raises(ZeroDivisionError) as error:
        learn.run(short_lesson("print('fine')\n1 / 0"), "pictures")
    last = traceback.extract_tb(error.value.__traceback__)[-1]
    assert (Path(last.filename).name, last.lineno) == ("01_short.py", 8)


def test_missing_scripts_are_an_error_and_not_an_empty_list(monkeypatch, tmp_path):
    monkeypatch.setattr(learn.resdense_keras, "__file__", str(tmp_path / "resdense_keras" / "__init__.py"))
    with pytest.raises(WorkError, match="the lessons are missing"):
        learn.lessons()
    with pytest.raises(RequestError):
        monkeypatch.undo()
        learn.find("00")


# The summary


def test_the_summary_is_the_page_and_as_json_its_rows(capsys):
    learn.command(summary=True)
    page = (ROOT / "docs" / "difference.md").read_text()
    printed = capsys.readouterr().out
    assert "<!--" not in printed and printed == learn.COMMENT.sub("", page)
    learn.command(summary=True, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 8 and all(set(row) == {"said", "verdict", "measured", "lessons"} for row in rows)
    assert rows[0]["lessons"] == [1] and set().union(*(row["lessons"] for row in rows)) <= set(NUMBERS)


def test_the_summary_of_one_lesson_is_refused():
    with pytest.raises(RequestError, match="--summary was given together with lesson '1'"):
        learn.command(lesson="1", summary=True)


# Solutions


def test_the_solutions_of_a_lesson_are_printed_and_nothing_is_run(resdense):
    code, out, err = resdense("learn", "2", "--solutions")
    assert (code, err) == (0, "") and out.startswith("def identity_kernel(channels):\n")


def test_solutions_without_a_lesson_are_refused(resdense):
    code, out, err = resdense("learn", "--solutions")
    assert (code, out) == (2, "") and err.startswith("error: --solutions was given without a lesson\nhint: ")


def test_a_terminal_shows_no_tag_and_no_folded_answer():
    text = "It is 5. <!-- claim: five -->\n\n<details><summary>One answer</summary>\nNo.\n</details>\n"
    assert learn.shown(text) == "It is 5.\n\n*(Folded in the notebook; `--solutions` prints solutions.)*\n"
