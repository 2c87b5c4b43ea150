"""uvicorn for a network with strangers in it: slow clients are cut off, and it always stops when told to.

A connection whose request is not complete after SECONDS is closed (the usual servers wait for ever). So is one whose
reader leaves the answer's buffer full for STALLED seconds.
"""

import asyncio
import ssl
import sys

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 10.0  # seconds from the first byte of a request, or from the connection, to the request's end
STALLED = 30.0  # seconds that the buffer of an answer may stay full
GRACE = 2  # seconds for answers that are being sent when the server is told to stop
HEAD_BYTES = 16 * 1024  # request line and headers


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 with time limits."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._until_complete = self._until_taken = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self._watch()

    def data_received(self, data):
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc):
        super().connection_lost(exc)
        for timer in filter(None, (self._until_complete, self._until_taken)):
            timer.cancel()

    def pause_writing(self):
        super().pause_writing()
        self._until_taken = self.loop.call_later(STALLED, self.transport.abort)

    def resume_writing(self):
        super().resume_writing()
        if self._until_taken:
            self._until_taken.cancel()

    def _watch(self):
        """Starts the clock when a request is awaited or incomplete, and stops it when the request is complete."""
        waiting = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if waiting and self._until_complete is None:
            self._until_complete = self.loop.call_later(SECONDS, self.transport.abort)
        elif not waiting and self._until_complete:
            self._until_complete.cancel()
            self._until_complete = None


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose servers allow a TLS handshake no more time than a request."""

    async def create_server(self, *arguments, **options):
        if options.get("ssl"):
            options["ssl_handshake_timeout"] = SECONDS
        return await super().create_server(*arguments, **options)


class Server(uvicorn.Server):
    """Serves an application on one listening socket until it is stopped.

    Args:
        application: An ASGI application.
        certificate: (certificate, key) files for https, read once; or None.
    """

    def __init__(self, application, certificate=None):
        super().__init__(
            uvicorn.Config(
                application,
                http=ImpatientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",  # strangers' broken requests are not worth a line
                access_log=False,
                server_header=False,
                proxy_headers=False,  # there is no proxy in front of it
                timeout_keep_alive=5,
                timeout_graceful_shutdown=GRACE,
                h11_max_incomplete_event_size=HEAD_BYTES,
                backlog=512,
            )
        )
        self.config.load()
        if certificate:
            self.config.ssl = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
            self.config.ssl.load_cert_chain(*certificate)
        _allow_connections()

    def run(self, listener, minutes=None, alongside=()):
        """Blocks until the server stops; then restores the former handlers of SIGTERM and Ctrl-C.

        Args:
            listener: A bound socket.
            minutes: Minutes after which it stops by itself.
            alongside: Coroutine functions that run while it serves, and are cancelled when it ends.
        """
        with asyncio.Runner(loop_factory=_Loop) as runner:
            try:
                runner.run(self._run(listener, minutes, alongside))
            except asyncio.CancelledError as error:
                # Nothing else cancels it: a Runner sets its count of interrupts to zero after it has begun to handle
                # them, and forgets one that comes between.
                raise KeyboardInterrupt from error

    async def _run(self, listener, minutes, alongside):
        loop = asyncio.get_running_loop()
        if minutes is not None:
            loop.call_later(60 * minutes, self._stop)
        self._alongside = [loop.create_task(work()) for work in alongside]
        for task in self._alongside:
            task.add_done_callback(_tell_of_death)
        await self.serve(sockets=[listener])
        await asyncio.sleep(0)  # here a Ctrl-C that uvicorn has held back takes effect

    async def shutdown(self, sockets=None):
        """Also ends what runs alongside, while signals are still delayed."""
        await super().shutdown(sockets)
        for task in self._alongside:
            task.cancel()
        await asyncio.gather(*self._alongside, return_exceptions=True)

    def _stop(self):
        self.should_exit = True


def _tell_of_death(task):
    """Reports on stderr the error that ended a background task; the server goes on."""
    if not task.cancelled() and (error := task.exception()):
        print(f"error: a part of the server has stopped: {error!r}\nhint: start `resdense phone` again",
              file=sys.stderr, flush=True)  # fmt: skip


def _allow_connections():
    """Raises the limit of open connections as far as the system allows; Windows has no such limit."""
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if most == resource.RLIM_INFINITY else min(most, 8192)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
