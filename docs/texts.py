"""Lists what people read of this project, to be read from end to end: `python docs/texts.py [FOLDER ...]`.

These are the help texts, messages and docstrings of the packages, and the texts of their pages, each with its file and
line. A sentence that has to be read twice should be rewritten.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("cli", "export", "resdense_keras", "docs/explainer")
MADE = ("metadata_schema.py", "nets.js")  # by flatc, and by embed_nets.py
WORDS = 4  # shorter strings are names, keys and parts of sentences
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
LITERAL = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`")  # of JavaScript


def of_python(text):
    """(line, text) of the docstrings of a module, and of its strings of WORDS words or more."""
    tree = ast.parse(text)
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, DOCUMENTED) and _begins(node)}
    for node in ast.walk(tree):
        found = None
        if isinstance(node, ast.JoinedStr):
            found = "".join(part.value if isinstance(part, ast.Constant) else "{...}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            found = node.value
        if found and (id(node) in docstrings or len(found.split()) >= WORDS):
            yield node.lineno, found


def _begins(node):
    """Whether a module, class or function begins with an expression, such as its docstring."""
    return bool(node.body) and isinstance(node.body[0], ast.Expr)


def of_page(text):
    """(line, text) between the tags of a page, or of a template for one."""
    without_style = re.sub(r"(?s)<(style|script)\b.*?</\1>", lambda found: "\n" * found[0].count("\n"), text)
    return _long(re.finditer(r"[^<>]+(?=<)", without_style), without_style)


def of_javascript(text):
    """(line, text) of the strings of WORDS words or more."""
    return _long(LITERAL.finditer(text), text)


def _long(found, text):
    for match in found:
        if len(match[0].split()) >= WORDS:
            yield text.count("\n", 0, match.start()) + 1, match[0].strip()


KINDS = {".py": of_python, ".html": of_page, ".jinja": of_page, ".js": of_javascript}


def texts(folders=FOLDERS):
    """(path, line, text) of all texts in the files of some folders."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in KINDS and path.name not in MADE and "node_modules" not in path.parts:
                for line, text in sorted(KINDS[path.suffix](path.read_text())):
                    yield path.relative_to(ROOT), line, text.strip()


if __name__ == "__main__":
    for path, line, text in texts(sys.argv[1:] or FOLDERS):
        print(f"{path}:{line}: {text}\n")
