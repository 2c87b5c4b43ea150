"""What the benchmarks behind docs/rewriting.md and docs/slimming.md share: tables, counted instructions, answers."""

import contextlib
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from resdense_export.tflite import running
from resdense_keras import files

DOCUMENT = Path(__file__).parents[1] / "docs" / "rewriting.md"


def put(marks, lines, document=DOCUMENT):
    """Replaces what stands between two lines of a document, a table's marks, by `lines`."""
    start, end = (re.escape(mark) for mark in marks)
    text = marks[0] + "".join(lines) + marks[1]
    files.write_text(document, re.sub(f"(?s){start}.*?{end}", lambda _: text, document.read_text()))


def markdown(words, numbers, lines):
    """A table: columns of words, then columns of numbers."""
    rows = [[*words, *numbers], ["---"] * len(words) + ["--:"] * len(numbers), *lines]
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)


def millions(command, path):
    """The number that `command FILE` prints last, such as the millions of instructions of one inference."""
    run = subprocess.run([*shlex.split(command), str(path)], capture_output=True, text=True, check=True)
    return float(run.stdout.split()[-1])


@contextlib.contextmanager
def on_disk(content):
    """The path of a .tflite file with these bytes, while the context lasts."""
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(content)
        file.flush()
        yield file.name


def answers(content, images):
    """The probabilities (N, classes) of a file given as bytes."""
    with on_disk(content) as path:
        return running.run(path, images)


def distance(found, expected):
    """{"distance": mean one of the probabilities, "changed": share of the images with another first answer}."""
    return {
        "distance": round(float(np.abs(found - expected).mean()), 6),
        "changed": float((found.argmax(axis=1) != expected.argmax(axis=1)).mean()),
    }
