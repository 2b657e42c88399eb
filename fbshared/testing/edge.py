"""The thread of the local server: an event loop with both sides of it on one port."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future

from aiohttp import web

from fbshared.testing.endpoints import Endpoints
from fbshared.testing.streaming import Streaming, hang_up

LIMIT = 10.0
"""No call waits longer than this for the thread, in seconds."""

_MAX_BODY = 30_000_000


class Edge:
    """Runs the two sides while it is started; start and stop come from one thread at a time."""

    def __init__(self, streaming: Streaming, endpoints: Endpoints) -> None:
        self._streaming = streaming
        self._endpoints = endpoints
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()

    def start(self, listener: socket.socket) -> None:
        """Serve on a bound socket, which the thread takes over; returns once it listens."""
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, ready)), name="fbshared-testing", daemon=True
        )
        self._thread.start()
        ready.result(LIMIT)

    def stop(self) -> None:
        """Cut every connection and stop listening; returns once the thread has ended."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return
        loop.call_soon_threadsafe(self._over.set)
        thread.join(LIMIT)
        self._thread = self._loop = None

    def post(self, action: Callable[[], None]) -> bool:
        """Let the thread do this after all that was posted before; False when it is stopped."""
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(action)
        except RuntimeError:  # stopped meanwhile
            return False
        return True

    def call(self, action: Callable[[], None]) -> None:
        """Do this between two steps of the thread; not to be called under a lock that the thread needs."""
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        if self.post(act):
            done.wait(LIMIT)
        else:
            action()

    async def _serve(self, listener: socket.socket, ready: "Future[None]") -> None:
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_get("/streaming", self._streaming.handle)
        app.router.add_route("*", "/{path:.*}", self._endpoints.handle)
        # A real server does not decompress bodies, and a stopping one waits for nobody.
        runner = web.AppRunner(app, handle_signals=False, access_log=None, auto_decompress=False, shutdown_timeout=0.1)
        self._over = asyncio.Event()
        try:
            await runner.setup()
            await web.SockSite(runner, listener, backlog=512).start()
        except OSError as error:
            listener.close()
            ready.set_exception(error)
            return
        self._loop = asyncio.get_running_loop()
        ready.set_result(None)
        await self._over.wait()
        # Accept no more, and let whoever was just accepted become a connection: asyncio would forget its socket.
        self._loop.remove_reader(listener)
        await asyncio.sleep(0.01)
        # Descriptors live on in children that the test forked: shut the sockets down, closing is not enough.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        self._streaming.drop(None)
        if runner.server is not None:
            for protocol in list(runner.server.connections):
                hang_up(protocol.transport)
        await runner.cleanup()
