"""The table that a command prints at its end."""

from ..verdicts import unproved, verdict
from . import units, view


def terminal_table(report):
    """A rich table with one row per file: bytes, accuracy, agreement, latency under the first condition, gates.

    Below the table it says what the images do not prove.
    """
    from rich.table import Table
    from rich.text import Text

    report = view.printable(report)
    conditions = view.conditions(report)
    table = Table(
        box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0)
    )  # 80 columns hold one line a file
    table.add_column("net", overflow="fold")
    table.add_column("file")
    for column in ("bytes", "accuracy", "agree-\nment", "median\nms", "10 % to\n90 %"):
        table.add_column(column, justify="right")
    table.add_column("gates")
    for model in report["models"]:
        for number, export in enumerate(view.ordered(model)):
            name = model["name"] if number == 0 else ""
            # Text, for a name may look like rich's markup.
            table.add_row(*(Text(cell) for cell in (name, *_cells(export, conditions))))
    table.caption = Text("\n".join(_open_questions(report)), style="") or None
    table.caption_justify = "left"
    return table


def _open_questions(report):
    """One line for all files of a net for which the same is not proved."""
    for model in report["models"]:
        files = {}
        for export in view.ordered(model):
            if (text := unproved(export)) and not view.failed(export):
                files.setdefault(text, []).append(_label(export))
        yield from (f"{model['name']} {units.listing(names)}: {text}" for text, names in files.items())


def _label(export):
    return export["scheme"] + (" (stock)" if export["converter"] == "stock" else "")


def _cells(export, conditions):
    measurement = view.measured(export, conditions[0]) if conditions else None
    median = measurement and measurement["median_ms"]
    edges = [measurement[key] for key in ("p10_ms", "p90_ms")] if measurement else [None]
    failed = view.failed(export)
    return (
        _label(export),
        units.size(export["bytes"]),
        units.percent(export["accuracy"], export["images"]),
        units.percent(export["agreement"], export["images"]),
        units.NOTHING if median is None else units.significant(median),
        units.NOTHING if None in edges else "–".join(map(units.significant, edges)),
        f"failed: {', '.join(failed)}"
        if failed
        else verdict(export) + (", in float32" if view.in_float32(export) else ""),
    )
