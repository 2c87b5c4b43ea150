"""The tables that commands print in a terminal."""

from rich.table import Table

from .report import units


def columns(*columns):
    """Columns by name; a ">" in front aligns numbers to the right."""
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def nets(rows):
    """What `resdense models` lists."""
    table = columns("name", ">parameters", ">MACs", ">activations", ">input", ">classes", "weights")
    for column in table.columns[:-1]:
        column.no_wrap = True  # a name is there to be copied; 80 characters hold all of them
    table.pad_edge, table.padding = False, (0, 1, 0, 0)
    for row in rows:
        table.add_row(
            row["name"],
            units.short(row["parameters"]),
            units.short(row["macs"]),
            units.size(row["activation_bytes"]),
            "x".join(str(size or "any") for size in row["input_shape"]),
            str(row["classes"] or ""),
            ", ".join(row["weights"]),
        )
    return table


def findings(rows):
    """What `resdense check` found, a line each problem."""
    table = columns("path", "result", "")
    for row in rows:
        table.add_row(row["path"], "failed" if row["problems"] else "passed", "\n".join(row["problems"]))
    return table


def timings(rows):
    """What `resdense bench` measured."""
    table = columns("file", ">bytes", ">median ms", ">p10", ">p90", ">drift")
    for row in rows:
        table.add_row(
            row["file"],
            f"{row['bytes']:,}",
            *(units.significant(row[key]) for key in ("median_ms", "p10_ms", "p90_ms")),
            f"{row['drift']:.2f}",
        )
    return table


def lessons(rows):
    """What `resdense learn` lists."""
    table = columns(">lesson", "title", ">minutes at most")
    for row in rows:
        table.add_row(str(row["lesson"]), row["title"], str(row["minutes"]))
    return table
