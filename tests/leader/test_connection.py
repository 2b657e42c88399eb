"""A connection ends with the reason that it really ended for."""

import base64
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from fbshared.core.addresses import streaming_url, token
from fbshared.core.wire import data_sync
from fbshared.leader.connection import Connection, Ended
from fbshared.leader.settings import ConnectionSettings
from fbshared.leader.wake import Wake
from fbshared.shm.control import SyncError
from fbshared.testing import FeatBitServer

SETTINGS = ConnectionSettings(user_agent="test/1", timeout=10.0)
Opened = Callable[..., Connection]


def url_of(server: FeatBitServer) -> str:
    return streaming_url(server.streaming_url, token(server.secret, int(time.time() * 1000), 0.5))


@pytest.fixture
def connect(server: FeatBitServer) -> Iterator[Opened]:
    made: list[Connection] = []

    def connected(url: str | None = None, settings: ConnectionSettings = SETTINGS) -> Connection:
        made.append(Connection(url or url_of(server), settings))
        return made[-1]

    yield connected
    for connection in made:
        connection.drop()


def ended(call: Callable[[], Any]) -> tuple[SyncError, int]:
    with pytest.raises(Ended) as caught:
        call()
    return caught.value.error, caught.value.detail


def all_of(connection: Connection) -> None:
    while True:
        connection.receive()


def test_a_message_and_its_answer(server: FeatBitServer, connect: Opened, halt: Wake) -> None:
    """What is sent is answered, and the server sees who we are and no origin."""
    connection = connect()
    assert not connection.ready(halt, 0)
    connection.send(data_sync(0))

    assert connection.ready(halt, 10)
    assert server.message() == (connection.receive() or b"").decode()
    headers = server.connections[0].headers
    assert "test/1" == headers["User-Agent"]
    assert "Origin" not in headers


def test_it_can_be_woken(connect: Opened, halt: Wake) -> None:
    """Waiting for a message ends when the wake is set, and says that there is none."""
    connection = connect()
    halt.set()

    assert not connection.ready(halt, 60)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(4003, SyncError.REQUEST_REFUSED), (1011, SyncError.CLOSED), (1000, SyncError.CLOSED), (1001, SyncError.CLOSED)],
)
def test_close_codes(server: FeatBitServer, connect: Opened, code: int, expected: SyncError) -> None:
    """A close frame's code is the reason, also of a connection that is refused right after it was made."""
    connection = connect()
    server.drop_connections(code)
    assert (expected, code) == ended(lambda: all_of(connection))

    server.refuse(code)
    assert (expected, code) == ended(lambda: all_of(connect()))


def test_an_abort(server: FeatBitServer, connect: Opened, halt: Wake) -> None:
    """An end without a close frame is code 1006 or an error of the network."""
    connection = connect()
    server.drop_connections(None)

    assert connection.ready(halt, 10)
    assert ended(lambda: all_of(connection)) in ((SyncError.CLOSED, 1006), (SyncError.NETWORK, 0))


def test_a_refused_handshake(server: FeatBitServer, connect: Opened) -> None:
    """The HTTP status is told, and how long the server wants to be left alone."""
    server.refuse_handshake(503)
    assert (SyncError.HANDSHAKE, 503) == ended(connect)

    server.refuse_handshake(429, retry_after=17)
    with pytest.raises(Ended) as caught:
        connect()
    assert (SyncError.HANDSHAKE, 429, 17.0) == (caught.value.error, caught.value.detail, caught.value.retry_after)
    assert "handshake (429)" == str(caught.value)


@pytest.mark.parametrize(("value", "seconds"), [("5000", 600.0), ("soon", 0.0), ("-1", 0.0), ("Wed, 21 Oct", 0.0)])
def test_retry_after(value: str, seconds: float) -> None:
    """What is no reasonable number of seconds does not keep us away."""
    answer = f"HTTP/1.1 429 Slow\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
    with raw_server(answer.encode(), reset=False) as url, pytest.raises(Ended) as caught:
        Connection(url, SETTINGS)

    assert seconds == caught.value.retry_after


