"""The site: it builds without a warning, tells file and line of what is wrong, and serves every reader."""

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote_plus

import pytest

pytest.importorskip("myst_nb", reason='the extra `docs` is not installed: python -m pip install ".[docs]"')

ROOT = Path(__file__).parents[1]


def script(path):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"site_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = script(ROOT / "docs" / "build.py")

INDEX = "# Start\n\n[a guide](../guide.md#a-part)\n\n```{toctree}\nguides/guide\ntutorials/01\n```\n"
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "markdown",
            "id": "cell-01",
            "metadata": {},
            "source": ["# Lesson\n", "\n", "[g](../docs/guide.md)"],
        },
        {
            "cell_type": "code",
            "id": "cell-02",
            "metadata": {},
            "source": ["1 + 1"],
            "execution_count": 1,
            "outputs": [],
        },
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


# What breaks the build


@pytest.fixture
def tree(tmp_path):
    """A repository of three pages; call it with what to change, {path: text}, for what its build complains of."""

    def build_with(changes):
        root = tmp_path / "repository"
        pages = {
            "docs/site/index.md": INDEX,
            "docs/guide.md": "# Guide\n\n## A part\n\nText.\n",
            "tutorials/01.ipynb": json.dumps(NOTEBOOK, indent=1),
        }
        for path, text in (pages | changes).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return build.build(root, tmp_path / "site", generated=False)

    return build_with


def test_a_sound_tree_builds(tree, tmp_path):
    assert tree({}) == []
    assert "1 + 1" in re.sub("<[^>]+>", "", (tmp_path / "site/tutorials/01.html").read_text())


def test_the_dashes_of_an_option_stay_two_in_running_text(tree, tmp_path):
    assert tree({"docs/guide.md": "# Guide\n\n## A part\n\nWithout --data it is quick.\n"}) == []
    assert "Without --data it is quick." in (tmp_path / "site/guides/guide.html").read_text()


NEVER_RUN = json.dumps(
    {**NOTEBOOK, "cells": [NOTEBOOK["cells"][0], {**NOTEBOOK["cells"][1], "execution_count": None}]}, indent=1
)


@pytest.mark.parametrize(
    "path, text, complaint",
    [
        ("docs/guide.md", "# Guide\n\n## A part\n\n[x](gone.md)\n", r"^docs/guide.md:5: .*gone.md"),
        ("docs/guide.md", "# Guide\n\n## Another part\n", r"^docs/site/index.md:3: .*a-part"),
        (
            "docs/site/index.md",
            INDEX.replace("tutorials/01", "tutorials/01\nmissing"),
            r"^docs/site/index.md:5: .*missing",
        ),
        ("docs/guide.md", "# Guide\n\n## A part\n\n![x](gone.svg)\n", r"^docs/guide.md:5: .*gone.svg"),
        (
            "tutorials/01.ipynb",
            json.dumps(NOTEBOOK, indent=1).replace("guide.md", "gone.md"),
            r"^tutorials/01.ipynb:10: .*gone",
        ),
        ("tutorials/01.ipynb", NEVER_RUN, r"^tutorials/01.ipynb:18: cell 2 was never run"),
    ],
)
def test_what_is_broken_is_told_with_file_and_line(tree, path, text, complaint):
    found = tree({path: text})
    assert any(re.search(complaint, line) for line in found), found


def test_a_page_that_no_list_names_is_told(tree):
    assert any(
        line.startswith("docs/other.md: ") and "toctree" in line for line in tree({"docs/other.md": "# Other\n"})
    )


def test_a_folder_of_something_else_is_left_alone(tree, tmp_path):
    kept = tmp_path / "site" / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    assert "something else" in tree({})[0] and kept.read_text() == "mine"


# What the texts say


