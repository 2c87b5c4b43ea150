"""The pages of the API, from the public lists and the docstrings; of the commands, from the parser behind `--help`."""

import ast
import importlib
import inspect
import re
from pathlib import Path

PACKAGES = {
    "resdense_keras": "builders, weights, sizes",
    "resdense_keras.data": "images for training and judging",
    "resdense_keras.training": "recipes, runs, evaluation",
    "resdense_export": "from a Keras model to checked .tflite files",
}


def modules(package):
    """{module: [public names]} of a package, as its `__init__.pyi` lists them, the module relative to the package."""
    stub = Path(importlib.import_module(package).__file__).with_name("__init__.pyi")
    imports = (node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom))
    return {node.module: [alias.name for alias in node.names] for node in imports}


def public():
    """All public names with their packages: [(package, name)]."""
    return [(package, name) for package in PACKAGES for names in modules(package).values() for name in names]


def pages(root):
    """{path on the site: reStructuredText or Markdown}; the examples of the commands come from `root`'s README."""
    made = {"api/index.md": _hub([f"{package} <{package}/index>" for package in PACKAGES])}
    for package, about in PACKAGES.items():
        found = modules(package)
        made[f"api/{package}/index.rst"] = _package(package, about, found)
        for module, names in found.items():
            made[f"api/{package}/{module}.rst"] = _module(package, module, names)
    return made | commands((root / "README.md").read_text(encoding="utf-8"))


def _hub(entries):
    about = (
        "Every public name with its arguments, shapes and errors. The examples are run by the tests; they begin with "
        "`import numpy as np, resdense_keras, resdense_export`, `from resdense_keras import data` and "
        "`from pathlib import Path`."
    )
    return "\n".join(["# Python", "", about, "", "```{toctree}", *entries, "```", ""])


def _heading(text, sign="="):
    return f"{text}\n{sign * len(text)}\n\n"


def _package(package, about, found):
    """The list of a package: each name with its first line."""
    lines = [_heading(f"{package}: {about}")]
    lines.append(_introduction(importlib.import_module(package)))
    for module, names in found.items():
        lines += [_heading(_title(package, module, names), "-"), ".. list-table::\n   :widths: 30 70\n\n"]
        for name in names:
            lines.append(f"   * - :py:obj:`~{package}.{name}`\n     - {_first_line(package, name)}\n")
        lines.append("\n")
    listed = "\n   ".join(found)
    return "".join(lines) + f"\n.. toctree::\n   :hidden:\n\n   {listed}\n"


def _module(package, module, names):
    """One page: every name of a module in full."""
    source = importlib.import_module(f"{package}.{module}")
    lines = [_heading(_title(package, module, names)), _introduction(source), f".. py:currentmodule:: {package}\n\n"]
    for name in names:
        thing = _public(package, name)
        if inspect.isclass(thing):
            lines.append(f".. autoclass:: {package}.{name}\n   :members:\n\n")
        elif callable(thing):
            lines.append(f".. autofunction:: {package}.{name}\n\n{_sizes(name)}")
        else:
            said = thing if isinstance(thing, str) else f"By name: {', '.join(f'``{key}``' for key in thing)}."
            lines.append(f".. py:data:: {name}\n\n   {said}\n\n")
    return "".join(lines)


def _sizes(name):
    """What a net of the catalogue holds and computes."""
    from resdense_keras import catalog

    row = catalog.sizes().get(name)
    if row is None:
        return ""
    image = "x".join(map(str, row["input_shape"]))
    return f"   {row['parameters']:,} parameters, {row['macs']:,} multiply-adds for an image of {image}.\n\n"


def _title(package, module, names):
    return names[0] if len(names) == 1 else f"{package}: {module.rpartition('.')[2]}"


def _public(package, name):
    return getattr(importlib.import_module(package), name)


def _introduction(module):
    """What a module says of itself."""
    return inspect.cleandoc(module.__doc__ or "") + "\n\n"


def _first_line(package, name):
    thing = _public(package, name)
    return inspect.getdoc(thing).split("\n\n")[0].replace("\n", " ") if callable(thing) else "Table."


OPTION = re.compile(r"^\* `(-[^`]+)`: (.*)$", re.MULTILINE)


def commands(readme):
    """One page a command, from the parser that prints its `--help`, with the lines of the README that call it."""
    import typer
    from typer.cli import get_docs_for_click

    from resdense_cli.main import app

    root = typer.main.get_command(app)
    made = {}
    for name, command in root.commands.items():
        context = typer.Context(command, info_name=name, parent=typer.Context(root, info_name="resdense"))
        text = get_docs_for_click(obj=command, ctx=context, name=name, call_prefix="resdense")
        text = _with_anchors(text.replace("## `", "# `", 1), name)
        made[f"commands/{name}.md"] = text.replace("**Usage**", f"{_examples(readme, name)}**Usage**", 1)
    return made


def _with_anchors(text, name):
    """The list of options as Sphinx's `option` directives, so that each has an address and the search knows it."""
    text = OPTION.sub(r"````{option} \1\n\2\n````\n", text)
    return text.replace("**Options**", f"```{{program}} resdense {name}\n```\n\n**Options**", 1)


def _examples(readme, name):
    lines = re.findall(rf"^ {{4}}(resdense {name}\b.*)$", readme, re.MULTILINE)
    lines = [re.sub(r" +# ", "  # ", line) for line in lines]
    return "\n".join(["**Examples**:", "", "```console", *lines, "```", "", ""]) if lines else ""
