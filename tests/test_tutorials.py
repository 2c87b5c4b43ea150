"""Laws of the lessons: notebooks are made from scripts, claims can fail, a lesson runs anywhere."""

import ast
import base64
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

from resdense_cli.commands import learn

TUTORIALS = Path(__file__).parents[1] / "tutorials"
SCRIPTS = sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))
SECTIONS = ("After this lesson you can", "**Predict.**", "What this does not show", "## Exercises", "## Sources")
# A word as the lessons write it -> its anchor in the glossary
WORDS = {
    r"nats?\b": "nat",
    "logits": "logits",
    "RMS": "rms",
    "R²": "r-squared",
    "rank correlation": "rank-correlation",
    r"seeds?\b": "seed",
    "warm-up": "warm-up",
    "He's initialisation": "he-initialisation",
    r"tied(?=\S* weights)": "tied-weights",
    "batch norms?": "batch-norm",
    "growth rates?": "growth-rate",
    "transitions?": "transition",
    "bottlenecks?": "bottleneck",
}
UNLINKED = re.compile(  # code, headings, comments, folded answers, the head's lines on time and needs
    r"(?s:```.*?```)|`[^`]*`|^#.*$|^ {4,}.*$|(?s:<!--.*?-->)|(?s:<details>.*?</details>)|^.*\*\*(?:Time|Needs)\b.*$",
    re.MULTILINE,
)
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef)

each_lesson = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def cells(script, kind):
    return [cell.source for cell in jupytext.read(script, fmt="py:percent").cells if cell.cell_type == kind]


def prose(script):
    return "\n\n".join(cells(script, "markdown"))


def definitions(script):
    """What a lesson defines, without what it runs: its imports, its functions, its constants in capitals."""
    tree = ast.parse(script.read_text())
    tree.body = [node for node in tree.body if isinstance(node, DEFINITIONS) or _is_constant(node)]
    names = {}
    exec(compile(tree, script, "exec"), names)
    return names


def _is_constant(node):
    """Whether a statement gives values to names in capitals, one or several at once."""
    if not isinstance(node, ast.Assign):
        return False
    names = [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return all(name.isupper() for name in names)


def stored_cells(script):
    """The code cells of the notebook beside a script, with their outputs."""
    return [cell for cell in nbformat.read(script.with_suffix(".ipynb"), 4).cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def make_notebooks():
    spec = importlib.util.spec_from_file_location("make_notebooks", TUTORIALS / "make_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Script and notebook


def test_every_notebook_is_made_from_its_script(make_notebooks):
    assert make_notebooks.problems(TUTORIALS) == [], "run: python tutorials/make_notebooks.py"


def test_the_comparison_sees_a_change_a_missing_and_a_left_over_notebook(make_notebooks, tmp_path, capsys):
    for name in ("01_same", "02_changed"):
        (tmp_path / f"{name}.py").write_text("# %% [markdown]\n# # Title\n\n# %%\nprint(1)\n")
        nbformat.write(make_notebooks.read(tmp_path / f"{name}.py"), tmp_path / f"{name}.ipynb")
    (tmp_path / "02_changed.py").write_text("# %% [markdown]\n# # Title\n\n# %%\nprint(2)\n")
    (tmp_path / "03_missing.py").write_text("# %%\nprint(3)\n")
    (tmp_path / "01_same.ipynb").replace(tmp_path / "04_left_over.ipynb")
    nbformat.write(make_notebooks.read(tmp_path / "01_same.py"), tmp_path / "01_same.ipynb")
    assert make_notebooks.main(["--check"], tmp_path) == 1
    assert [line for line in capsys.readouterr().err.splitlines() if not line.startswith("hint: ")] == [
        "02_changed.ipynb differs from 02_changed.py",
        "03_missing.ipynb is missing",
        "04_left_over.ipynb has no script 04_left_over.py",
    ]


def test_an_unknown_lesson_is_named(make_notebooks, capsys):
    assert make_notebooks.main(["99"]) == 2
    assert "no lesson begins with 99; known: 01" in capsys.readouterr().err


def test_text_is_written_again_without_a_run_and_only_for_the_code_that_ran(make_notebooks, tmp_path, capsys):
    script = tmp_path / "01_lesson.py"
    script.write_text("# %% [markdown]\n# # Title\n\n# %%\nprint(1)\n")
    notebook = make_notebooks.read(script)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="1\n")]
    nbformat.write(notebook, script.with_suffix(".ipynb"))
    script.write_text("# %% [markdown]\n# # Another\n\n# %% [markdown]\n# Text.\n\n# %%\nprint(1)\n")
    assert make_notebooks.main(["--text"], tmp_path) == 0
    cells = nbformat.read(script.with_suffix(".ipynb"), 4).cells
    assert [cell.source for cell in cells[:2]] == ["# Another", "Text."] and cells[2].outputs[0].text == "1\n"
    script.write_text("# %%\nprint(2)\n")
    assert make_notebooks.main(["--text"], tmp_path) == 1
    assert "its code is not the one that ran" in capsys.readouterr().err


@pytest.mark.lessons
def test_a_cell_that_fails_leaves_the_old_notebook_and_a_good_one_is_executed(make_notebooks, tmp_path, capsys):
    script, notebook = tmp_path / "01_lesson.py", tmp_path / "01_lesson.ipynb"
    script.write_text("# %%\nimport os\nprint(os.listdir())\n")
    assert make_notebooks.main([], tmp_path) == 0
    good = notebook.read_bytes()
    assert nbformat.read(notebook, 4).cells[0].outputs[0].text == "[]\n"  # it ran, and in an empty folder
    script.write_text("# %%\nraise ValueError('wrong')\n")
    assert make_notebooks.main([], tmp_path) == 1
    assert "ValueError: wrong" in capsys.readouterr().err
    assert notebook.read_bytes() == good


def test_a_kernel_that_dies_is_one_message_and_leaves_the_old_notebook(tmp_path):
    script, notebook = tmp_path / "01_lesson.py", tmp_path / "01_lesson.ipynb"
    script.write_text("# %%\nimport os\nos._exit(1)\n")
    notebook.write_text("as it was")
    maker = Path(shutil.copy(TUTORIALS / "make_notebooks.py", tmp_path))
    run = subprocess.run([sys.executable, maker], capture_output=True, text=True)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-3:] == [  # before them a kernel may have warned
        "01_lesson.py failed, its notebook stays as it was:",
        "the kernel died, as it does where memory runs out",
        f"hint: python {script} runs the lesson without one and shows how far it comes",
    ]
    assert notebook.read_text() == "as it was"


