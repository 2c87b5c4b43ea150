"""`resdense phone`: the page that measures files in a phone's own browser."""

from pathlib import Path
from typing import Annotated

import typer

ORDER = 90
STOPPED = "the results that phones sent are in report.json; run the same command to serve again"


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle, or a folder of bundles.")],
    lan: Annotated[
        str | None,
        typer.Option("--lan", metavar="[ADDRESS]", help="Let phones on the network in; default: picks one."),
    ] = None,
    https: Annotated[bool, typer.Option("--https", help="One-day certificate: threads and WebGPU need it.")] = False,
    usb: Annotated[bool, typer.Option("--usb", help="Let the Android phone on the cable in (adb).")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Default: a free one.")] = 0,
    runtime: Annotated[
        Path | None,
        typer.Option("--runtime", metavar="DIR", help="LiteRT.js, by `npm ci`; default: fetched once."),
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.01, help="Stop after so long.")] = None,
):
    """Serve a page that measures the files in a phone's own browser; prints its URL and QR code."""
    from resdense_export.phone.command import serve

    serve(folder, lan=lan, https=https, usb=usb, port=port, runtime=runtime, minutes=minutes)
