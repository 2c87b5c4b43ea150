"""Which text stands where on the site, and the tree that Sphinx reads: links follow the pages that move.

Every text has one source in the repository. `docs/site/X` becomes `X`, a guide `docs/X.md` becomes `guides/X.md`
(a new one joins by being there), lessons, FAQ and changelog keep their places. What is linked to and is no page is
copied as it is.
"""

import json
import posixpath
import re
import shutil
from pathlib import PurePosixPath

LINK = re.compile(r"(\]\()([^)\s]+)(\))")
CODE = re.compile(r"(^```.*?^```|^    .*?$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
EXTERNAL = re.compile(r"[a-z]+:", re.IGNORECASE)
PAGES = ("README.md", "FAQ.md", "CHANGELOG.md", "docs/*.md", "docs/site/*.md", "tutorials/*.ipynb")
PICTURES = ("docs/figures/*.svg",)
COPIED = ("docs/explainer/*",)


class Broken(Exception):
    """What is wrong with a text, with its file and line."""


def place(path):
    """Where a file of the repository stands on the site: "docs/phone.md" -> "guides/phone.md"."""
    path = PurePosixPath(path)
    if path.is_relative_to("docs/site"):
        return path.relative_to("docs/site").as_posix()
    if path.parent == PurePosixPath("docs") and path.suffix == ".md":
        return f"guides/{path.name}"
    if path.is_relative_to("docs"):
        return path.relative_to("docs").as_posix()
    return path.as_posix()


class Stage:
    """The tree that Sphinx reads, in `folder`; `sources` is {path in it: path in the repository `root`}."""

    def __init__(self, root, folder):
        self.root, self.folder, self.sources = root, folder, {}
        self.pages = set(self._found(PAGES + PICTURES))

    def lay_out(self):
        """Writes all pages of the repository, and what is copied beside them.

        Raises:
            Broken: a notebook without outputs, a link that leads nowhere.
        """
        (self.folder / "_extra").mkdir(parents=True)
        for source in self._found(PAGES):
            self.add(source, (self.root / source).read_text(encoding="utf-8"))
        for source in self._found(PICTURES):
            self._copy(source, place(source))
        for source in self._found(COPIED):
            self._copy(source, f"_extra/{place(source)}")
        explainer = self.folder / "_extra" / "explainer" / "index.html"
        if explainer.exists():
            text = explainer.read_text(encoding="utf-8")
            explainer.write_text(re.sub(r'href="(\.\./[^"]+)"', self._out_of_the_explainer, text), encoding="utf-8")

    def add(self, source, text):
        """Writes one page whose links are those of the file `source` in the repository."""
        if source.endswith(".ipynb"):
            text = self._notebook(source, text)
        else:
            text = self._relinked(source, text)
        self.write(place(source), text)
        self.sources[place(source)] = source

    def write(self, path, text):
        """Writes one page as it is."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def _found(self, patterns):
        return [
            path.relative_to(self.root).as_posix() for pattern in patterns for path in sorted(self.root.glob(pattern))
        ]

    def _copy(self, source, target):
        target = self.folder / target
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.root / source, target)

    def _notebook(self, source, text):
        """The notebook with its texts' links moved. A cell that never ran has no count: its page would show nothing."""
        notebook = json.loads(text)
        for number, cell in enumerate(notebook["cells"], start=1):
            line = _line_of_cell(text, number)
            if cell["cell_type"] == "code" and not cell["execution_count"]:
                raise Broken(
                    f"{source}:{line}: cell {number} was never run; python tutorials/make_notebooks.py runs it"
                )
            if cell["cell_type"] == "markdown":
                cell["source"] = self._relinked(source, "".join(cell["source"]), line)
        return json.dumps(notebook)

    def _relinked(self, source, text, line=1):
        """`text`, which begins in that line, with links to files of the repository changed to where they are now."""
        done = ""
        for number, part in enumerate(CODE.split(text)):
            done += part if number % 2 else self._moved(source, part, line + done.count("\n"))
        return done

    def _moved(self, source, text, line):
        def moved(match):
            link = match[2]
            if EXTERNAL.match(link) or link.startswith("#"):
                return match[0]
            path, hash_, anchor = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
            if not (self.root / target).is_file():
                here = line + text[: match.start()].count("\n")
                raise Broken(f"{source}:{here}: there is no file {target}, which {link} leads to")
            return f"{match[1]}{self._address(source, target)}{hash_}{anchor}{match[3]}"

        return LINK.sub(moved, text)

    def _address(self, source, target):
        """How the page of `source` links to the file `target`."""
        if target == "README.md":
            target = "docs/site/index.md"
        if target not in self.pages and not any(self.root.joinpath(target).match(pattern) for pattern in COPIED):
            self._copy(target, f"_extra/{place(target)}")
        scheme = "" if target in self.pages else "static:"
        return scheme + posixpath.relpath(place(target), posixpath.dirname(place(source)) or ".")

    def _out_of_the_explainer(self, match):
        target = posixpath.normpath(f"docs/explainer/{match[1]}")
        address = self._address("docs/explainer/index.html", target)
        return f'href="{re.sub(r"[.](md|ipynb)$", ".html", address)}"'


def _line_of_cell(text, number):
    """The line of a notebook's JSON in which the source of its cell of that number begins."""
    starts = [match.end() for match in re.finditer(r'^ +"source": \[\n', text, re.MULTILINE)]
    return text.count("\n", 0, starts[number - 1]) + 1 if number <= len(starts) else 1