# Form


@each_lesson
def test_a_lesson_has_all_its_parts(script):
    text = prose(script)
    assert [part for part in SECTIONS if part not in text] == []
    words = re.sub(r"^ {4,}.*$", "", learn.shown(text), flags=re.MULTILINE).split()  # code and folded answers are none
    assert 600 <= len(words) <= 1500
    assert 3 <= len(re.findall(r"^\*\*\d\. ", text, re.MULTILINE)) <= 5  # exercises
    sources = text.split("## Sources")[1]
    assert re.search(r"[Ff]igure \d", sources) and "arXiv:" in sources


@each_lesson
def test_a_lesson_leads_to_the_one_before_and_the_one_after(script):
    links = re.findall(r"\]\((\d\d_\w+)\.ipynb\)", cells(script, "markdown")[0])
    place = SCRIPTS.index(script)
    assert links == [other.stem for other in SCRIPTS[max(0, place - 1) : place + 2] if other != script]


@each_lesson
def test_a_word_of_the_glossary_is_linked_where_a_lesson_uses_it_first(script):
    text = "\n\n".join(
        cell for cell in cells(script, "markdown") if not cell.startswith(("## Solutions", "## Sources"))
    )
    text = UNLINKED.sub(" ", text)
    headings = re.findall(r"^## (.*)$", (TUTORIALS.parent / "docs" / "glossary.md").read_text(), re.MULTILINE)
    anchors = [heading.lower().replace(" ", "-") for heading in headings]
    for word, anchor in WORDS.items():
        assert anchor in anchors
        pattern = word.replace(" ", r"\s+")
        first = re.search(rf"(?<![\w-])\**(\[)?\**{pattern}", text, re.IGNORECASE)
        if first:
            assert re.match(rf"[^\]]*\]\(../docs/glossary.md#{anchor}\)", text[first.end() :]), f"{word}: {first[0]}"


def exercises(script):
    """(module, check, name of the learner's function) of each exercise."""
    return re.findall(r"^(\w+)\.(check_\w+)\((\w+)\)$", "\n".join(cells(script, "code")), re.MULTILINE)


@each_lesson
def test_every_exercise_has_a_solution(script):
    solved = ast.parse(learn.solutions_of(learn.find(script.stem))).body
    asked = [own for _, _, own in exercises(script)]
    assert asked and asked == [node.name for node in solved if isinstance(node, ast.FunctionDef)]


