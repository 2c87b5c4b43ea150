"""Benchmarks are run by hand and by no test; so this one at least imports each and asks it for its help."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
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
