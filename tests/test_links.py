"""Every link inside the project leads somewhere, and the README lists every lesson by its title."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from resdense_cli.commands import learn

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def pages():
    """The Markdown pages that git knows, or all below the root where there is no git."""
    listed = ""
    if shutil.which("git"):
        listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split()] or list(ROOT.rglob("*.md"))


def anchors(page):
    """The anchors that a page's headings give, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_local_link_leads_to_a_file_and_to_a_heading(page):
    wrong = []
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if link.startswith(("http://", "https://", "project:")):  # the last: made pages of the site, see test_site.py
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_the_readme_lists_every_lesson_by_its_title():
    readme = (ROOT / "README.md").read_text()
    wanted = [f"{row.number}. [{row.title}](tutorials/{row.path.stem}.ipynb)" for row in learn.lessons()]
    assert [line for line in wanted if line not in readme] == []