@pytest.mark.lessons
@each_lesson
def test_the_solutions_are_right(script, capsys):
    names = definitions(script)
    exec(learn.solutions_of(learn.find(script.stem)), names)
    for module, check, own in exercises(script):
        getattr(names[module], check)(names[own])
    assert capsys.readouterr().out == "Right.\n" * len(exercises(script))


@each_lesson
def test_a_lesson_is_plain_python_and_uses_public_names_only(script):
    code = "\n".join(cells(script, "code"))
    tree = ast.parse(code)  # a magic would not parse
    assert not re.search(r"^#\s*[%!](?!%)", script.read_text(), re.MULTILINE)  # nor one that jupytext comments out
    used = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            used += [*node.module.split("."), *(alias.name for alias in node.names)]
    assert [name for name in used if re.match(r"_(?!_)", name)] == []


@each_lesson
def test_a_lesson_says_what_is_missing_before_it_imports_it(script):
    first, begin, *_ = ast.parse("\n".join(cells(script, "code"))).body
    assert ast.unparse(first) == "from resdense_keras.experiments import lesson"
    assert ast.unparse(begin).startswith("lesson.begin(")


@each_lesson
def test_no_code_is_cut_off_at_a_notebooks_edge(script):
    assert [line for source in cells(script, "code") for line in source.splitlines() if len(line) > 96] == []


@each_lesson
def test_the_stored_run_took_no_more_than_the_header_says_and_fits_a_small_machine(script):
    minutes = int(re.search(r"\*\*Time:\*\* at most (\d+) minutes? on 2 idle CPU cores", prose(script)).group(1))
    text = stored_cells(script)[-1].outputs[0].text
    seconds, mebibytes = map(int, re.match(r"This run: (\d+) s, (\d+) MiB of memory at its peak", text).groups())
    processor = re.search(r"(\d+) s of processor time", text)  # what an idle machine would have needed at most
    assert min(seconds, int(processor.group(1)) if processor else seconds) <= 60 * minutes <= 180
    assert mebibytes <= 2048


@each_lesson
def test_the_stored_notebook_is_complete(script):
    code = stored_cells(script)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert not [output.text for output in outputs if "WARNING:" in output.get("text", "")]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures and all(picture.metadata["image/png"]["alt"] for picture in pictures)


@each_lesson
def test_the_code_of_claims_is_folded_and_no_other(script):
    for cell in stored_cells(script):
        is_claim = bool(re.search(r"^(def claim_|BREAK = )", cell.source, re.MULTILINE))
        assert cell.metadata.get("jupyter", {}).get("source_hidden", False) == is_claim


@each_lesson
def test_claims_stand_in_the_last_section_and_nowhere_else(script):
    before, after = script.read_text().split("# ## Can these claims fail?\n")
    assert "claim_" not in re.sub(r"^#.*$", "", before, flags=re.MULTILINE)
    assert "## " not in after and "BREAK = {" in after and "    claim()\n" in after


@each_lesson
def test_a_notebook_alone_says_what_to_install_and_installs_nothing_unasked(script):
    first, *others = [cell.source for cell in stored_cells(script)]
    assert "\n# %pip install ..\n" in first
    assert not re.search(r"^%", "\n".join([first, *others]), re.MULTILINE)


@each_lesson
def test_every_picture_fits_a_phone_and_says_its_numbers_where_alternative_texts_are_not_shown(script):
    outputs = [output for cell in stored_cells(script) for output in cell.outputs]
    for output in outputs:
        if "image/png" in output.get("data", {}):
            header = base64.b64decode(output.data["image/png"])[:24]
            assert int.from_bytes(header[16:20], "big") == 6 * 120  # inches, pixels an inch
            assert output.data["text/plain"] == output.metadata["image/png"]["alt"]
            assert re.search(r"\d", output.data["text/plain"])


# Running


@pytest.mark.lessons
@each_lesson
def test_a_lesson_runs_as_a_script_in_an_empty_folder_without_a_display(script, tmp_path):
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "RESDENSE_PLOTS", "RESDENSE_FULL")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    run = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["lesson-plots"]
    assert len(list((tmp_path / "lesson-plots").glob("*.png"))) == run.stdout.count("Picture: ") > 0


@pytest.mark.lessons
@each_lesson
def test_every_claim_fails_once_its_cause_is_taken_away(script):
    from resdense_keras.experiments import lesson

    names = definitions(script)
    claims = {value for name, value in names.items() if name.startswith("claim_")}
    assert claims == set(names["BREAK"])
    for claim, change in names["BREAK"].items():
        lesson.refutation(claim, change)
