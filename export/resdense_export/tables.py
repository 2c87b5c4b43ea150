"""The tables that commands print in a terminal."""

from rich.table import Table


def columns(*columns):
    """Columns by name; a ">" in front aligns numbers to the right."""
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def nets(rows):
    """What `resdense models` lists."""
    table = columns("name", "family", ">parameters", ">MACs", ">activations", ">input", ">classes", "weights")
    for row in rows:
        table.add_row(
            row["name"],
            row["family"],
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['macs'] / 1e9:.3f} G",
            f"{row['activation_bytes'] / 2**20:.1f} MiB",
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
            *(f"{row[key]:.3f}" for key in ("median_ms", "p10_ms", "p90_ms")),
            f"{row['drift']:.2f}",
        )
    return table


def lessons(rows):
    """What `resdense learn` lists."""
    table = columns(">lesson", "title", ">minutes at most")
    for row in rows:
        table.add_row(str(row["lesson"]), row["title"], str(row["minutes"]))
    return table
