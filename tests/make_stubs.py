"""Makes the stubs of the builders, which are named in a loop, so that editors and type checkers know them.

    python tests/make_stubs.py

Writes `resnets.pyi` and `densenets.pyi` from the signatures, and the builders' names into `__init__.pyi`. A test
compares them with what this makes.
"""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import resdense_keras
from resdense_keras import blocks, densenets, preprocessing, resnets
from resdense_keras.builder import STRUCTURE, Activation, Shape, Weights

PACKAGE = Path(resdense_keras.__file__).parent
FAMILIES = {
    "resnets": (resnets, "ResNetOptions", resnets.resnet, resnets.cifar_resnet),
    "densenets": (densenets, "DenseNetOptions", densenets.densenet, densenets.cifar_densenet),
}
IMPORTED = {*vars(blocks), *vars(preprocessing)}  # tables of other modules
ALIASES = {Shape | None: "Shape | None", Activation: "Activation", Weights: "Weights"}
HEAD = '''"""Made by tests/make_stubs.py from the signatures in {module}.py."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

import keras

from .builder import Activation, Shape, Weights
from .preprocessing import Preprocessing
'''


def family(name):
    """Text of the stub of one family."""
    module, options, base, cifar = FAMILIES[name]
    shared = [each for each in inspect.signature(base).parameters.values() if each.name not in STRUCTURE]
    parts = [
        HEAD.format(module=name),
        "\n".join(
            f"{table}: dict[str, Any]"
            for table, value in vars(module).items()
            if isinstance(value, dict) and re.fullmatch("[A-Z][A-Z_]*", table) and table not in IMPORTED
        ),
        f'class {options}(TypedDict, total=False):\n    """Arguments of the nets of the catalogue."""\n'
        + "".join(f"    {each.name}: {spelled(each.annotation)}\n" for each in shared),
    ]
    for builder in (base, cifar):
        arguments = ", ".join(
            f"{each.name}: {spelled(each.annotation)} = {each.default!r}"
            for each in inspect.signature(builder).parameters.values()
        )
        parts.append(f"def {builder.__name__}(*, {arguments}) -> keras.Model:\n    {documented(builder)}")
    for net, builder in module.BUILDERS.items():
        parts.append(f"def {net}(**options: Unpack[{options}]) -> keras.Model:\n    {documented(builder)}")
    return tidy("\n\n".join(parts))


def spelled(annotation):
    """An annotation as source."""
    text = ALIASES.get(annotation) or inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[\w]+\.)*(?=Preprocessing|KerasTensor|Sequence)", "", text).replace(
        "KerasTensor", "keras.KerasTensor"
    )


def documented(builder):
    """The first line of a docstring as a docstring: what an editor shows."""
    return f'"""{builder.__doc__.splitlines()[0]}"""'


def names(text):
    """`__init__.pyi` with the builders' names as the tables have them."""
    kept = re.sub(r"(?s)from \.(?:resnets|densenets) import \(.*?\n\)\n", "", text.partition("__all__")[0])
    listed = []
    for name, (module, _, base, cifar) in FAMILIES.items():
        builders = [base.__name__, cifar.__name__, *module.BUILDERS]
        kept += f"from .{name} import ({', '.join(builders)},)\n"
        listed += builders
    others = re.findall(r"^from \.(?!resnets|densenets)\S+ import (.*)$", kept, re.MULTILINE)
    listed += [name.strip() for line in others for name in line.split(",")]
    return tidy(kept + f"\n__all__ = [{', '.join(map(repr, listed))}]\n")


def tidy(text):
    """Sorted and set by ruff."""
    for command in (
        ["check", "--quiet", "--fix-only", "--select", "I,F401,RUF022"],
        ["format", "--quiet"],
    ):
        tool = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(PACKAGE / "made.pyi"), "-"]
        text = subprocess.run(tool, input=text, capture_output=True, text=True, check=True).stdout
    return text


def made():
    """{path: text} of all stubs that are made."""
    init = PACKAGE / "__init__.pyi"
    return {init: names(init.read_text()), **{PACKAGE / f"{name}.pyi": family(name) for name in FAMILIES}}


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text)
