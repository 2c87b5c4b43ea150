"""Completion with the Tab key, by the name of the argument; the same for all commands.

A shell starts a new process at every Tab, so names come from tables that are read without Keras. Where nothing fits,
the shell offers files.
"""

import inspect
import json
from importlib.resources import files


def nets():
    """The catalogue's names, from its table of sizes, because the builders need Keras."""
    return list(json.loads(files("resdense_keras").joinpath("sizes.json").read_text()))


def data_specs():
    from resdense_keras.data.spec import NAMED

    return list(NAMED)


def recipes():
    from resdense_keras.training.recipes import RECIPES

    return list(RECIPES)


def schemes():
    from resdense_export.schemes import SCHEMES

    return list(SCHEMES)


def weights():
    from resdense_keras.weights import table

    return sorted({row.name for row in (*table.WEIGHTS, *table.SHIPPED)})


def resizing():
    from resdense_keras.data.resizing import RULES

    return list(RULES)


OFFERED = {
    "model": nets,
    "models": nets,
    "pattern": nets,
    "data": data_specs,
    "recipe": recipes,
    "schemes": schemes,
    "weights": weights,
    "resize": resizing,
}


def attach(command):
    """Adds completion to those arguments of a command's function whose names are in OFFERED; returns the function."""
    for name, parameter in inspect.signature(command).parameters.items():
        if name in OFFERED:
            (info,) = parameter.annotation.__metadata__
            info.autocompletion = _begun(OFFERED[name])
    return command


def _begun(names):
    """The names that begin with what was typed; in a list with commas the last item is completed."""

    def complete(incomplete: str):
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(last)]

    return complete
