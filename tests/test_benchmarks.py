"""Benchmarks are run by hand and by no test; so these at least import each, with all it imports later, and its help."""

import ast
import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


each_benchmark = pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)


@each_benchmark
def test_a_benchmark_is_imported_and_shows_its_help(path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)  # they share modules beside them
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if hasattr(module, "main"):
        with pytest.raises(SystemExit) as stop:
            module.main()
        assert stop.value.code == 0 and "usage:" in capsys.readouterr().out


@each_benchmark
def test_what_a_benchmark_takes_from_us_while_it_runs_is_there(path):
    """Most imports stand inside functions, where `--help` does not come by."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("resdense_"):
            exec(compile(ast.Module([node], []), path, "exec"), {})


def test_the_table_of_foreign_nets_has_a_dash_for_what_was_not_measured(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("benchmark_foreign", BENCHMARKS / "foreign.py")
    monkeypatch.setitem(sys.modules, spec.name, module := importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    row = {"max_difference": 0.1, "millions_of_instructions": 3.0}
    record = {"rejected": {}, "files": {"dynamic": {"ours": row, "stock": row}}}
    (tmp_path / "foreign.json").write_text(json.dumps({"nets": {"VGG16": record}}))
    monkeypatch.setattr(module, "RESULT", tmp_path / "foreign.json")
    cells = [cell.strip() for cell in module.table()[-1].split("|")[2:-1]]
    assert cells[:2] == ["– / –"] * 2 and cells.count("–") == len(cells) - 3
    assert cells.count("1.000 (3 / 3 M)") == 1


@pytest.fixture
def lessons(monkeypatch, tmp_path):
    """benchmarks/lessons.py, which stores into an empty folder."""
    from resdense_keras.experiments import lesson

    monkeypatch.setattr(lesson, "STORED_RUNS", tmp_path)
    spec = importlib.util.spec_from_file_location("benchmark_lessons", BENCHMARKS / "lessons.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_stopped_run_of_the_lessons_goes_on_where_it_was(lessons, monkeypatch, tmp_path):
    measured = []

    def series(name):
        def measure(seed):
            if len(measured) == 3:
                raise KeyboardInterrupt
            measured.append((name, seed))
            return seed

        return measure

    def run():
        return lessons.BySeed({name: series(name) for name in ("a", "b")}, {"epochs": 7})

    monkeypatch.setattr(lessons, "BY_SEED", (run,))
    with pytest.raises(KeyboardInterrupt):
        lessons.measure("a-run", run, resume=False)
    monkeypatch.setattr(lessons, "SEEDS", 2)
    assert measured == [("a", 0), ("b", 0), ("a", 1)]
    measured.clear()
    lessons.measure("a-run", run, resume=True)
    assert measured == [("b", 1)]
    assert json.loads((tmp_path / "a-run.json").read_text())["result"] == {"epochs": 7, "a": [0, 1], "b": [0, 1]}


def test_a_run_of_the_lessons_without_its_files_says_what_it_needs(lessons, monkeypatch, capsys):
    monkeypatch.delenv("RESDENSE_CIFAR10", raising=False)
    for name, need in (
        ("01-control-cifar10", "set RESDENSE_CIFAR10"),
        ("09-flowers", "--photos"),
        ("x", "there are 01-"),
    ):
        monkeypatch.setattr(sys, "argv", ["lessons.py", name])
        with pytest.raises(SystemExit) as stop:
            lessons.main()
        assert stop.value.code == 2 and need in capsys.readouterr().err
    monkeypatch.setenv("RESDENSE_CIFAR10", "none.npz")
    with pytest.raises(SystemExit):
        lessons.main()
    assert "RESDENSE_CIFAR10=none.npz is not a file" in capsys.readouterr().err
