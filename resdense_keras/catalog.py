"""One register over the tables of both families: `list_models()` and `create()`."""

import fnmatch

# The names of both modules are also the names of base builders in the package, hence no `from . import resnet`.
from .densenet import BUILDERS as DENSENETS
from .errors import unknown
from .resnet import BUILDERS as RESNETS

BUILDERS = {**RESNETS, **DENSENETS}


def family(name):
    """ "resnet", "plain" (a ResNet without shortcuts), "densenet", or "other" for a name outside the catalogue."""
    if name in DENSENETS:
        return "densenet"
    if name in RESNETS:
        return "plain" if name.startswith("plain") else "resnet"
    return "other"


def list_models(pattern="*"):
    """Names of the catalogue that match a shell pattern such as "densenet*", in the catalogue's order."""
    return [name for name in BUILDERS if fnmatch.fnmatchcase(name, pattern.lower())]


def create(name, **options):
    """Builds the net of that name; `options` are the arguments of its builder.

    Raises:
        RequestError (a ValueError): no such name; the nearest ones are in the hint.
    """
    if name not in BUILDERS:
        raise unknown("model", name, BUILDERS)
    return BUILDERS[name](**options)
