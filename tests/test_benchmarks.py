"""Benchmarks are run by hand and by no test; so these at least import each, with all it imports later, and its help."""

import ast
import importlib.util
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
