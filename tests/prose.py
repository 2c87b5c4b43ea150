"""Reads the sentences of a text that state a number or a comparison, and the claims that back them. No TensorFlow.

A tag `<!-- claim: name -->` backs what stands before it in its paragraph, back to the tag before. A paragraph is what
is rendered as one: a list item, a row of a table, lines up to an empty one.
"""

import re
from pathlib import Path

WORDS = [line for line in (Path(__file__).parent / "claims.txt").read_text().splitlines() if not line.startswith("#")]
TAG = re.compile(r"<!-- claim: ([\w, ]+?) -->")
# Sections that state nothing: tasks, which are checked as they are solved, and citations.
SILENT = ("Exercises", "Solutions", "Sources", "Can these claims fail?")
# A table that code writes is compared with its source by a test of its own.
TABLE = re.compile(r"<!-- table: .*?<!-- end of table -->", re.DOTALL)
# What a reader will be able to do, what asks, and a lesson's head, whose minutes a test compares with the stored run.
GOALS = re.compile(r"^After this lesson you can$.*?(?=^\*\*Time)", re.MULTILINE | re.DOTALL)
ASKS = re.compile(r"\*\*(Predict|Time|Needs|Change this number)\b|\[Glossary\]")
PLACES = "lessons?|parts?|figures?|sections?|table|exercise|notebook|equation|question|block|layer|option|seed"
VERSIONS = "Python|TensorFlow|Keras|litert|quantizer|Chromium|pins"
NO_CLAIM = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"`[^`]*`",  # code
        r"!\[[^\]]*\]\([^)]*\)",  # a picture's alternative text is its own test's business
        r"\[[^\]]*\]\([^)]*\.ipynb\)",  # a lesson's title
        r"\]\([^)]*\)",  # where a link leads
        r"</?\w[^>]*>",
        r"arXiv:[\d.]+",
        r"\d{4}-\d\d-\d\d|\b(19|20)\d\d\b",  # dates
        rf"\b({PLACES}|{VERSIONS}) \d[\d.]*( (to|and) \d+)?",
    )
]
CITES = re.compile(r"\bet al\.|arXiv:|\((19|20)\d\d\)")
DENIES = re.compile(r"[*_]*Not\b")  # what a lesson says that it does not show
NUMBER = re.compile(r"(?<![\w.×-])[-+±]?\d[\d,.]*(?![\w×-])")
COMPARISON = re.compile(rf"\b({'|'.join(map(re.escape, sorted(WORDS, key=len, reverse=True)))})\b", re.IGNORECASE)
ABBREVIATIONS = re.compile(r"\b(et al|e\.g|i\.e|vs)\.")
SENTENCE = re.compile(r"(?<=[.!?])[)*\"”]*\s+(?=[^\s])")


def unbacked(text):
    """The sentences that state a number or a comparison without a tag behind them, in their order."""
    return [sentence for sentence, names in statements(text) if not names]


def tags(text):
    """Every name that a tag of the text has."""
    return [name.strip() for found in TAG.findall(text) for name in found.split(",")]


def statements(text):
    """[(sentence, names of the claims behind it)] of all sentences that state a number or a comparison."""
    found = []
    for paragraph in paragraphs(text):
        start = 0
        for tag in [*TAG.finditer(paragraph), None]:
            piece = paragraph[start : tag.start() if tag else None]
            names = [name.strip() for name in tag[1].split(",")] if tag else []
            found += [(sentence, names) for sentence in sentences(piece) if states(sentence)]
            start = tag.end() if tag else None
    return found


def paragraphs(text):
    """The paragraphs of a Markdown text that may state something, each on one line."""
    section, found = "", []
    text = GOALS.sub("", TABLE.sub("", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)))
    for block in re.split(r"\n\s*\n", text):
        lines = []
        for line in block.splitlines():
            line = line.removeprefix("> ")
            if heading := re.match(r"#+ (.*)", line):
                section = heading[1]
                continue
            new = re.match(r"\s*(- |\d+\. |\|)", line) or not lines
            if re.match(r" {4,}\S", line) and not re.match(r"\s*- ", line):
                continue  # code
            if new:
                lines.append(line)
            else:
                lines[-1] += " " + line.strip()
        if section not in SILENT:
            found += [re.sub(r"^\s*(- |\d+\. )", "", line) for line in lines if not ASKS.search(line)]
    return found


def sentences(paragraph):
    """The sentences of a paragraph without what states nothing; rows of a table are one."""
    if paragraph.startswith("|"):
        return [paragraph] if re.search(r"[A-Za-z]", paragraph) else []
    whole = ABBREVIATIONS.sub(lambda found: found[0].replace(".", "\0"), paragraph)
    return [part.strip().replace("\0", ".") for part in SENTENCE.split(whole) if part.strip()]


def states(sentence):
    """Whether a sentence has a number or a word of a comparison; questions, denials and citations state nothing."""
    if sentence.rstrip("*_)\"' ").endswith("?") or DENIES.match(sentence) or CITES.search(sentence):
        return False
    for pattern in NO_CLAIM:
        sentence = pattern.sub(" ", sentence)
    return bool(NUMBER.search(sentence) or COMPARISON.search(sentence))