def texts():
    """The pages that people read, and the texts of the lessons: [(name, Markdown)]."""
    pages = [ROOT / "README.md", ROOT / "FAQ.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [(page.relative_to(ROOT).as_posix(), page.read_text()) for page in pages]
    for path in sorted((ROOT / "tutorials").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        found.append(
            (path.name, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"))
        )
    return found


@pytest.mark.parametrize("name, text", [pytest.param(*page, id=page[0]) for page in texts()])
def test_every_command_that_a_page_shows_exists_with_its_options(name, text):
    import typer

    from resdense_cli.main import app

    root = typer.main.get_command(app)
    of_all = {option for parameter in root.params for option in (*parameter.opts, *parameter.secondary_opts)}
    wrong = []
    for command, rest in re.findall(r"resdense ([a-z]+)((?:\\\n|[^`#&|\n])*)", "\n".join(commands(text))):
        parameters = root.commands[command].params if command in root.commands else []
        known = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
        if command not in root.commands or set(re.findall(r"--[a-z-]+", rest)) - known - of_all:
            wrong.append((command, rest))
    assert wrong == []


def test_every_option_has_an_address_on_its_commands_page_and_the_readmes_lines_stand_there():
    import typer

    from resdense_cli.main import app

    root = typer.main.get_command(app)
    pages = script(ROOT / "docs" / "site" / "api.py").commands((ROOT / "README.md").read_text())
    for name, command in root.commands.items():
        page = pages[f"commands/{name}.md"]
        addresses = re.findall(r"^`{4}\{option\} (.+)$", page, re.MULTILINE)
        options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
        assert [one.opts for one in options if not any(one.opts[0] in address.split() for address in addresses)] == []
    assert "resdense export resnet20_digits --weights digits" in pages["commands/export.md"]


def commands(text):
    """The lines of the indented blocks of a page, and what stands between backticks, that begin with `resdense`."""
    indented = re.findall(r"^ {4,}((?:\w+=\S+ |- )?resdense [a-z]+ .*(?:\n.*(?<=\\)\n.*)?)", text, re.MULTILINE)
    return indented + re.findall(r"`(resdense [a-z]+[^`\n]*)`", text)


def test_the_guide_to_own_photos_trains_as_the_readme_does():
    """The README's lines are run by test_train_and_eval.py."""
    readme, guide = ((ROOT / path).read_text() for path in ("README.md", "docs/photos.md"))
    lines = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[1].replace("FOLDER", "photos").split("\n")
    assert [line for line in lines if line.partition("#")[0].strip() not in guide] == []


def test_what_it_works_with_is_what_pyproject_asks_for():
    page, project = ((ROOT / path).read_text() for path in ("docs/site/works-with.md", "pyproject.toml"))
    for label, name in (("Keras", "keras"), ("TensorFlow", "tensorflow"), ("`ai-edge-litert`)", "ai-edge-litert")):
        asked = re.search(rf'"{name}>=([\d.]+)"', project)[1]
        assert f"{label} | {asked} |" in page
    extras = re.findall(
        r"^(\w+) = \[", project.split("[project.optional-dependencies]")[1].split("\n\n")[0], re.MULTILINE
    )
    assert [extra for extra in extras if f"`[{extra}]`" not in page] == []


def test_every_net_and_every_stored_measurement_stands_in_the_gallery():
    from resdense_keras import list_models

    (page,) = script(ROOT / "docs" / "site" / "gallery.py").pages(ROOT).values()
    records = [path.name for path in (ROOT / "benchmarks" / "results").glob("*.json")]
    assert [name for name in (*records, *list_models()) if name not in page] == []


# The whole site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "build.py", "--out", out], capture_output=True, text=True, timeout=600
    )
    assert (made.returncode, made.stderr) == (0, "")
    return out


@pytest.fixture(scope="module")
def address(site):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def opened(browser, url, **options):
    """A page of the site; what it asked for stands in `page.asked`, the bytes that came in `page.received`."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.asked, page.received = [], []
    page.on("response", lambda answer: (page.asked.append(answer.url), page.received.append(answer)))
    page.goto(url)
    page.wait_for_load_state("networkidle")
    yield page
    context.close()


@pytest.mark.slow
def test_every_public_name_and_every_command_has_a_place(site):
    from sphinx.util.inventory import InventoryFile

    from resdense_cli.main import COMMANDS

    public = script(ROOT / "docs" / "site" / "api.py").public()
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    known = {name for kind in inventory.data for name in inventory.data[kind] if kind.startswith("py:")}
    assert [f"{package}.{name}" for package, name in public if f"{package}.{name}" not in known] == []
    assert [name for name in COMMANDS if not (site / f"commands/{name}.html").exists()] == []
    pages = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text())
    assert len(pages) > 40 and [page for page in pages if not (site / page).exists()] == []


SHOWN = (
    *("index", "tutorials/01_add_or_concatenate", "api/resdense_keras/densenets"),
    *("gallery", "search", "explainer", "commands/export"),
)


@pytest.mark.slow
def test_the_start_page_is_light_and_fetches_nothing_elsewhere(browser, address):
    with opened(browser, f"{address}/index.html") as page:
        assert [url for url in page.asked if not url.startswith((address, "data:"))] == []
        assert sum(len(answer.body()) for answer in page.received) < 300_000
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    print(f"first paint after {paint} ms")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, wanted",
    [
        ("growth rate", r"FAQ|glossary|tutorials/0[15]"),
        ("int8", r"guides/(rewriting|phone)"),
        ("RequestError", r"api/resdense_keras/errors"),
        ("resize", r"guides/images"),
        ("--budget", r"commands/export.html\S*#cmdoption-resdense-export-budget"),
        ("budget", r"commands/export.html\S*#cmdoption-resdense-export-budget"),
        ("what does --budget do?", r"commands/export.html\S*#cmdoption-resdense-export-budget"),
        ("max-drop", r"commands/export.html\S*#cmdoption-resdense-export-max-drop"),
    ],
)
def test_a_search_finds_it_among_its_first_three(browser, address, words, wanted):
    with opened(browser, f"{address}/search.html?q={quote_plus(words)}") as page:
        page.wait_for_selector("#search-results ul.search li a")
        hits = page.eval_on_selector_all("#search-results ul.search > li > a", "links => links.map(link => link.href)")
    assert any(re.search(wanted, hit) for hit in hits[:3]), hits[:5]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_a_page_fits_a_phone(browser, address, name):
    with opened(browser, f"{address}/{name}.html", viewport={"width": 360, "height": 740}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
def test_texts_are_read_without_javascript(browser, address):
    with opened(browser, f"{address}/index.html", java_script_enabled=False) as page:
        assert page.locator("article h2").first.is_visible()
        assert page.locator("article").inner_text().count("DenseNet") > 5


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", SHOWN)
def test_axe_finds_nothing(browser, address, name, scheme):
    axe = os.environ.get("RESDENSE_AXE")
    if not axe or not Path(axe).is_file():
        pytest.skip("RESDENSE_AXE does not name axe.min.js of npm's axe-core; .ci/run fetches it")
    query = "?q=resize" if name == "search" else ""
    with opened(browser, f"{address}/{name}.html{query}", color_scheme=scheme) as page:
        page.add_script_tag(path=axe)
        found = page.evaluate("axe.run({preload: false}).then(result => result.violations)")
    assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found] == []


def test_ctrl_c_ends_serving_without_an_error(tmp_path, monkeypatch, capsys):
    def interrupted(server):
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", interrupted)
    build.serve(tmp_path, 0)
    assert capsys.readouterr().out.endswith("until Ctrl-C\n")
