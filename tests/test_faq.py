"""The FAQ answers what is asked: every line runs and prints what the page says."""

import doctest
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "FAQ.md"


def test_every_line_of_the_faq_prints_what_it_says():
    examples = doctest.DocTestParser().get_doctest(PAGE.read_text(), {}, PAGE.name, str(PAGE), 0)
    said = []
    result = doctest.DocTestRunner(verbose=False).run(examples, out=said.append)
    assert result.failed == 0, "".join(said)
    assert result.attempted > 10


def test_each_of_the_ten_questions_is_answered_in_a_few_sentences_and_by_a_line():
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    numbered = [section for section in sections if re.match(r"\d+\. ", section)]
    assert [int(section.split(".")[0]) for section in numbered] == list(range(1, 11))
    for section in numbered:
        answer = section.split("```python")[0].split("\n", 1)[1]
        assert 30 <= len(answer.split()) <= 130, section.splitlines()[0]
        assert section.count("```python") == 1 and "\n>>> " in section
