"""`resdense report`: rebuilds report.html."""

from pathlib import Path
from typing import Annotated

import typer

ORDER = 80


def command(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with a report.json.")]):
    """Rebuild report.html and its plots from report.json."""
    from resdense_export.report import rebuild

    for page in rebuild(folder):
        print(page)