def test_nobody_listens(connect: Opened) -> None:
    """A port without a server is an error of the network."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}"

        assert (SyncError.NETWORK, 0) == ended(lambda: connect(url))


def test_a_name_that_is_none(connect: Opened) -> None:
    """A host name that cannot exist is an error of the network too."""
    assert SyncError.NETWORK is ended(lambda: connect("ws://" + "x" * 70 + ".invalid/"))[0]


def test_a_silent_port(connect: Opened) -> None:
    """A server that accepts and says nothing costs the timeout and no more."""
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        url = f"ws://127.0.0.1:{mute.getsockname()[1]}"
        settings = ConnectionSettings(user_agent="test/1", timeout=0.1)
        before = time.monotonic()

        assert SyncError.SILENCE is ended(lambda: connect(url, settings))[0]
        assert time.monotonic() - before < 5


def test_a_message_that_is_too_large(server: FeatBitServer, connect: Opened) -> None:
    """A message beyond the limit ends the connection."""
    settings = ConnectionSettings(user_agent="test/1", largest_message=10)
    connection = connect(None, settings)
    connection.send(data_sync(0))

    assert (SyncError.DATA, 1009) == ended(lambda: all_of(connection))


def test_its_end_can_be_said_twice(server: FeatBitServer, connect: Opened, halt: Wake) -> None:
    """Closing says goodbye; closing again is nothing, and all else finds it closed."""
    connection = connect()
    connection.close()
    connection.close()
    connection.drop()

    assert server.wait_for(lambda s: s.connections[0].close_code == 1000)
    assert (SyncError.CLOSED, 1006) == ended(lambda: connection.ready(halt, 0))
    assert SyncError.CLOSED is ended(lambda: connection.send("x"))[0]


def test_dropping_says_nothing(server: FeatBitServer, connect: Opened) -> None:
    """A dropped connection ends without a close frame."""
    connect().drop()

    assert server.wait_for(lambda s: s.open_connections == 0)
    assert server.connections[0].close_code is None


# Servers that ours does not play


class raw_server:  # noqa: N801 - used like a function
    """Answers the first connection with these bytes, in which {accept} is what the handshake needs, and cuts it."""

    def __init__(self, answer: bytes, *, reset: bool = True) -> None:
        self._answer = answer
        self._reset = reset

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        # A daemon: where a test fails before it has dropped its connection, this waits for that for ever.
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return f"ws://127.0.0.1:{self._listener.getsockname()[1]}/"

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        peer, _ = self._listener.accept()
        request = b""
        while b"\r\n\r\n" not in request:
            request += peer.recv(4096)
        lines = dict(line.split(": ", 1) for line in request.decode().split("\r\n")[1:] if ": " in line)
        key = lines["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
        peer.sendall(self._answer.replace(b"{accept}", accept))
        if self._reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(4096):
                pass
        peer.close()


UPGRADE = (
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
)


def test_a_close_frame_before_a_reset(halt: Wake) -> None:
    """The code counts, also when the answer to the close frame cannot be sent any more."""
    for _ in range(5):
        with raw_server(UPGRADE + b"\x88\x02" + struct.pack(">H", 4003)) as url:
            connection = Connection(url, SETTINGS)
        assert (SyncError.REQUEST_REFUSED, 4003) == ended(lambda: all_of(connection))  # noqa: B023
        connection.drop()


def test_a_close_frame_without_a_code() -> None:
    """It counts as code 1005."""
    with raw_server(UPGRADE + b"\x88\x00") as url:
        connection = Connection(url, SETTINGS)

    assert (SyncError.CLOSED, 1005) == ended(lambda: all_of(connection))
    connection.drop()


def test_a_ping_is_no_message() -> None:
    """Control frames are nothing to read; a binary message is one."""
    with raw_server(UPGRADE + b"\x89\x00\x8a\x00\x82\x02{}", reset=False) as url:
        connection = Connection(url, SETTINGS)
        found = [connection.receive() for _ in range(3)]

        assert [None, None, b"{}"] == found
        assert SyncError.CLOSED is ended(connection.receive)[0]
        connection.drop()


def test_a_message_in_several_frames() -> None:
    """It is one message when its last frame is there; a control frame in between is not part of it."""
    with raw_server(UPGRADE + b"\x01\x01{" + b"\x89\x01!" + b"\x00\x02  " + b"\x80\x01}", reset=False) as url:
        connection = Connection(url, SETTINGS)
        found = [connection.receive() for _ in range(2)]
        connection.drop()

    assert [None, b"{  }"] == found


def test_a_proxy() -> None:
    """The way through a proxy is the one that was configured."""
    with closing(socket.create_server(("127.0.0.1", 0))) as proxy:
        asked: list[bytes] = []

        def refuse() -> None:
            peer, _ = proxy.accept()
            asked.append(peer.recv(4096))
            peer.sendall(b"HTTP/1.1 403 No\r\n\r\n")
            peer.close()

        thread = threading.Thread(target=refuse)
        thread.start()
        settings = ConnectionSettings(
            user_agent="test/1",
            timeout=10.0,
            proxy={
                "http_proxy_host": "127.0.0.1",
                "http_proxy_port": str(proxy.getsockname()[1]),
                "http_proxy_auth": ("me", "secret"),
                "proxy_type": "http",
            },
        )
        assert (SyncError.PROXY, 403) == ended(lambda: Connection("ws://featbit.invalid/", settings))
        thread.join(10)

    assert asked[0].startswith(b"CONNECT featbit.invalid:80 ")
    assert b"Basic " in asked[0]
    assert "secret" not in repr(settings)
