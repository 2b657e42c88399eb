"""A started server, and a client side that is written without the library's own code."""

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import websocket

from fbshared.testing import FeatBitServer, bootstrap, flag, segment

DATA = bootstrap(
    [flag("dark-mode", updated_at=1_000), flag("old-basket", archived=True, updated_at=2_000)],
    [segment("staff", included=["ada"], updated_at=3_000)],
)


class Client:
    """One websocket connection to the server."""

    def __init__(self, server: FeatBitServer, **query: str) -> None:
        query = {"token": token_of(server.secret), "type": "server"} | query
        text = "&".join(f"{name}={value}" for name, value in query.items())
        url = f"{server.streaming_url}/streaming?{text}"
        self.socket = websocket.create_connection(url, timeout=5, skip_utf8_validation=True)

    def send(self, message: object) -> None:
        self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def ask(self, timestamp: Any = 0) -> None:
        self.send({"messageType": "data-sync", "data": {"timestamp": timestamp}})

    def receive(self) -> Any:
        return json.loads(self.socket.recv())

    def sync(self, timestamp: Any = 0) -> Any:
        self.ask(timestamp)
        return self.receive()["data"]

    def is_in_touch(self) -> bool:
        """Whether the next thing received is the answer to a ping sent now: nothing else was under way."""
        self.send({"messageType": "ping", "data": None})
        return self.receive() == {"messageType": "pong", "data": {}}

    def close_code(self) -> int | None:
        """The code of the close frame that comes next, None when the connection ends without."""
        try:
            code, data = self.socket.recv_data()
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            return None
        assert code == websocket.ABNF.OPCODE_CLOSE
        return int.from_bytes(data[:2], "big")


def token_of(secret: str, age: float = 0.0, position: int | None = None) -> str:
    stamp = str(int((time.time() - age) * 1000))
    place = random.randint(2, len(secret) - 1) if position is None else position
    letters = str.maketrans("0123456789", "QBWSPHDXZU")
    head = f"{place:03}{len(stamp):02}".translate(letters)
    return head + secret[:place] + stamp.translate(letters) + secret[place:]


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(DATA) as started:
        yield started


@pytest.fixture
def connect(server: FeatBitServer) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def connected(**query: str) -> Client:
        clients.append(Client(server, **query))
        return clients[-1]

    yield connected
    for client in clients:
        client.socket.shutdown()


@pytest.fixture
def token() -> Callable[..., str]:
    """Makes a token of a secret, an age in seconds and a position."""
    return token_of
