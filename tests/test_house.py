"""The house's walls, its manners at import, and the README's commands."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*arguments, **options):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, **options)


def test_the_walls_stand():
    result = run(Path(sys.executable).with_name("lint-imports"), cwd=ROOT)
    assert result.returncode == 0, result.stdout


def test_ci_runs_the_readmes_test_command_word_for_word():
    commands = re.findall(r"^\s*(python -m pip install .*pytest)\s*(?:#.*)?$", (ROOT / "README.md").read_text(), re.M)
    assert len(commands) == 1
    assert commands[0].strip() in (ROOT / ".ci/run").read_text()


def test_every_command_of_the_readme_exists_with_its_options():
    import typer

    from resdense_cli.main import app

    known = typer.main.get_command(app).commands
    shown = re.findall(r"resdense ([a-z]+)([^`#&\n]*)", (ROOT / "README.md").read_text())
    assert {"compare", "export", "check", "bench", "models", "report"} <= {command for command, _ in shown}
    for command, rest in shown:
        allowed = {option for parameter in known[command].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= allowed, (command, rest)


def test_the_readmes_python_runs(monkeypatch, capsys):
    """But for the download: the net that the named weights belong to is built, and left as it is."""
    from resdense_keras import weights

    monkeypatch.setattr(weights, "load_named", lambda model, row, **head: None)
    first, _fine_tuning = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(first, {})  # the other one: test_train_and_eval.py
    assert "stage1_block1_conv1" in capsys.readouterr().out


IMPORTED = "import sys; {}; print(*sorted(name for name in sys.modules if name in {!r}))"
HEAVY = ("tensorflow", "jax", "torch", "tf_keras", "keras", "matplotlib", "h5py", "pooch", "safetensors", "sklearn")


@pytest.mark.parametrize(
    "statement",
    ["import resdense_keras", "import resdense_export", "import resdense_cli.main", "import resdense_keras.files"],
)
def test_importing_loads_nothing_heavy(statement):
    result = run(sys.executable, "-c", IMPORTED.format(statement, HEAVY))
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "", "")


def test_help_loads_nothing_heavy():
    program = "import sys\nfrom resdense_cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    result = run(
        sys.executable, "-c", program + f"print('loaded', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert "loaded []" in result.stdout


@pytest.mark.slow
def test_the_library_runs_without_tensorflow():
    """Builders need keras and numpy: on the JAX backend, with TensorFlow, h5py and the like out of reach."""
    program = (
        "import sys, os\nos.environ['KERAS_BACKEND'] = 'jax'\n"
        "import keras\n"
        "before = set(sys.modules)\n"
        "import resdense_keras\n"
        "model = resdense_keras.cifar_resnet(depth=8)\nresdense_keras.profile(model)\n"
        "resdense_keras.cifar_densenet(depth=10, recompute=True)\n"
        "print('loaded', sorted({'tensorflow', 'torch', 'pooch', 'safetensors'} & (set(sys.modules) - before)))"
    )
    result = run(sys.executable, "-c", program)
    assert "loaded []" in result.stdout, result.stderr


def test_the_public_names_of_the_stub_are_all_there():
    import resdense_export
    import resdense_keras

    for package in (resdense_keras, resdense_export):
        assert package.__all__ and all(callable(getattr(package, name)) for name in package.__all__)
        assert len(set(package.__all__)) == len(package.__all__)  # no name twice


def test_the_project_names_no_machine_path():
    tracked = run("git", "ls-files", "-z", cwd=ROOT).stdout.split("\0") if shutil.which("git") else [""]
    if tracked == [""]:
        pytest.skip("not a git checkout")
    wrong = re.compile(r"/(work|home|root|tmp)/[a-z]+/")
    named = [
        name
        for name in tracked
        if name
        and Path(name).suffix in (".py", ".md", ".toml", ".json", ".ipynb")
        and wrong.search((ROOT / name).read_text())
    ]
    assert named == []


def test_the_readmes_table_is_the_stored_reports():
    import importlib.util
    import json

    spec = importlib.util.spec_from_file_location("readme_table", ROOT / "docs" / "readme_table.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    readme = (ROOT / "README.md").read_text()
    assert script.with_table(readme, json.loads(script.STORED.read_text())) == readme


OWN = ("resdense_keras", "resdense_export", "resdense_cli")
FOLDERS = ("resdense_keras", "export", "cli", "docs", "benchmarks", "tests", "tutorials")


def python_files(*patterns):
    """Our Python files, without what flatc made and what older versions left."""
    found = (path for pattern in patterns for path in ROOT.glob(pattern))
    return [path for path in found if path.name != "metadata_schema.py" and "old" not in path.relative_to(ROOT).parts]


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_of_ours_is_imported_under_a_second_name(folder):
    files = python_files(f"{folder}/**/*.py", f"{folder}/**/*.pyi")
    assert files
    renamed = []
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                ours = node.level or node.module.split(".")[0] in OWN
            else:
                ours = isinstance(node, ast.Import) and any(name.name.split(".")[0] in OWN for name in node.names)
            if ours and any(name.asname for name in node.names):
                renamed.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert renamed == []


def test_a_pass_is_a_file_of_its_name():
    from resdense_export.nets.rewriting import GRAPHS

    passes = {change for graph in GRAPHS.values() for change in graph}
    assert [change.__name__ for change in passes if change.__module__.split(".")[-1] != change.__name__] == []


def test_a_lessons_experiments_stand_in_a_folder_of_its_name():
    """Beside them: what several lessons share, and what the lessons stored."""
    lessons = {path.stem[3:] for path in ROOT.glob("tutorials/[0-9][0-9]_*.py")}
    folders = {path.parent.name for path in ROOT.glob("resdense_keras/experiments/*/__init__.py")}
    assert lessons == folders
    for lesson in ROOT.glob("tutorials/[0-9][0-9]_*.py"):
        assert f"from resdense_keras.experiments.{lesson.stem[3:]} import" in lesson.read_text()


def test_lines_of_javascript_are_up_to_120_characters_long():
    folders = ("docs", "export/resdense_export")
    scripts = [path for folder in folders for kind in ("js", "mjs") for path in ROOT.glob(f"{folder}/**/*.{kind}")]
    assert scripts
    made = ROOT / "docs/explainer/nets.js"  # by docs/embed_nets.py
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in scripts
        if path != made and "node_modules" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line) > 120
    ]
    assert long == []


def test_no_statement_is_an_expression_with_two_ends():
    """`a() if x else b()` as a statement hides that it branches: an if says it."""
    found = []
    for path in python_files(*(f"{folder}/**/*.py" for folder in FOLDERS)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.IfExp | ast.BoolOp):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []
