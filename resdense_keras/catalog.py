"""One register over the tables of both families: `list_models()` and `create()`."""

from __future__ import annotations

import fnmatch
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import densenets, resnets
from .errors import unknown

if TYPE_CHECKING:
    import keras

BUILDERS = {**resnets.BUILDERS, **densenets.BUILDERS}
SIZES = Path(__file__).with_name("sizes.json")


def family(name):
    """ "resnet", "plain" (a ResNet without shortcuts), "densenet", or "other" for a name outside the catalogue."""
    if name in densenets.BUILDERS:
        return "densenet"
    if name in resnets.BUILDERS:
        return "plain" if name.startswith("plain") else "resnet"
    return "other"


def list_models(pattern: str = "*") -> list[str]:
    """Names of the catalogue that match a shell pattern such as "densenet*", in the catalogue's order.

    Example:
        >>> resdense_keras.list_models("densenet2*")
        ['densenet201', 'densenet264']
    """
    return [name for name in BUILDERS if fnmatch.fnmatchcase(name, pattern.lower())]


def create(name: str, /, **options: Any) -> keras.Model:
    """Builds the net of that name; `options` are the arguments of its builder.

    Raises:
        RequestError (a ValueError): no such name; the nearest ones are in the hint.
    Example:
        >>> resdense_keras.create("resnet20", classes=5).output_shape
        (None, 5)
    """
    if name not in BUILDERS:
        raise unknown("model", name, BUILDERS)
    return BUILDERS[name](**options)


def count(name, **options):
    """What `resdense models` shows of a net: its sizes, counted on the net itself.

    Returns:
        {"parameters", "trainable", "macs", "activation_bytes", "input_shape", "classes"}.
    """
    from .profiles import profile

    model = create(name, **options)
    found = profile(model)
    return {
        "parameters": found.parameters,
        "trainable": found.trainable,
        "macs": found.macs,
        "activation_bytes": found.activation_bytes,
        "input_shape": list(model.input_shape[1:]),
        "classes": model.output_shape[-1],
    }


@functools.cache
def sizes():
    """{name: count(name)} of the whole catalogue, from the table that ships; benchmarks/sizes.py makes it."""
    return json.loads(SIZES.read_text())
