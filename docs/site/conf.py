"""Sphinx's settings. It reads the tree that stage.py lays out; `python docs/build.py` calls it."""

import datetime
import re
from importlib.metadata import version as installed
from itertools import count
from pathlib import Path

project = "resdense-keras"
author = "the authors of resdense-keras"
version = release = installed("resdense-keras")
copyright = f"{datetime.date.today().year}, {author}. Apache-2.0"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["README.md"]  # its sections are included where they belong
nb_execution_mode = "off"  # lessons are run and judged by tutorials/make_notebooks.py and the tests
nb_merge_streams = True
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # as GitHub makes them
# Links to files that are copied as they are (stage.py): the page keeps them, no Sphinx target is looked for.
myst_url_schemes = {"http": None, "https": None, "mailto": None, "static": "{{path}}"}

default_role = "py:obj"  # `name` in a docstring: a link where there is such a page, else code
add_function_parentheses = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_google_docstring = True
highlight_language = "none"
smartquotes_action = "qe"  # quotes and ellipses; dashes stay, because the texts are full of `--options`
suppress_warnings = ["config.cache"]

html_theme = "furo"
html_title = project
html_short_title = "ResNet and DenseNet in Keras 3: to understand them, to train them, and to put them on a phone."
html_css_files = ["style.css"]
html_favicon = str(Path(__file__).with_name("favicon.svg"))
html_search_scorer = str(Path(__file__).with_name("search.js"))
html_show_sphinx = False
html_last_updated_fmt = None
html_theme_options = {"top_of_page_buttons": []}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True


# What axe-core says the theme lacks for those who hear the page or have no mouse: (pattern, what takes its place)
MENDED = (
    (r"<pre(?! tabindex)", '<pre tabindex="0"'),  # what scrolls sideways is reached with the keyboard
    (r'<div class="(table-wrapper[^"]*)"', r'<div tabindex="0" role="region" aria-label="table NUMBER" class="\1"'),
    (r'<th class="head([^"]*)"><p></p></th>', r'<td class="head\1"></td>'),
    (r'role="heading"(?! aria)', 'role="heading" aria-level="2"'),
    (r'<aside class="sidebar-drawer"', '<aside aria-label="all pages" class="sidebar-drawer"'),
    (r'<aside class="toc-drawer', '<aside aria-label="this page" class="toc-drawer'),
    (r'<div id="search-results">', r"<h1>Search</h1>\g<0>"),
)


def _mend(app, error):
    if error is None:
        for page in Path(app.outdir).rglob("*.html"):
            if "explainer" not in page.parent.name:  # a page of its own, as it is
                page.write_text(_mended(page.read_text(encoding="utf-8")), encoding="utf-8")


def _mended(text):
    for pattern, replacement in MENDED:
        text = re.sub(pattern, replacement, text)
    numbers = count(1)
    return re.sub(r'(?<=aria-label="table )NUMBER', lambda _: str(next(numbers)), text)


def setup(app):
    app.connect("build-finished", _mend)
