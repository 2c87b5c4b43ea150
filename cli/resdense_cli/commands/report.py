"""`resdense report`: rebuilds report.html, or puts finished exports side by side."""

from pathlib import Path
from typing import Annotated

import typer

from resdense_keras.errors import RequestError

from ..options import Count, Json, Overwrite, counting
from ..output import show_report

ORDER = 80


def command(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders with a report.json.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for the report of several folders, and for copies of their bundles. Default: resdense-report.",
        ),
    ] = None,
    count: Count = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
):
    """Rebuild report.html from report.json; of several folders, put their nets side by side in one report."""
    from resdense_export.report import rebuild

    if len(folders) == 1:
        for flag, given in (("--out", out), ("--count", count), ("--overwrite", overwrite), ("--json", as_json)):
            if given:
                raise RequestError(f"{flag} was given with one folder; it belongs to several", f"leave {flag} out")
        for page in rebuild(folders[0]):
            print(page)
        return
    from resdense_export import pipeline
    from resdense_export.progress import steps

    out = out or Path("resdense-report")
    counted = counting(count)
    with steps(pipeline.count_steps_beside(folders, counted)) as progress:
        report = pipeline.beside(folders, out, count=counted, overwrite=overwrite, steps=progress)
    show_report(report, out, as_json)
