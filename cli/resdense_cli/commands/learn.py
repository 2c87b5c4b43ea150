"""`resdense learn`: the lessons in a terminal, cell by cell.

The lessons are scripts in jupytext's percent format. They are part of the wheel; in a checkout they are in
`tutorials/`. A lesson runs in this process, as `python NN_topic.py` would run it, and its text is shown between the
cells.
"""

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

import resdense_keras
from resdense_keras.errors import RequestError, WorkError

from ..options import Json
from ..output import columns, print_json, print_result, start_tensorflow

ORDER = 100
CELL = re.compile(r"^# %%(?P<text> \[markdown\])?$", re.MULTILINE)
TIME = re.compile(r"\*\*Time:\*\* at most (\d+) minutes?")
PREDICT = "**Predict.**"
EXERCISES = "## Exercises\n"
COMMENT = re.compile(r"\s?<!--.*?-->", re.DOTALL)  # names what backs a sentence; not rendered
FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)  # answers and solutions; a terminal cannot fold them


def command(
    lesson: Annotated[
        str | None, typer.Argument(metavar="[LESSON]", help="Number of a lesson. Default: list all of them.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the plots into.")] = Path("lesson-plots"),
    script: Annotated[
        bool, typer.Option("--script", help="Print the lesson's script, for working on the exercises.")
    ] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print the popular answer row by row, with what was measured.")
    ] = False,
    solutions: Annotated[
        bool, typer.Option("--solutions", help="Print the solutions of the lesson's exercises.")
    ] = False,
    as_json: Json = False,
):
    """List the lessons, or run one here. Each takes at most three minutes on two idle cores."""
    if solutions and lesson is None:
        raise RequestError("--solutions was given without a lesson", "name one: `resdense learn 1 --solutions`")
    if summary:
        if lesson is not None:
            raise RequestError(
                f"--summary was given together with lesson {lesson!r}; it is one page for all lessons",
                "`resdense learn --summary`",
            )
        show_summary(as_json)
        return
    if lesson is None:
        found = lessons()
        rows = [
            {"lesson": row.number, "title": row.title, "minutes": row.minutes, "file": str(row.path)} for row in found
        ]
        print_result(rows, table, as_json)
        return
    chosen = find(lesson)
    if script:
        print(chosen.path.read_text(encoding="utf-8"), end="")
        return
    if solutions:
        print(solutions_of(chosen))
        return
    with contextlib.suppress(ImportError):  # the lesson itself says what is missing, with the install line
        start_tensorflow()
    run(chosen, out)


class Lesson(NamedTuple):
    """One lesson: its number, title, the minutes it takes at most on two cores, and its script."""

    number: int
    title: str
    minutes: int
    path: Path


class Cell(NamedTuple):
    """A part of a script: Markdown or Python, and the number of its first line."""

    is_text: bool
    source: str
    line: int


def lessons():
    """All lessons in their order.

    Raises:
        WorkError: the scripts are missing.
    """
    package = Path(resdense_keras.__file__).parent
    for folder in (package / "tutorials", package.parent / "tutorials"):  # installed, and in a checkout
        scripts = sorted(folder.glob("[0-9][0-9]_*.py"))
        if scripts:
            return [_described(script) for script in scripts]
    raise WorkError("the lessons are missing from this installation", "python -m pip install --force-reinstall .")


def show_summary(as_json):
    """Prints docs/difference.md: formatted in a terminal, as it is elsewhere, and its table as a list of rows with
    --json."""
    from rich.console import Console
    from rich.markdown import Markdown

    text = summary_page().read_text(encoding="utf-8")
    if as_json:
        print_json(summary_rows(text))
    elif sys.stdout.isatty():
        Console(highlight=False).print(Markdown(COMMENT.sub("", re.sub(r"^!.*$", "", text, flags=re.MULTILINE))))
    else:
        print(COMMENT.sub("", text), end="")


