"""Builds the site, offline, into site/: `python docs/build.py`. A warning is an error.

    python docs/build.py --serve          build, then serve it on this computer
    python docs/build.py --out DIR        into another folder

Needs the extra `docs`. The texts are the repository's own (docs/site/stage.py), lessons are shown from their stored
outputs, API and commands come from docstrings and parser (docs/site/api.py), the gallery from the stored measurements
(docs/site/gallery.py). Exit 1: a warning, a link that leads nowhere, a notebook that was not run; with file and line.
"""

import argparse
import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "site"))
COLOR = re.compile(r"\x1b\[[\d;]*m")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def build(root, out, generated=True):
    """Builds the site of the repository `root` into `out`; [what is wrong, with file and line].

    Args:
        generated: Whether API, commands and gallery are made; a tree without the package has none.
    """
    import checks
    import stage
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    root, out = Path(root), Path(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "objects.inv").exists():
        return [f"{out} holds something else than a site; give an empty folder"]
    with tempfile.TemporaryDirectory() as work:
        tree, made = Path(work) / "pages", Path(work) / "site"
        laid = stage.Stage(root, tree)
        try:
            laid.lay_out()
            if generated:
                _generate(laid)
        except stage.Broken as broken:
            return [str(broken)]
        (tree / "_static").mkdir(exist_ok=True)
        (tree / "_static" / "style.css").write_text((ROOT / "docs" / "site" / "style.css").read_text())
        warnings = io.StringIO()
        settings = {"html_extra_path": [str(tree / "_extra")], "html_static_path": [str(tree / "_static")]}
        with patch_docutils(), docutils_namespace():
            app = Sphinx(
                tree,
                ROOT / "docs" / "site",
                made,
                Path(work) / "doctrees",
                "html",
                settings,
                status=None,
                warning=warnings,
                freshenv=True,
            )
            app.build(force_all=True)
        found = [_named(line, tree, laid.sources) for line in COLOR.sub("", warnings.getvalue()).splitlines() if line]
        (made / "llms.txt").write_text(_for_machines(app.env), encoding="utf-8")
        found = found or checks.problems(made)
        if not found:  # else what was built before stays
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(made, out)
        return found


def _for_machines(env):
    """llms.txt: every page by its title, in the order of their folders."""
    lines = [f"# {env.config.project}", "", f"> {env.config.html_short_title}", "", "## Pages", ""]
    for page in sorted(env.titles, key=lambda page: (page.count("/"), page)):
        lines.append(f"- [{env.titles[page].astext()}]({page}.html)")
    return "\n".join(lines) + "\n"


def _generate(laid):
    from resdense_cli.output import start_tensorflow

    start_tensorflow()  # autodoc imports what it describes
    import api
    import gallery

    for path, text in api.pages(laid.root).items():
        laid.write(path, text)
    for source, text in gallery.pages(laid.root).items():
        laid.add(source, text)


def _named(line, tree, sources):
    """A line of Sphinx with the repository's name of the file in place of the laid out one's."""
    line = line.replace(f"{tree}/", "")
    path = line.partition(":")[0]
    return sources.get(path, path) + line[len(path) :]


def serve(out, port):
    handler = partial(SimpleHTTPRequestHandler, directory=str(out))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/ until Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Build the site, offline; a warning is an error.")
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="folder of the site")
    parser.add_argument("--serve", action="store_true", help="serve it on this computer afterwards")
    parser.add_argument("--port", type=int, default=8000, help="of --serve; 0 takes a free one")
    given = parser.parse_args(arguments)
    try:
        found = build(ROOT, given.out)
    except ImportError as missing:
        print(f'error: {missing}\nhint: python -m pip install ".[docs]"', file=sys.stderr)
        return 1
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        print(f"error: {len(found)} problems, see above", file=sys.stderr)
        return 1
    print(given.out / "index.html")
    if given.serve:
        serve(given.out, given.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
