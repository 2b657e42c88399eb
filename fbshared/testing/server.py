"""A FeatBit evaluation server for tests: one environment on one port."""

import copy
import socket
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, final

from fbshared.testing.credentials import environment_of, make_secret
from fbshared.testing.environment import Bootstrap, Environment, Raw, message
from fbshared.testing.faults import Faults
from fbshared.testing.records import Connection, Event, Journal, Request


@final
class FeatBitServer:
    """A local FeatBit evaluation server that checks what a real one checks, and misbehaves on demand.

    It serves the websocket and the HTTP endpoints of one environment on one port from a daemon thread::

        with FeatBitServer(sample_environment()) as server:
            client = FBClient(Config(server.secret, server.event_url, server.streaming_url))
            client.variation("new-checkout", {"key": "u1", "name": "Ada"})
            server.update_flag("new-checkout", isEnabled=False)
            assert server.wait_for(lambda s: s.event_count == 1)

    Every method may be called from any thread, also while the server is stopped. Faults last until they are
    taken back. Records cover the whole life of the object, restarts included. A forked child has no server: give
    it the URLs and the secret.

    Args:
        bootstrap: path, JSON text or object: a data-sync message with a full, or its bare ``data``.
        secret: the only known secret; a new well-formed one by default.
        host: the address to listen on.
        port: the port to listen on, 0 for any; a restart keeps it.
        token_expiry: seconds by which the time of a token may differ from the server's.

    Attributes:
        secret, environment_id: of the one environment.
        host, port: where it listens; the port is known after the first start.

    Raises:
        ImportError: aiohttp is missing.
        ValueError: the secret is malformed.
        MessageError: the bootstrap is not understood.
    """

    def __init__(
        self,
        bootstrap: Bootstrap | None = None,
        *,
        secret: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        token_expiry: float = 30.0,
    ) -> None:
        try:
            from fbshared.testing.edge import Edge
            from fbshared.testing.endpoints import Endpoints
            from fbshared.testing.streaming import Streaming
        except ModuleNotFoundError as error:
            raise ImportError("FeatBitServer needs aiohttp: pip install 'fbshared[testing]'") from error
        self.secret = secret or make_secret()
        self.environment_id = environment_of(self.secret)
        self.host = host
        self.port = port
        self._environment = Environment(bootstrap)
        self._faults = Faults()
        self._journal = Journal()
        self._streaming = Streaming(self._environment, self._faults, self._journal, self.secret, token_expiry)
        self._edge = Edge(
            self._streaming, Endpoints(self._environment, self._faults, self._journal, self.environment_id)
        )

    def __repr__(self) -> str:
        return f"FeatBitServer({self.event_url}, environment {self.environment_id})"

    # Running

    def __enter__(self) -> "FeatBitServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, again on the same port after a stop; OSError when the port is not to be had."""
        self._edge.stop()
        first = not self.port
        listener = self._bind()
        self.port = listener.getsockname()[1]
        if first and sys.platform == "linux":
            # Bound and never listening, it keeps the port from others, a client's own end included, while the
            # server is stopped; other systems do not let two sockets have one address.
            weakref.finalize(self, self._bind().close)
        self._edge.start(listener)

    def stop(self) -> None:
        """Cut all connections and listen no more, as in an outage; the data and the records stay."""
        self._edge.stop()

    @property
    def streaming_url(self) -> str:
        """What a client is configured with for streaming."""
        return f"ws://{self.host}:{self.port}"

    @property
    def event_url(self) -> str:
        """What a client is configured with for events."""
        return f"http://{self.host}:{self.port}"

    def _bind(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self.host, self.port))
        except BaseException:
            sock.close()
            raise
        return sock

    # Data

    def load(self, bootstrap: Bootstrap, *, push: bool = False) -> None:
        """Replace all data; with ``push`` every connection gets an unsolicited full, as from an Agent."""
        with self._journal.changed:
            self._environment.load(bootstrap)
            if push:
                self.send_raw(self._environment.answer(0))

    def adopt(self, bootstrap: Bootstrap) -> list[str]:
        """Change what differs from a bootstrap, and push each such item in a message of its own; one that is missing
        there is archived. Returns what was changed; MessageError, and nothing is changed, when it is no bootstrap."""
        with self._journal.changed:
            flags, segments = self._environment.changes_to(bootstrap)
            for item in flags:
                self.put_flag(item)
            for item in segments:
                self.put_segment(item)
        return [f"flag {item['key']}" for item in flags] + [f"segment {item['id']}" for item in segments]

    def flag(self, key: str) -> Raw:
        """A copy of the raw flag; KeyError when there is none."""
        with self._journal.changed:
            return copy.deepcopy(self._environment.flags[key])

    def segment(self, segment_id: str) -> Raw:
        """A copy of the raw segment; KeyError when there is none."""
        with self._journal.changed:
            return copy.deepcopy(self._environment.segments[segment_id])

    def patch(
        self,
        flags: Iterable[Mapping[str, Any]] = (),
        segments: Iterable[Mapping[str, Any]] = (),
        *,
        push: bool = True,
    ) -> float:
        """Store these raw items, stamped anew, and push them in one message; returns the time of the push.

        Stamps grow strictly, in milliseconds, and are newer than everything that was loaded. A real server
        pushes every item in a message of its own: see ``put_flag`` and ``put_segment``.
        """
        with self._journal.changed:
            stored = self._environment.put(flags, segments)
            now = time.time()
            if push:
                self.send_raw(message("patch", *stored))
        return now

    def put_flag(self, raw: Mapping[str, Any], *, push: bool = True) -> float:
        """Add or replace one flag and push it; returns the time of the push, as all changes do."""
        return self.patch(flags=[raw], push=push)

    def put_segment(self, raw: Mapping[str, Any], *, push: bool = True) -> float:
        """Add or replace one segment and push it."""
        return self.patch(segments=[raw], push=push)

    def update_flag(self, key: str, *, push: bool = True, **fields: Any) -> float:
        """Change fields of a flag, spelled as in the raw flag, and push it; KeyError when there is none."""
        with self._journal.changed:
            return self.put_flag(self._environment.flags[key] | fields, push=push)

    def update_segment(self, segment_id: str, *, push: bool = True, **fields: Any) -> float:
        """Change fields of a segment and push it; KeyError when there is none."""
        with self._journal.changed:
            return self.put_segment(self._environment.segments[segment_id] | fields, push=push)

    def archive_flag(self, key: str, *, push: bool = True) -> float:
        """Archive a flag; it stays as a tombstone in what the server sends."""
        return self.update_flag(key, push=push, isArchived=True)

    def archive_segment(self, segment_id: str, *, push: bool = True) -> float:
        """Archive a segment."""
        return self.update_segment(segment_id, push=push, isArchived=True)

    def message(self, timestamp: int = 0) -> str:
        """The text that a data-sync request with this timestamp is answered with at the moment."""
        with self._journal.changed:
            return self._environment.answer(timestamp)

    def send_raw(self, text: str) -> None:
        """Send any text to all connections."""
        self._edge.post(lambda: self._streaming.broadcast(text))

    # Faults

    def drop_connections(self, code: int | None = None) -> None:
        """End all connections: with this close code after all that was sent, or for None without any."""
        self._edge.call(lambda: self._streaming.drop(code))

    def refuse(self, code: int | None) -> None:
        """Accept new websocket connections and close them at once with this code; None ends that."""
        self._set(close_code=code)

    def refuse_handshake(self, status: int | None, retry_after: float | None = None) -> None:
        """Answer upgrade requests with this HTTP status; None ends that."""
        self._set(handshake_status=status, handshake_retry_after=retry_after)

    def accept(self) -> None:
        """Refuse new connections no more, neither with a close code nor with a status."""
        self.refuse(None)
        self.refuse_handshake(None)

    def refuse_latest(self, status: int | None, retry_after: float | None = None) -> None:
        """Answer requests for the latest data with this HTTP status; None ends that, also for other answers."""
        self._set(latest_status=status, latest_retry_after=retry_after, latest_text=None)

    def answer_latest(self, text: str) -> None:
        """Answer requests for the latest data with this text, as a captive portal does."""
        self._set(latest_status=None, latest_text=text)

    def stall(self, on: bool = True) -> None:
        """Accept and read on, and send nothing at all: no answer, no push, no pong, no close frame."""
        self._set(stalled=on)

    def mute_data_sync(self, on: bool = True) -> None:
        """Leave data-sync requests without an answer; pings are answered and changes pushed."""
        self._set(muted=on)

    def fail_insights(self, *statuses: int | None, retry_after: float | None = None) -> None:
        """Answer the next posts of insights with these statuses in turn, then as before; a 2xx accepts.

        None cuts the connection instead of answering. Statuses of an earlier call are forgotten.
        """
        self._set(insight_statuses=deque(statuses), insight_retry_after=retry_after)

    def fail_insights_forever(self, status: int | None, retry_after: float | None = None) -> None:
        """Answer all posts of insights with this status, or cut the connection for None."""
        self._set(insight_status=status, insight_retry_after=retry_after)

    def heal_insights(self) -> None:
        """Judge posts of insights by what they contain and answer them at once."""
        self._set(insight_status=200, insight_statuses=deque(), insight_retry_after=None, insight_delay=0.0)

    @property
    def insight_delay(self) -> float:
        """Seconds between the acceptance of a post of insights, recorded at once, and its answer."""
        return self._faults.insight_delay

    @insight_delay.setter
    def insight_delay(self, seconds: float) -> None:
        self._set(insight_delay=seconds)

    @property
    def clock_offset(self) -> float:
        """Seconds by which the server's clock is ahead: it judges tokens and fills ``Date`` headers."""
        return self._faults.clock_offset

    @clock_offset.setter
    def clock_offset(self, seconds: float) -> None:
        self._set(clock_offset=seconds)

    def _set(self, **faults: Any) -> None:
        """Change faults so that what the server has read before is still answered under the old ones."""

        def change() -> None:
            for name, value in faults.items():
                setattr(self._faults, name, value)

        self._edge.call(change)

    # Records

    @property
    def connections(self) -> list[Connection]:
        """All websocket connections so far in order, the refused ones included."""
        with self._journal.changed:
            return list(self._journal.connections)

    @property
    def open_connections(self) -> int:
        """How many accepted websocket connections are open; refused ones never count."""
        return self._journal.open

    @property
    def max_open_connections(self) -> int:
        """How many were open at the same time at most."""
        return self._journal.max_open

    @property
    def requests(self) -> list[Request]:
        """All plain HTTP requests so far in the order of their answers."""
        with self._journal.changed:
            return list(self._journal.requests)

    @property
    def insight_requests(self) -> list[Request]:
        """The posts of insights among the requests, accepted or not."""
        return [request for request in self.requests if request.path.endswith("/insight/track")]

    @property
    def latest_requests(self) -> list[Request]:
        """The requests for the latest data among the requests."""
        return [request for request in self.requests if request.path.endswith("/server/latest-all")]

    @property
    def events(self) -> list[Event]:
        """The events of all accepted posts in order."""
        with self._journal.changed:
            return list(self._journal.events)

    @property
    def event_count(self) -> int:
        """How many events there are, without copying them."""
        return len(self._journal.events)

    def clear_events(self) -> None:
        """Forget the events."""
        with self._journal.changed:
            self._journal.events.clear()

    def wait_for(self, predicate: "Callable[[FeatBitServer], bool]", timeout: float = 10.0) -> bool:
        """Whether the predicate becomes true in time; it is asked after every new record.

        It may look at this server only: the server stands still while it is asked.
        """
        return self._journal.wait_for(lambda: predicate(self), timeout)