def solutions_of(lesson):
    """The code of a lesson's solutions, which its text folds away."""
    text = "\n".join(cell.source for cell in cells(lesson.path.read_text(encoding="utf-8")) if cell.is_text)
    return re.search(r"^## Solutions$.*?^```python\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL).group(1)


def summary_page():
    """The page's path: beside the installed lessons, and in a checkout in docs/.

    Raises:
        WorkError: the page is missing.
    """
    package = Path(resdense_keras.__file__).parent
    for path in (package / "tutorials" / "difference.md", package.parent / "docs" / "difference.md"):
        if path.exists():
            return path
    raise WorkError("the summary is missing from this installation", "python -m pip install --force-reinstall .")


def summary_rows(text):
    """The page's table: one dict per row, with the keys said, verdict, measured and lessons (numbers)."""
    rows = []
    for line in re.findall(r"^\| (.*) \|$", text, re.MULTILINE)[1:]:  # but for the header
        said, verdict, measured, links = line.split(" | ")  # a comment behind the links names what backs them
        numbers = [int(number) for number in re.findall(r"\[(\d+)\]", links)]
        rows.append({"said": said, "verdict": verdict, "measured": measured, "lessons": numbers})
    return rows


def _described(script):
    text = script.read_text(encoding="utf-8")
    title = re.search(r"^# # \d+\. (.*)$", text, re.MULTILINE).group(1)
    return Lesson(int(script.name[:2]), title, int(TIME.search(text).group(1)), script)


def find(wanted):
    """The lesson with a number ("1", "01") or a script's name ("01_add_or_concatenate").

    Raises:
        RequestError: there is no such lesson; the message lists all.
    """
    known = lessons()
    for lesson in known:
        if wanted in (str(lesson.number), lesson.path.stem[:2], lesson.path.stem, lesson.path.name):
            return lesson
    numbers = ", ".join(str(lesson.number) for lesson in known)
    raise RequestError(f"lesson {wanted!r} was asked for; there are {numbers}", "`resdense learn` lists them")


def cells(text):
    """The cells of a script in jupytext's percent format, in their order."""
    marks = list(CELL.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    found = []
    for mark, end in zip(marks, ends, strict=True):
        body = text[mark.end() + 1 : end].rstrip()
        if mark["text"]:
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        found.append(Cell(bool(mark["text"]), body, text.count("\n", 0, mark.end()) + 2))
    return found


def run(lesson, out):
    """Runs a lesson: shows its text and its code, executes the code, writes its pictures to the folder `out`.

    In a terminal it waits for Enter where the lesson asks for a prediction.

    Raises:
        WorkError: the lesson cannot run here, for example because a package is missing.
    """
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.syntax import Syntax

    os.environ["RESDENSE_PLOTS"] = str(out)
    console = Console(highlight=False)
    names = {"__name__": "__main__", "__file__": str(lesson.path)}
    for cell in cells(lesson.path.read_text(encoding="utf-8")):
        if cell.is_text:
            console.print(Markdown(shown(cell.source)), "")
            if PREDICT in cell.source:
                _wait(console)
            if EXERCISES in f"{cell.source}\n":
                console.print(_how_to_work(lesson.number), "")
            continue
        console.print(Syntax(cell.source, "python", theme="ansi_dark", background_color="default", word_wrap=True), "")
        sys.stdout.flush()
        # The empty lines keep the script's own numbers in a traceback, and let TensorFlow find the source.
        code = compile("\n" * (cell.line - 1) + cell.source, lesson.path, "exec")
        try:
            exec(code, names)
        except SystemExit as stop:  # how a lesson says what is missing
            message, _, hint = str(stop.code).partition("\nhint: ")
            raise WorkError(message, hint or None) from None
        console.print()


def shown(text):
    """A text cell as a terminal shows it: without comments, and without what a notebook folds away."""
    text = FOLDED.sub("*(Folded in the notebook; `--solutions` prints solutions.)*", text)
    return COMMENT.sub("", text)


def _how_to_work(number):
    """Where the exercises are worked on, because here nobody can edit a cell."""
    copy = f"lesson{number}.py"
    return (
        f"Here the exercises run unsolved, so each says what is missing. To solve them: `resdense learn {number} "
        f"--script > {copy}`, edit {copy}, then `python {copy}`."
    )


def _wait(console):
    """Gives the learner time to predict; does nothing where there is no terminal."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        try:
            console.input("[bold]Your prediction, then Enter:[/bold] ")
        except EOFError:
            console.print()


def table(rows):
    """The table of `resdense learn`."""
    shown = columns(">lesson", "title", ">minutes at most")
    for row in rows:
        shown.add_row(str(row["lesson"]), row["title"], str(row["minutes"]))
    return shown
