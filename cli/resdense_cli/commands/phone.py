"""`resdense phone`: the page that measures files in a phone's own browser."""

from pathlib import Path
from typing import Annotated

import typer

ORDER = 90
STOPPED = "the results that phones sent are in report.json; run the same command to serve again"
UNTIL_STOPPED = True


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Bundle, or folder of bundles.")],
    lan: Annotated[
        str | None,
        typer.Option(
            "--lan",
            metavar="[ADDRESS]",
            help="Let phones on the network connect. Default: this computer only; without an ADDRESS one is picked.",
        ),
    ] = None,
    https: Annotated[
        bool,
        typer.Option(
            "--https", help="Serve over HTTPS with a certificate for one day; phones need it for threads and WebGPU."
        ),
    ] = False,
    usb: Annotated[
        bool, typer.Option("--usb", help="Let an Android phone connect over its USB cable (needs adb).")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port number; 0 picks a free one.")] = 0,
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime", metavar="DIR", help="Folder with LiteRT.js from `npm ci`. Default: downloaded once with npm."
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.01, help="Minutes until the server stops. Default: it runs until Ctrl-C."),
    ] = None,
):
    """Serve a page that measures the files in a phone's own browser, and print its URL and QR code."""
    from resdense_export.phone.command import serve

    serve(folder, lan=lan, https=https, usb=usb, port=port, runtime=runtime, minutes=minutes)
