"""Every public name has an example in its docstring that calls it and shows a value or a shape; all of them run."""

import doctest
import importlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import resdense_export
import resdense_keras
from resdense_keras import catalog, data

# Seconds each: nets of many layers, trainings.
LARGE = {name for name, row in catalog.sizes().items() if row["parameters"] > 6e5}
SLOW = LARGE | {"export", "check", "quantize"}
LONG = {"compare", "resnet1202", "resnet1001_v2"}  # a minute and more
NAMES = [(package, name) for package in (resdense_keras, resdense_export) for name in package.__all__]


def examples(package, name):
    """The examples of a docstring, as doctest reads them."""
    text = getattr(package, name).__doc__ or ""
    known = {"np": np, "Path": Path, "data": data, "resdense_keras": resdense_keras, "resdense_export": resdense_export}
    return doctest.DocTestParser().get_doctest(text, known, name, None, 0)


def identified(packages):
    marks = {name: [pytest.mark.slow] for name in SLOW} | {name: [pytest.mark.long] for name in LONG}
    return [
        pytest.param(package, name, id=f"{package.__name__}.{name}", marks=marks.get(name, []))
        for package, name in packages
    ]


def test_every_public_name_has_an_example_that_calls_it_and_shows_something():
    lacking = [
        f"{package.__name__}.{name}"
        for package, name in NAMES
        if not any(one.want for one in examples(package, name).examples)
        or not any(f"{package.__name__}.{name}(" in one.source for one in examples(package, name).examples)
    ]
    assert lacking == []


@pytest.mark.parametrize("package, name", identified(NAMES))
def test_an_example_prints_what_it_shows(package, name, tmp_path, monkeypatch):
    """In an empty folder; the class names of ImageNet, which are fetched once, are stood in for."""
    from resdense_keras.weights import download

    index = tmp_path / "index.json"
    index.write_text(json.dumps({"0": ["n01440764", "tench"]}))
    monkeypatch.setattr(download, "class_index", lambda: index)
    monkeypatch.chdir(tmp_path)
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = doctest.DocTestRunner(verbose=False).run(examples(package, name), out=said.append)
    assert result.failed == 0, "".join(said)


def test_the_modules_that_hold_public_names_say_what_they_are_for():
    lacking = [
        name for package, name in NAMES if not importlib.import_module(getattr(package, name).__module__).__doc__
    ]
    assert lacking == []
