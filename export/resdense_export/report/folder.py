"""Report files in a folder: all of them are called `report.*`, because only they may change in a finished bundle."""

from pathlib import Path

from resdense_keras import files
from resdense_keras.errors import RequestError

from . import html, plots, view
from .schema import REPORT, read_report, validate

PAGE = "report.html"


def write_report(folder, report):
    """Writes report.json, report.html and the plots (`report.latency.svg`, `.png` ...); returns the page's path.

    The same report gives the same bytes.

    Raises:
        RequestError: the report is not valid; nothing was written.
        WorkError: see files.py.
    """
    report = validate(report)
    files.write_json(Path(folder) / REPORT, report)
    return _write_page(Path(folder), report)


def rebuild(folder):
    """Rebuilds page and plots from the report.json in `folder` and in the bundles directly below it.

    Returns:
        Paths of the pages.
    Raises:
        RequestError: there is no report.json, or one is not valid.
        WorkError: see files.py.
    """
    folder = Path(folder)
    places = [place for place in (folder, *sorted(folder.glob("*/"))) if (place / REPORT).is_file()]
    if not places:
        raise RequestError(f"there is no {REPORT} in {folder}", "`resdense compare` and `resdense export` write one")
    reports = [read_report(place) for place in places]  # all are read before one page is written
    return [_write_page(place, report) for place, report in zip(places, reports, strict=True)]


def _write_page(folder, report):
    report = view.with_looks(view.printable(report))
    drawn = plots.draw(report)
    for name in plots.PLOTS:
        vector, pixels = (folder / f"report.{name}.{suffix}" for suffix in ("svg", "png"))
        if name in drawn:
            files.write_text(vector, drawn[name].svg)
            files.write_bytes(pixels, drawn[name].png)
        else:  # the plot of a former report would be wrong
            vector.unlink(missing_ok=True)
            pixels.unlink(missing_ok=True)
    files.write_text(folder / PAGE, html.page(report, drawn))
    return folder / PAGE
