"""`resdense bench`: latency of .tflite files on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from resdense_export.report import units

from ..options import Json
from ..output import columns, print_result

ORDER = 60


def command(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help=".tflite files.")],
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads per inference.")] = 1,
    rounds: Annotated[int, typer.Option("--rounds", min=3, help="Timed inferences per file.")] = 100,
    as_json: Json = False,
):
    """Measure latency on this machine. The files take turns, so a busy moment slows all of them."""
    from resdense_export.tflite import timing

    timed = timing.measure(paths, rounds, threads)
    rows = [{"file": str(path), **timing.describe(path), **row} for path, row in zip(paths, timed, strict=True)]
    print_result(rows, table, as_json)


def table(rows):
    """The table of `resdense bench`."""
    shown = columns("file", ">bytes", ">median ms", ">p10", ">p90", ">drift")
    for row in rows:
        shown.add_row(
            row["file"],
            f"{row['bytes']:,}",
            *(units.significant(row[key]) for key in ("median_ms", "p10_ms", "p90_ms")),
            f"{row['drift']:.2f}",
        )
    return shown
