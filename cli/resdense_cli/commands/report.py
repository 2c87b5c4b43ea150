"""`resdense report`: rebuilds report.html, or puts finished exports side by side."""

from pathlib import Path
from typing import Annotated

import typer

from resdense_keras.errors import RequestError, WorkError

from ..options import Json, Overwrite
from ..output import show_report

ORDER = 80


def command(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders with a report.json.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Of several folders: where the report and copies of the bundles go. Default: resdense-report.",
        ),
    ] = None,
    count: Annotated[
        str | None,
        typer.Option(
            "--count",
            metavar="COMMAND",
            help="Of several folders: a program that prints the millions of Arm instructions of the file that it is "
            "given. Default: they are not counted.",
        ),
    ] = None,
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
    counting = count and _counting(count)
    with steps(pipeline.count_steps_beside(folders, counting)) as progress:
        report = pipeline.beside(folders, out, count=counting, overwrite=overwrite, steps=progress)
    show_report(report, out, as_json)


def _counting(command):
    """Function of a file that gives the number which `command FILE` prints last.

    Raises:
        WorkError: it fails, or prints no number.
    """
    import shlex
    import subprocess

    def count(path):
        try:
            run = subprocess.run([*shlex.split(command), str(path)], capture_output=True, text=True, check=True)
            return float(run.stdout.split()[-1])
        except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
            raise WorkError(f"--count {command} {path}: {' '.join(said)[:200]}", "it must print a number") from error

    return count
