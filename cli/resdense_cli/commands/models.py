"""`resdense models`: what can be built."""

from typing import Annotated

import typer

from resdense_export.report import units
from resdense_keras.errors import unknown

from ..options import Json, Settings, builder_options
from ..output import columns, print_result, start_tensorflow

ORDER = 10


def command(
    pattern: Annotated[str, typer.Argument(help='Shell pattern for the names, such as "densenet*".')] = "*",
    settings: Settings = None,
    as_json: Json = False,
):
    """List the nets that can be built, with parameters, MACs and activation memory."""
    start_tensorflow()
    found = rows(pattern, builder_options(settings))
    print_result(found, table, as_json)


def rows(pattern, options):
    """One dict per net of the catalogue that matches `pattern`, built with `options`.

    Without options the numbers come from the table in the package (`catalog.sizes`), because counting takes minutes; a
    net that is not in the table is counted.
    """
    from resdense_keras import catalog, list_models, weights

    names = list_models(pattern)
    if not names:
        raise unknown("model", pattern, list_models())
    counted = {} if options else catalog.sizes()
    return [
        {
            "name": name,
            "family": catalog.family(name),
            **(counted.get(name) or catalog.count(name, **options)),
            "weights": weights.names(name),
        }
        for name in names
    ]


def table(found):
    """The table of `resdense models`."""
    shown = columns("name", ">parameters", ">MACs", ">activations", ">input", ">classes", "weights")
    for column in shown.columns[:-1]:
        column.no_wrap = True  # names must be copyable; they fit into 80 characters
    shown.pad_edge, shown.padding = False, (0, 1, 0, 0)
    for row in found:
        shown.add_row(
            row["name"],
            units.short(row["parameters"]),
            units.short(row["macs"]),
            units.size(row["activation_bytes"]),
            "x".join(str(size or "any") for size in row["input_shape"]),
            str(row["classes"] or ""),
            ", ".join(row["weights"]),
        )
    return shown
