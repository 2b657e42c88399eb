"""What the local server remembers, and how a test waits for it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["variation", "metric", "user"]
Found = list[tuple[Kind, dict[str, Any], dict[str, Any]]]
"""What one accepted post says: kind, user and entry of each event."""


class Event(NamedTuple):
    """One event out of an accepted post.

    Attributes:
        kind: what it is; "user" is the event of an object that names a user and nothing else.
        user: the user object as sent: keyId, name, customizedProperties.
        payload: the entry of ``variations`` or ``metrics`` as sent; empty for a user.
        received_at: Unix seconds.
        request: the number of the HTTP request that carried it.
    """

    kind: Kind
    user: dict[str, Any]
    payload: dict[str, Any]
    received_at: float
    request: int


class Request(NamedTuple):
    """One plain HTTP request with its answer; ``status`` 0 means that the connection was cut instead."""

    number: int
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    size: int
    status: int
    events: int
    received_at: float


@dataclass(slots=True, eq=False)
class Connection:
    """One websocket connection, refused ones included; the server goes on filling it while it lives.

    Attributes:
        accepted_at: Unix seconds.
        query, headers: of the upgrade request.
        status: the answer to the upgrade request, 101 unless the handshake was refused.
        messages: every text message received.
        cursors: the timestamp of every data-sync request, in order.
        closed_at: Unix seconds, None while it is open.
        close_code: of the close frame that ended it, whoever sent it; None when there was none.
        number: its place among all connections, from 1.
    """

    accepted_at: float
    query: dict[str, str]
    headers: dict[str, str]
    status: int = 101
    messages: list[str] = field(default_factory=list)
    cursors: list[int] = field(default_factory=list)
    closed_at: float | None = None
    close_code: int | None = None
    number: int = 0


class Journal:
    """The records of one server, guarded by one condition that is notified of every change."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.connections: list[Connection] = []
        self.requests: list[Request] = []
        self.events: list[Event] = []
        self.open = 0
        self.max_open = 0

    def connected(self, connection: Connection, *, counts: bool) -> None:
        """Note a new connection; a refused one does not count as open."""
        with self.changed:
            self.connections.append(connection)
            connection.number = len(self.connections)
            if counts:
                self.open += 1
                self.max_open = max(self.max_open, self.open)
            self.changed.notify_all()

    def closed(self, connection: Connection, code: int | None, now: float, *, counts: bool) -> None:
        """Note the end of a connection; only the first end of it does something."""
        with self.changed:
            if connection.closed_at is not None:
                return
            connection.closed_at, connection.close_code = now, code
            self.open -= counts
            self.changed.notify_all()

    def message(self, connection: Connection, text: str) -> None:
        with self.changed:
            connection.messages.append(text)
            self.changed.notify_all()

    def cursor(self, connection: Connection, timestamp: int) -> None:
        with self.changed:
            connection.cursors.append(timestamp)
            self.changed.notify_all()

    def answered(self, request: Request, found: Found) -> None:
        """Note a request and the events that were accepted with it."""
        number, now = request.number, request.received_at
        events = [Event(kind, user, payload, now, number) for kind, user, payload in found]
        with self.changed:
            self.requests.append(request)
            self.events += events
            self.changed.notify_all()

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> bool:
        with self.changed:
            return self.changed.wait_for(predicate, timeout)
