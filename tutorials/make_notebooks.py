"""Makes the notebooks from the scripts beside this file, which are the source.

    python tutorials/make_notebooks.py            run every lesson and write its notebook
    python tutorials/make_notebooks.py 01 04      only lessons 1 and 4
    python tutorials/make_notebooks.py --check    exit 1 where a notebook is not made from its script; runs nothing
    python tutorials/make_notebooks.py --text     write text and folding again, keep outputs; runs nothing, and refuses
                                                  where the code is not the one that ran

A lesson runs in an empty folder. Where a cell fails or the kernel dies its notebook stays as it was, and the exit code
is 1.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

try:
    import jupytext
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
except ImportError as missing:
    sys.exit(
        f'{missing.name} is missing; in the project\'s folder: python -m pip install ".[test]"'
    )

from resdense_keras.files import write_text

HERE = Path(__file__).parent
# Comments, so that nothing is installed unless it is asked for. They stand in the notebooks only: a script runs where
# the package is.
INSTALL = """\
# Is the package not installed here? Take the # off the next line; .. is the project's folder.
# %pip install ..

"""
SECONDS_PER_CELL = 600
# What TensorFlow writes while it is imported, before anyone can turn its log down
CLAIM = re.compile(r"^(def claim_|BREAK = )", re.MULTILINE)
START_UP_LOG = re.compile(r"(WARNING: All log messages before absl::InitializeLog|[IWE]\d{4} )")
COLOR_CODE = re.compile(r"\x1b\[[\d;]*m")


def scripts(folder, chosen=()):
    """The lessons of a folder in their order, or those whose names begin with one of `chosen`."""
    found = sorted(folder.glob("[0-9][0-9]_*.py"))
    return [script for script in found if not chosen or script.name.startswith(tuple(chosen))]


def read(script):
    """The script as a notebook without outputs. Cells are numbered, so that a diff shows what changed."""
    notebook = jupytext.read(script, fmt="py:percent")
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02}"
        # JupyterLab folds the code of claims; their output, what was found, stays in sight.
        cell.metadata = (
            {"jupyter": {"source_hidden": True}} if CLAIM.search(cell.source) else {}
        )
    first_code(notebook).source = INSTALL + first_code(notebook).source
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def first_code(notebook):
    return next(cell for cell in notebook.cells if cell.cell_type == "code")


def write_text_cells(script):
    """Writes the notebook of a script again with the outputs of the stored one; False where the code is another."""
    path, notebook = script.with_suffix(".ipynb"), read(script)
    stored, fresh = (
        [cell for cell in made.cells if cell.cell_type == "code"]
        for made in (nbformat.read(path, as_version=4), notebook)
    )
    if [cell.source for cell in stored] != [cell.source for cell in fresh]:
        print(f"{script.name}: its code is not the one that ran\nhint: run it", file=sys.stderr)
        return False
    for cell, ran in zip(fresh, stored, strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    write_text(path, nbformat.writes(notebook) + "\n")
    return True


def sources(notebook):
    """What must be equal in script and notebook: kind and text of every cell."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def run(notebook):
    """Executes all cells in an empty folder, in place."""
    with tempfile.TemporaryDirectory() as empty:
        NotebookClient(
            notebook,
            kernel_name="python3",
            resources={"metadata": {"path": empty}},
            timeout=SECONDS_PER_CELL,
            record_timing=False,  # else every run would change every cell
            coalesce_streams=True,
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_start_up_log(output)]


def _is_start_up_log(output):
    is_stderr = output.output_type == "stream" and output.name == "stderr"
    return is_stderr and all(START_UP_LOG.match(line) for line in output.text.splitlines())


def make(script):
    """Writes the script's executed notebook; says what failed and returns False where something does."""
    print(f"{script.name} ...", flush=True)
    notebook = read(script)
    try:
        run(notebook)
    except (CellExecutionError, CellTimeoutError) as error:
        problem = COLOR_CODE.sub("", str(error))
    except DeadKernelError:
        problem = (
            "the kernel died, as it does where memory runs out\n"
            f"hint: python {script} runs the lesson without one and shows how far it comes"
        )
    else:
        write_text(script.with_suffix(".ipynb"), nbformat.writes(notebook) + "\n")
        return True
    print(f"{script.name} failed, its notebook stays as it was:\n{problem}", file=sys.stderr)
    return False


def problems(folder):
    """What is wrong with the notebooks of a folder, one line each; empty where all are made from their scripts."""
    found = []
    made = {script.with_suffix(".ipynb") for script in scripts(folder)}
    for path in sorted(made | set(folder.glob("*.ipynb"))):
        script = path.with_suffix(".py")
        if not path.exists():
            found.append(f"{path.name} is missing")
        elif not script.exists():
            found.append(f"{path.name} has no script {script.name}")
        elif sources(nbformat.read(path, as_version=4)) != sources(read(script)):
            found.append(f"{path.name} differs from {script.name}")
    return found


def main(arguments=None, folder=HERE):
    parser = argparse.ArgumentParser(
        description="Make the notebooks from the lessons' scripts."
    )
    parser.add_argument("lessons", nargs="*", help="beginnings of names, e.g. 01; default: all")
    parser.add_argument("--check", action="store_true", help="compare sources, run nothing")
    parser.add_argument(
        "--text",
        action="store_true",
        help="write the text cells, keep the outputs, run nothing",
    )
    given = parser.parse_args(arguments)
    if given.check:
        found = problems(folder)
        for problem in found:
            print(
                f"{problem}\nhint: python tutorials/make_notebooks.py {problem[:2]}",
                file=sys.stderr,
            )
        return 1 if found else 0
    chosen = scripts(folder, given.lessons)
    if not chosen:
        known = ", ".join(script.name[:2] for script in scripts(folder))
        print(
            f"no lesson begins with {' or '.join(given.lessons) or 'a number'}; known: {known}",
            file=sys.stderr,
        )
        return 2
    made = [(write_text_cells if given.text else make)(script) for script in chosen]
    return 0 if all(made) else 1


if __name__ == "__main__":
    sys.exit(main())
