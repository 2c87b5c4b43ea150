"""The checks that every request must pass, in their order, and the answers.

This is an ASGI application without routes: either the exact path of a request is a key of the site's table, or the
answer is 404.
"""

import hmac
import json
import time
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

from resdense_keras.errors import ResdenseError

from . import results

MAX_BODY = 64 * 1024  # a result of 64 files has 20 kB
BURST, PER_SECOND = 20, 1.0  # results accepted at once, and per second
TOKEN = "x-resdense-token"
CATALOG, RESULTS = "/catalog.json", "/results"

HEADERS = {
    "content-security-policy": (
        "default-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Refused(Exception):
    """A request that is not served: status and one sentence."""

    def __init__(self, status, text, **headers):
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class Rate:
    """A rate limit: a bucket of `burst` tokens that is refilled with `per_second` tokens per second."""

    def __init__(self, burst=BURST, per_second=PER_SECOND, clock=time.monotonic):
        self.burst, self.per_second, self.clock = burst, per_second, clock
        self.left, self.then = float(burst), clock()

    def take(self):
        """Takes a token; False where none was left."""
        now = self.clock()
        self.left = min(self.burst, self.left + (now - self.then) * self.per_second)
        self.then = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass
class App:
    """The application.

    Attributes:
        site: The Site that is served.
        token: Token that requests for models and results must have.
        origins: {Host header: Origin header} of this server, e.g. {"localhost:8000": "http://localhost:8000"}.
        runtime: Function that returns {"state", ...} of the LiteRT.js runtime, for the page.
        on_result: Function that is called with the folder of each report that got a result.
    """

    site: object
    token: str
    origins: dict
    runtime: object
    on_result: object
    rate: Rate

    async def __call__(self, scope, receive, send):
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Refused as refused:
            # A refused client may have more to send; the server does not wait for it.
            response = PlainTextResponse(refused.text + "\n", refused.status, refused.headers | {"connection": "close"})
        except ClientDisconnect:
            return
        for name, value in HEADERS.items():
            response.headers[name] = value
        await response(scope, receive, send)

    async def _answer(self, request):
        _check_sender(request.headers, self.origins)
        # The undecoded bytes of the request line: a path is a key of the table or unknown.
        path = request.scope["raw_path"].decode("latin-1")
        if path == RESULTS:
            _check_method(request.method, "POST")
            self._check_token(request.headers)
            return await self._take(request)
        if path == CATALOG:
            _check_method(request.method, "GET", "HEAD")
            self._check_token(request.headers)
            return await self._catalog()
        served = self.site.table.get(path)
        if served is None:
            raise Refused(404, "there is nothing here")
        _check_method(request.method, "GET", "HEAD")
        if served.private:
            self._check_token(request.headers)
        try:
            size, content = served.opened()
        except OSError as error:
            raise Refused(410, "this file is no longer there") from error
        if request.method == "HEAD":
            content = ()
        return StreamingResponse(_steps(content), headers={"content-length": str(size), "content-type": served.kind})

    async def _catalog(self):
        try:
            found = await run_in_threadpool(self.site.catalog)
        except (ResdenseError, LookupError) as error:  # someone has changed report.json since the start
            raise Refused(500, f"the report cannot be read: {error}") from error
        return JSONResponse({**found, "runtime": self.runtime()})

    def _check_token(self, headers):
        given = headers.getlist(TOKEN)
        if len(given) != 1 or not hmac.compare_digest(given[0].encode(), self.token.encode()):
            raise Refused(401, "open the page from the QR code or the printed address: both carry this run's token")

    async def _take(self, request):
        """Accepts one result: 201 once it is in report.json on the disk, 200 where it already was."""
        if not self.rate.take():
            raise Refused(429, "too many results; wait a little", **{"retry-after": "2"})
        content = _json(await _body(request))
        try:
            result = results.parse(content)
            fresh = await run_in_threadpool(results.append, self.site, result)
        except results.Wrong as error:
            raise Refused(422, str(error)) from error
        except results.Busy as error:
            raise Refused(503, str(error), **{"retry-after": "2"}) from error
        except ResdenseError as error:
            raise Refused(507, f"the result could not be kept: {error.message}") from error
        if fresh:
            self.on_result()
        return JSONResponse({"kept": result["id"]}, 201 if fresh else 200)


def _check_sender(headers, origins):
    """Refuses host names that are not this server's (DNS rebinding), and requests from other pages (CSRF)."""
    hosts = headers.getlist("host")
    if len(hosts) != 1 or hosts[0] not in origins:
        raise Refused(421, "this server answers to its own address only")
    if any(origin != origins[hosts[0]] for origin in headers.getlist("origin")):
        raise Refused(403, "this server answers to its own page only")
    if not set(headers.getlist("sec-fetch-site")) <= {"same-origin", "none"}:
        raise Refused(403, "another page led here; open the address itself")


def _check_method(method, *allowed):
    if method not in allowed:
        raise Refused(405, f"only {' or '.join(allowed)}", allow=", ".join(allowed))


async def _body(request):
    """The body of a request of type JSON; its size is checked while it arrives."""
    kinds = [value.partition(";")[0].strip().lower() for value in request.headers.getlist("content-type")]
    if kinds != ["application/json"] or "content-encoding" in request.headers:
        raise Refused(415, "results come as application/json")
    declared = request.headers.get("content-length", "0")
    body = bytearray()
    if declared.isdecimal() and int(declared) <= MAX_BODY:
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY:
                break
        else:
            return bytes(body)
    raise Refused(413, f"a result has at most {MAX_BODY} bytes")


def _json(body):
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "this is not JSON") from error


def _no_number(text):
    raise ValueError(f"{text} is not JSON")


async def _steps(pieces):
    for piece in pieces:
        yield piece
