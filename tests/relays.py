"""What may stand between a client and FeatBit: a TLS front, a CONNECT proxy and a SOCKS5 server on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import threading
from concurrent.futures import Future
from types import TracebackType

Address = tuple[str, int]


class Relay:
    """Passes bytes on between whoever connects and where ``greet`` says, in a thread with an event loop.

    Attributes:
        port: where it listens.
        passed: the addresses that connections were passed on to.
        refused: how many connections were not.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self.port = 0
        self.passed: list[Address] = []
        self.refused = 0

    def __enter__(self) -> Relay:
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self._thread.start()
        ready.result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Address | None:
        """Where this connection goes, None for nowhere."""
        raise NotImplementedError

    async def _serve(self, ready: Future[None]) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(lambda *_: None)  # handshakes that fail are what is tested
        self._tasks: set[asyncio.Task[None]] = set()
        listener = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.start_server(self._accepted, sock=listener, ssl=self._context)
        self.port = listener.getsockname()[1]
        ready.set_result(None)
        await self._over.wait()
        # Accept no more, and let whoever was just accepted become a connection: asyncio would forget its socket.
        self._loop.remove_reader(listener)
        await asyncio.sleep(0)
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._over.is_set():
            writer.transport.abort()
            return
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        # Not at the end of the coroutine: one that is cancelled before its first step never comes there.
        task.add_done_callback(lambda _: writer.transport.abort())
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._pass_on(reader, writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = await self.greet(reader, writer)
        if target is None:
            self.refused += 1
            await writer.drain()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return
        self.passed.append(target)
        there, back = await asyncio.open_connection(*target)
        try:
            ways = [asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            back.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class TLSFront(Relay):
    """Speaks TLS with the client and plain with a server."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        super().__init__(context)
        self._target = "127.0.0.1", port

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Address:
        return self._target


class ConnectProxy(Relay):
    """An HTTP proxy that makes tunnels, for those who know the login where there is one."""

    def __init__(self, login: tuple[str, str] | None = None) -> None:
        super().__init__()
        self._login = login

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Address | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split(" ", 2)
        lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n") if ": " in line)
        raw = dict(line.split(": ", 1) for line in head.split("\r\n") if ": " in line)
        given = next((raw[name] for name in raw if name.lower() == "proxy-authorization"), "")
        if self._login is not None and given != "Basic " + base64.b64encode(":".join(self._login).encode()).decode():
            writer.write(b"HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
            return None
        if method != "CONNECT" or "authorization" in lines:
            writer.write(b"HTTP/1.1 405 Tunnels only\r\nContent-Length: 0\r\n\r\n")
            return None
        writer.write(b"HTTP/1.1 200 Established\r\n\r\n")
        host, _, port = target.rpartition(":")
        return host, int(port)


class SocksProxy(Relay):
    """A SOCKS5 server (RFC 1928), with user and password (RFC 1929) where there is a login.

    Attributes:
        names: the host names that clients left to it to look up.
    """

    def __init__(self, login: tuple[str, str] | None = None) -> None:
        super().__init__()
        self._login = login
        self.names: list[str] = []

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Address | None:
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        wanted = 0 if self._login is None else 2
        if version != 5 or wanted not in methods:
            writer.write(b"\x05\xff")
            return None
        writer.write(bytes((5, wanted)))
        if self._login is not None and not await self._logged_in(reader, writer):
            return None
        _, command, _, kind = await reader.readexactly(4)
        if command != 1 or kind not in (1, 3):
            writer.write(b"\x05\x07\x00\x01" + bytes(6))
            return None
        if kind == 1:
            host = ".".join(map(str, await reader.readexactly(4)))
        else:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
            self.names.append(host)
        port = int.from_bytes(await reader.readexactly(2), "big")
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        return host, port

    async def _logged_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.readexactly(1)
        user = await reader.readexactly((await reader.readexactly(1))[0])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        good = (user.decode(), password.decode()) == self._login
        writer.write(b"\x01\x00" if good else b"\x01\x01")
        return good
