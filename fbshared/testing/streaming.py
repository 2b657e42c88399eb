"""The websocket side of the local server; everything here runs in the thread of its event loop."""

import asyncio
import contextlib
import json
import socket
import time
from asyncio import Queue
from dataclasses import dataclass, field
from email.utils import formatdate

from aiohttp import WSCloseCode, WSMsgType, web

from fbshared.testing.credentials import decode_token
from fbshared.testing.environment import Environment
from fbshared.testing.faults import REASONS, Faults
from fbshared.testing.records import Connection, Journal

PIECE = 8192
"""A real server reads four pieces of 2048 bytes, drops what is longer and reads the rest as a new message."""

_CLOSE_TIMEOUT = 2.0
_NO_CODE = 1005


@dataclass(slots=True, eq=False)
class Link:
    """One accepted websocket; its outbox keeps the order: texts, and at last a close code."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    record: Connection
    outbox: Queue[str | int] = field(default_factory=Queue)


def hang_up(transport: asyncio.BaseTransport | None) -> None:
    """End a TCP connection at once.

    Closing the descriptor is not enough: a child that was forked by the test holds a copy of it.
    """
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):  # the other side may have been faster
            sock.shutdown(socket.SHUT_RDWR)
    if isinstance(transport, asyncio.Transport):
        transport.abort()


def date_header(offset: float) -> str:
    """The time of day as the server believes it to be."""
    return formatdate(time.time() + offset, usegmt=True)


class Streaming:
    """Checks, answers and pushes as a FeatBit evaluation server does.

    Args:
        environment: what connections are told about; read under the journal's condition.
        secret: the only one that is known.
        token_expiry: how many seconds a token's time may differ from the server's.
    """

    def __init__(
        self, environment: Environment, faults: Faults, journal: Journal, secret: str, token_expiry: float
    ) -> None:
        self._environment = environment
        self._faults = faults
        self._journal = journal
        self._secret = secret
        self._token_expiry = token_expiry
        self._links: set[Link] = set()

    def broadcast(self, text: str) -> None:
        """Send to every registered connection, also to those whose data-sync request was not read yet."""
        for link in self._links:
            self._send(link, text)

    def drop(self, code: int | None) -> None:
        """End every connection: with a close frame after all that was sent before, or abruptly."""
        for link in list(self._links):
            if code is None:
                self._ended(link, None)
                hang_up(link.transport)
            else:
                link.outbox.put_nowait(code)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one upgrade request for as long as its connection lives."""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(status=404)
        faults, date = self._faults, {"Date": date_header(self._faults.clock_offset)}
        record = Connection(
            accepted_at=time.time(),
            query=dict(request.query),
            headers=dict(request.headers),
        )
        if faults.handshake_status is not None:
            record.status = faults.handshake_status
            record.closed_at = record.accepted_at
            self._journal.connected(record, counts=False)
            return refusal(faults.handshake_status, faults.handshake_retry_after, date)
        ws = web.WebSocketResponse(
            timeout=_CLOSE_TIMEOUT, autoclose=False, autoping=False, compress=False, max_msg_size=0
        )
        ws.headers.update(date)
        code = faults.close_code or self._verdict(record.query)
        if code:
            self._journal.connected(record, counts=False)
            self._journal.closed(record, code, time.time(), counts=False)
            await ws.prepare(request)
            await ws.close(code=code, message=REASONS.get(code, "").encode())
            hang_up(request.transport)
        else:
            await self._serve(Link(ws, request.transport, record), request)
        return ws

    def _verdict(self, query: dict[str, str]) -> int | None:
        """The close code for a connection that a real server would not serve."""
        if query.get("type") != "server" or query.get("version", "") not in ("", "1", "2"):
            return 4003
        try:
            token = decode_token(query.get("token", ""))
        except ValueError:
            return 4003
        age = time.time() + self._faults.clock_offset - token.timestamp / 1000
        if abs(age) > self._token_expiry or token.secret != self._secret:
            return 4003
        return None

    async def _serve(self, link: Link, request: web.Request) -> None:
        # Registered before the client can know that it is connected: whatever happens from then on reaches it.
        self._links.add(link)
        self._journal.connected(link.record, counts=True)
        try:
            await link.socket.prepare(request)
            writer = asyncio.create_task(self._write(link))
            try:
                await self._read(link, writer)
            finally:
                writer.cancel()
        finally:
            self._ended(link, None)
            hang_up(link.transport)

    async def _read(self, link: Link, writer: "asyncio.Task[None]") -> None:
        while True:
            message = await link.socket.receive()
            if message.type is WSMsgType.TEXT:
                self._received(link, message.data)
            elif message.type is WSMsgType.PING:
                if not self._faults.stalled:
                    await link.socket.pong(message.data)
            elif message.type is WSMsgType.CLOSE:
                code = message.data or _NO_CODE
                self._ended(link, code)
                if not self._faults.stalled:
                    await link.socket.close(code=WSCloseCode.OK if code == _NO_CODE else code)
                return
            elif message.type is WSMsgType.CLOSING:
                await writer  # it sent a close frame and waits for the answer
                return
            elif message.type in (WSMsgType.CLOSED, WSMsgType.ERROR):
                return

    async def _write(self, link: Link) -> None:
        try:
            while True:
                item = await link.outbox.get()
                if isinstance(item, int):
                    self._ended(link, item)
                    await link.socket.close(code=item, message=REASONS.get(item, "").encode())
                    return
                await link.socket.send_str(item)
        except ConnectionError:
            hang_up(link.transport)

    def _received(self, link: Link, text: str) -> None:
        data = text.encode(errors="surrogatepass")
        while len(data) > PIECE:
            data = data[PIECE:]
        self._journal.message(link.record, text)
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(message, dict) or "data" not in message:
            return
        match str(message.get("messageType")).lower():
            case "ping":
                self._send(link, '{"messageType":"pong","data":{}}')
            case "data-sync":
                self._synchronize(link, message["data"])

    def _synchronize(self, link: Link, data: object) -> None:
        """Answer a data-sync request; one that cannot be read gets none, like an error in a real server."""
        if not isinstance(data, dict | None):
            return
        timestamp = (data or {}).get("timestamp")
        if timestamp is None:
            timestamp = 0
        if type(timestamp) is not int:
            return
        with self._journal.changed:
            self._journal.cursor(link.record, timestamp)
            answer = self._environment.answer(timestamp)
        if not self._faults.muted:
            self._send(link, answer)

    def _send(self, link: Link, text: str) -> None:
        if not self._faults.stalled:
            link.outbox.put_nowait(text)

    def _ended(self, link: Link, code: int | None) -> None:
        self._links.discard(link)
        self._journal.closed(link.record, code, time.time(), counts=True)


def refusal(status: int, retry_after: float | None, headers: dict[str, str]) -> web.Response:
    """An answer that refuses, in the form of the server's rate limiter where it is one."""
    if retry_after is not None:
        headers = headers | {"Retry-After": f"{retry_after:g}"}
    body = {"error": "Rate limit exceeded. Please try again later."} if status == 429 else None
    if body is None:
        return web.Response(status=status, headers=headers)
    return web.json_response(body, status=status, headers=headers)
