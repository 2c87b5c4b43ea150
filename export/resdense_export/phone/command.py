"""The body of `resdense phone`: finds address, token and runtime, prints one line on stdout, and serves."""

import asyncio
import contextlib
import secrets
import sys

from resdense_keras import files

from ..report.schema import REPORT
from . import litertjs, reach, site
from .app import App, Rate
from .serving import Server

PICK = "pick"  # `--lan` without an address
_LAST_SECONDS = 6  # seconds that a stop waits for the page of the report


class Rebuilds:
    """Keeps report.html up to date in a child process, because drawing takes seconds and no request should wait for
    it."""

    def __init__(self, folder):
        self.folder, self.due = folder, asyncio.Event()

    def ask(self):
        """Says that report.json has grown."""
        self.due.set()

    async def run(self):
        """Rebuilds when asked, once for all requests within a second; on a stop it waits a little for the last one."""
        try:
            while True:
                await self.due.wait()
                await asyncio.sleep(1)
                await self._rebuild()
        except asyncio.CancelledError:
            if self.due.is_set():
                await self._rebuild(_LAST_SECONDS)
            raise

    async def _rebuild(self, seconds=None):
        command = (sys.executable, "-m", "resdense_export.report", str(self.folder))
        pipes = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.PIPE}
        self.due.clear()
        try:
            process = await asyncio.create_subprocess_exec(*command, **pipes, start_new_session=True)
        except OSError as error:  # no memory or handle for a process; the next result tries again
            print(f"error: report.html was not drawn: {error}\nhint: `resdense report {self.folder}` draws it",
                  file=sys.stderr)  # fmt: skip
            return
        try:
            _, said = await asyncio.wait_for(process.communicate(), seconds)
        except BaseException as error:
            self.due.set()
            process.kill()
            if not isinstance(error, TimeoutError):
                raise
            said = b"error: stopped before report.html was drawn\n"
        if said:
            print(f"{said.decode(errors='replace')}hint: `resdense report {self.folder}` draws it", file=sys.stderr)


def serve(folder, *, lan=None, https=False, usb=False, port=0, runtime=None, minutes=None):
    """Serves the bundles in `folder` until it is stopped.

    Args:
        folder: A bundle or a folder of bundles.
        lan: None to serve only this computer, PICK, or one of its addresses.
        https: Serve over HTTPS with a certificate for one day.
        usb: Open the port on the phone that is connected by cable.
        port: Port number; 0 takes a free one.
        runtime: Folder with LiteRT.js; default: the cache, or npm fetches it while the page is served.
        minutes: Minutes until it stops; default: never.
    Raises:
        RequestError, WorkError: it could not start to serve.
    """
    content = site.read(folder)
    for place in content.reports:
        files.check_writable(place / REPORT)
    engine = litertjs.read(runtime) if runtime else litertjs.cached() or litertjs.Runtime("fetching")
    content.table.update(engine.table)
    address = reach.LOCAL if lan is None else reach.lan_address() if lan == PICK else reach.checked(lan)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(reach.listen(address, port))
        port = listener.getsockname()[1]
        scheme = "https" if https else "http"
        token = secrets.token_urlsafe(32)
        rebuilds = Rebuilds(folder)
        app = App(content, token, reach.origins(scheme, address, port), engine.shown, rebuilds.ask, Rate())
        server, fingerprint = _server(app, address if https else None)
        if usb:
            stack.enter_context(reach.usb(port))
        name = "localhost" if usb or address == reach.LOCAL else reach.bracketed(address)
        if engine.state == "fetching":
            print(f"LiteRT.js is being fetched with npm (12 MB, once) into {litertjs.cache_folder()}", file=sys.stderr)
        _announce(f"{scheme}://{name}:{port}/#{token}", address, usb, fingerprint)
        alongside = [rebuilds.run]
        if engine.state == "fetching":
            alongside.append(lambda: _fetch(engine, content))
        server.run(listener, minutes, alongside)


def _server(app, address):
    """(the server, the fingerprint of its certificate or None)."""
    if address is None:
        return Server(app), None
    with reach.certificate(address) as (certificate, key, fingerprint):
        return Server(app, (certificate, key)), fingerprint


async def _fetch(engine, content):
    """Fetches the runtime while the server runs."""
    await litertjs.make_ready(engine)
    content.table.update(engine.table)
    if engine.state == "ready":
        print("LiteRT.js is fetched", file=sys.stderr, flush=True)
    else:
        print(f"the page has no runtime: {engine.why}\nhint: {litertjs.HOW}", file=sys.stderr, flush=True)


def _announce(url, address, usb, fingerprint):
    """Prints only the URL on stdout, in one line; everything else that people need goes to stderr."""
    import segno

    code = segno.make(url, error="l")
    with contextlib.suppress(UnicodeEncodeError):  # a terminal without block characters has at least the line above
        _print_code(code)
    if address == reach.LOCAL and not usb:
        print("only this computer can open it: --lan, --lan --https or --usb let a phone in", file=sys.stderr)
    elif not fingerprint and not usb:
        lacking = "over http a phone's browser has one thread, no WebGPU and no camera"
        print(f"{lacking}: --lan --https gives it all three", file=sys.stderr)
    if fingerprint:
        print(f"the certificate is this run's own; its SHA-256 fingerprint is\n{fingerprint}", file=sys.stderr)
    print("Ctrl-C stops", file=sys.stderr, flush=True)
    print(url, flush=True)  # last: whoever reads it may stop the program at once


def _print_code(code):
    """The QR code in half blocks, light on dark in terminals of any colours."""
    import io

    drawn = io.StringIO()
    code.terminal(drawn, border=2, compact=True)
    start, end = ("\x1b[97;40m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    for line in drawn.getvalue().splitlines():
        print(f"{start}{line}{end}", file=sys.stderr)
