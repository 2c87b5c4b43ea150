"""Help texts, messages, page texts and docstrings are read once: what puzzled readers most stays out of them."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PUZZLES = {
    "'alone' for 'only'": re.compile(r"(?<!stands )\balone\b"),
    "'is no' for 'is not a'": re.compile(r"(?<!there )\b(?:is|are|was|were) no (?!longer|more|less|better|other\b)\w+"),
    "'a line a file' for 'a line per file'": re.compile(
        r"\ba (?:line|file|row|panel|point|training) an? (?:file|net|device|epoch|round|seed)\b"
        r"|\b(?:one|number|numbers|name|list|dict) an? (?:channel|file|class|line|net|image|output|input)\b"
    ),
    "'as a rule' for 'usually'": re.compile(r"\bas a rule\b"),
}


@pytest.fixture(scope="module")
def texts():
    spec = importlib.util.spec_from_file_location("texts", ROOT / "docs" / "texts.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return list(script.texts())


@pytest.mark.parametrize("puzzle", PUZZLES)
def test_no_text_has_what_had_to_be_read_twice(puzzle, texts):
    found = [
        f"{path}:{line}: ...{text[max(0, match.start() - 40) : match.end() + 40]}..."
        for path, line, text in texts
        for match in PUZZLES[puzzle].finditer(text)
    ]
    assert found == []


def test_the_list_has_help_messages_docstrings_and_pages(texts):
    listed = "\n".join(text for _, _, text in texts)
    for text in (
        "Timed inferences per file.",
        "free some space, or choose a folder on another disk",
        "Builds a ResNet of any depth; the defaults are ResNet-50.",
        "This page needs JavaScript, which is switched off in this browser.",
        "These numbers are now in the report on the computer.",
    ):
        assert text in listed
