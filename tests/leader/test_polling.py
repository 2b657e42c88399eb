"""Polling against the local server: the same data by another way, and the choice between the two."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from fbshared.core.addresses import latest_url
from fbshared.core.model import EMPTY
from fbshared.core.wire import PING, data_sync, parse
from fbshared.leader.connection import Ended
from fbshared.leader.polling import FAILURES, POLLS, POLLS_NO_MORE, Poll, Ways
from fbshared.leader.settings import ConnectionSettings, PollSettings, SyncSettings
from fbshared.leader.sync import Sync
from fbshared.leader.wake import Wake
from fbshared.shm.control import Control, SyncError, SyncState, Transport, birth
from fbshared.testing import FeatBitServer, flag
from tests.leader.publications import Publications

Eventually = Callable[..., bool]
CURSOR = 1_700_000_002_000  # of the server's data


def settings_for(server: FeatBitServer, **more: Any) -> PollSettings:
    options = {"interval": 0.05, "connect_timeout": 10.0, "read_timeout": 10.0, "again": (0.2, 0.2)} | more
    return PollSettings(url=latest_url(server.event_url), secret=server.secret, user_agent="test/1", **options)


def polled(server: FeatBitServer, cursor: int = CURSOR, **more: Any) -> Poll:
    return Poll(settings_for(server, **more), lambda: cursor, lambda: True)


def ended(call: Callable[[], Any]) -> tuple[SyncError, int, float]:
    with pytest.raises(Ended) as caught:
        call()
    return caught.value.error, caught.value.detail, caught.value.retry_after


# One poll


def test_everything(server: FeatBitServer) -> None:
    """Asked for everything, it receives the full; the secret and the headers go along."""
    poll = polled(server, headers={"X-Tenant": "bank"})
    poll.send(data_sync(0))

    assert server.message() == (poll.receive() or b"").decode()
    assert poll.receive() is None
    (request,) = server.latest_requests
    assert {} == request.query
    assert (server.secret, "test/1", "bank") == tuple(
        request.headers[name] for name in ("Authorization", "User-Agent", "X-Tenant")
    )
    assert server.secret not in repr(settings_for(server))


def test_nothing_newer(server: FeatBitServer, halt: Wake) -> None:
    """An empty answer is a patch without items, and is no JSON."""
    poll = polled(server)
    assert not poll.ready(halt, 0)
    poll.send(PING)

    assert poll.ready(halt, 60)
    message = parse(poll.receive() or b"")
    assert message is not None
    assert (False, (), ()) == (message.full, message.items, message.rejected)
    assert {"timestamp": str(CURSOR)} == server.latest_requests[0].query


def test_something_newer(server: FeatBitServer) -> None:
    """A ping asks for what is newer than the cursor."""
    server.put_flag(flag("new"))
    poll = polled(server)
    poll.send(PING)
    message = parse(poll.receive() or b"")

    assert message is not None
    assert (False, ["new"]) == (message.full, [item.key for item in message.items])


def test_now_and_then_it_begins_behind_the_cursor(server: FeatBitServer) -> None:
    """Items can appear behind the cursor: one poll of ten begins a minute before it."""
    poll = polled(server)
    for _ in range(20):
        poll.send(PING)
    asked = [int(request.query["timestamp"]) for request in server.latest_requests]

    assert [CURSOR] * 9 + [CURSOR - 60_000] + [CURSOR] * 9 + [CURSOR - 60_000] == asked


@pytest.mark.parametrize(
    ("status", "retry_after", "expected"),
    [
        (401, None, (SyncError.REQUEST_REFUSED, 401, 0.0)),
        (403, None, (SyncError.REQUEST_REFUSED, 403, 0.0)),
        (429, 17, (SyncError.HTTP, 429, 17.0)),
        (429, 5000, (SyncError.HTTP, 429, 300.0)),
        (302, None, (SyncError.HTTP, 302, 0.0)),
        (404, None, (SyncError.HTTP, 404, 0.0)),
        (503, None, (SyncError.HTTP, 503, 0.0)),
    ],
)
def test_statuses(
    server: FeatBitServer, status: int, retry_after: float | None, expected: tuple[SyncError, int, float]
) -> None:
    """Each is told as what it is, and how long the server wants to be left alone."""
    server.refuse_latest(status, retry_after)

    assert expected == ended(lambda: polled(server).send(PING))


@pytest.mark.parametrize("text", ["<html>sign in</html>", "[]", "{}", '{"messageType":"pong","data":{}}', "{"])
def test_a_page_is_no_answer(server: FeatBitServer, text: str) -> None:
    """What a portal answers with status 200 is not taken for data."""
    server.answer_latest(text)

    assert (SyncError.DATA, 0, 0.0) == ended(lambda: polled(server).send(PING))


def test_an_empty_answer_to_everything(server: FeatBitServer) -> None:
    """Everything is never nothing: a full has a body."""
    server.answer_latest("")

    assert SyncError.DATA is ended(lambda: polled(server).send(data_sync(0)))[0]


def test_nobody_listens(server: FeatBitServer) -> None:
    """It is an error of the network."""
    server.stop()

    assert (SyncError.NETWORK, 0, 0.0) == ended(lambda: polled(server).send(PING))


def test_a_silent_port(server: FeatBitServer) -> None:
    """A server that accepts and says nothing costs the timeout and no more."""
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        settings = PollSettings(
            url=f"http://127.0.0.1:{mute.getsockname()[1]}", secret="s", user_agent="u", read_timeout=0.1
        )
        before = time.monotonic()

        assert SyncError.SILENCE is ended(lambda: Poll(settings, int, lambda: True).send(PING))[0]
        assert time.monotonic() - before < 5


def test_an_answer_that_is_too_large(server: FeatBitServer) -> None:
    """An answer beyond the limit is given up."""
    assert (SyncError.DATA, 1009, 0.0) == ended(lambda: polled(server, largest_message=10).send(data_sync(0)))


def test_an_answer_that_nobody_wants(server: FeatBitServer) -> None:
    """Who leads no more does not read on."""
    poll = Poll(settings_for(server), int, lambda: False)

    assert SyncError.SILENCE is ended(lambda: poll.send(data_sync(0)))[0]


@contextmanager
def tagging_server(requests: list[bytes]) -> Iterator[str]:
    """Gives its only answer an ETag, and says so when the client has it."""
    body = b'{"messageType":"data-sync","data":{"eventType":"patch","featureFlags":[],"segments":[]}}'

    def serve() -> None:
        for _ in range(3):
            peer, _ = listener.accept()
            with peer:
                request = peer.recv(65536)
                requests.append(request)
                if b'If-None-Match: "one"' in request:
                    peer.sendall(b'HTTP/1.1 304 Same\r\nETag: "one"\r\nConnection: close\r\n\r\n')
                else:
                    head = b'HTTP/1.1 200 OK\r\nETag: "one"\r\nConnection: close\r\nContent-Length: %d\r\n\r\n'
                    peer.sendall(head % len(body) + body)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/latest"
        thread.join(10)


def test_an_etag() -> None:
    """The tag of an answer goes with the next request for the same, and only with that one."""
    requests: list[bytes] = []
    cursors = iter([5, 5, 6])
    with tagging_server(requests) as url:
        poll = Poll(PollSettings(url=url, secret="s", user_agent="u"), lambda: next(cursors), lambda: True)
        for _ in range(3):
            poll.send(PING)
    answers = [parse(poll.receive() or b"") for _ in range(3)]

    assert [False, True, False] == [b"If-None-Match" in request for request in requests]
    assert 1 == len(set(answers))


# The choice


class Choice:
    """Ways with a clock of its own; a try is a letter: s for streaming, p for polling."""

    def __init__(self, mode: Any = "auto", settings: PollSettings | None = None, *, polled: bool = False) -> None:
        self.now = 0.0
        made = settings or PollSettings(url="http://a.b", secret="s", user_agent="u")
        self.ways = Ways(mode, made, lambda: self.now, polled=polled)

    def tries(self, *outcomes: bool | SyncError) -> str:
        letters = ""
        for outcome in outcomes:
            letters += "p" if self.ways.choose() else "s"
            if outcome is True:
                self.ways.works()
            else:
                self.ways.failed(outcome or SyncError.NETWORK, 0)
        return letters


def test_one_way_only() -> None:
    """Who asks for one way gets no other, whatever happens."""
    assert "s" * 9 == Choice("streaming").tries(*[False] * 9)
    assert "p" * 9 == Choice("polling").tries(*[False] * 9)
    assert not Ways("auto", None, lambda: 0.0).choose()
    assert not Ways("polling", None, lambda: 0.0).choose()


def test_the_way_around() -> None:
    """After three websockets in a row every other try is a poll; once it worked, and a websocket does not even then,
    polling is the way."""
    choice = Choice()

    assert "sss" + "psps" + "ps" + "ppp" == choice.tries(*[False] * 7, True, False, True, True, True)
    assert FAILURES == 3


def test_the_end_of_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """Where both ways failed and both work again, a poll may be the first to find out: then a websocket comes next."""
    assert "sss" + "psps" + "ps" + "s" == Choice().tries(*[False] * 7, True, True, True)
    assert "" == caplog.text


def test_a_websocket_that_worked_counts_anew() -> None:
    """Failures count in a row."""
    assert "ss" + "s" + "sssp" == Choice().tries(False, False, True, False, False, False, False)


def test_a_refusal_got_through() -> None:
    """What FeatBit itself refuses did get through: polling would change nothing."""
    refused = SyncError.REQUEST_REFUSED

    assert "ssssss" == Choice().tries(False, False, refused, False, False, refused)


def test_a_busy_server_is_no_obstacle() -> None:
    """Whom the rate limiter asks to wait, waits."""
    choice = Choice()
    for _ in range(9):
        assert not choice.ways.choose()
        choice.ways.failed(SyncError.HANDSHAKE, 429)


def test_back_again(caplog: pytest.LogCaptureFixture) -> None:
    """While polling, a websocket is tried ever more seldom, an hour apart at most; each change is said once."""
    caplog.set_level(logging.INFO, "fbshared")
    choice = Choice()
    choice.tries(False, False, False, True, False)
    gaps = []
    for _ in range(8):
        since = choice.now
        while not choice.ways.websocket_is_due():
            assert "p" == choice.tries(True)
            choice.now += 30
        gaps.append(choice.now - since)
        assert "s" == choice.tries(False)

    assert "p" == choice.tries(True)
    assert 150 <= gaps[0] <= 330
    assert 1800 <= gaps[-1] <= 3630
    choice.now += 3600
    assert "s" + "s" == choice.tries(True, True)
    assert not choice.ways.websocket_is_due()
    assert [POLLS, POLLS_NO_MORE] == [record.getMessage() for record in caplog.records]


def test_when_polling_fails_too() -> None:
    """What worked before is not the only thing to try: the next one is a websocket."""
    choice = Choice()
    choice.tries(False, False, False, True, False)

    assert "psps" == choice.tries(False, False, False, True)
    assert "s" == choice.tries(True)


def test_the_next_leader_begins_with_what_worked() -> None:
    """Where the leader before polled, a poll is the first try, and a websocket the second."""
    assert "ps" == Choice(polled=True).tries(False, False)
    assert "psp" == Choice(polled=True).tries(True, False, True)
    assert "s" == Choice("streaming", polled=True).tries(False)


# Sync that polls


class Line:
    """A sync in its thread, and what it published."""

    def __init__(self, server: FeatBitServer, halt: Wake, mode: Any, **more: Any) -> None:
        self.control = Control.over(bytearray(birth((1, 2), 3)))
        self.published = Publications()
        self.halt = halt
        settings = SyncSettings(
            url=server.streaming_url,
            secret=server.secret,
            connection=ConnectionSettings(user_agent="test/1", timeout=10.0),
            mode=mode,
            polling=settings_for(server),
            first_retry=0.02,
            **more,
        )
        self.sync = Sync(
            settings,
            EMPTY,
            lambda dataset, _, difference: self.published.add(dataset, difference),
            self.control,
            lambda: True,
            synced=False,
        )
        self.thread = threading.Thread(target=self.sync.run, args=(halt,))
        self.thread.start()

    @property
    def flags(self) -> set[str]:
        data = self.published[-1].flags.values() if self.published else ()
        return {item.key for item in data if not item.archived}

    @property
    def well(self) -> bool:
        return self.control.sync_state == SyncState.OK

    def end(self) -> None:
        self.halt.set()
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.sync.close()


Make = Callable[..., Line]


@pytest.fixture
def make(server: FeatBitServer, halt: Wake) -> Iterator[Make]:
    made: list[Line] = []

    def line(mode: Any, **more: Any) -> Line:
        made.append(Line(server, halt, mode, **more))
        return made[-1]

    yield line
    for each in made:
        each.end()


def test_it_polls(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Told to poll, it makes no websocket, and sees what changes."""
    line = make("polling")
    assert eventually(lambda: line.well)
    server.put_flag(flag("new"))
    assert eventually(lambda: {"dark-mode", "new"} == line.flags)
    server.archive_flag("new")
    assert eventually(lambda: {"dark-mode"} == line.flags)

    assert [] == server.connections
    assert Transport.POLLING == line.control.transport
    assert line.control.longest_silence > 60_000, "others know that it asks now and then only"
    assert 3 == len(line.published)


def test_an_outage(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A server that answers with errors is shown as that, with its status, and is polled again from where it was."""
    line = make("polling")
    assert eventually(lambda: line.well)
    # Polls that began before the first answer was read ask for everything too.
    before, asked = line.flags, len(server.latest_requests)
    server.refuse_latest(503)
    assert eventually(lambda: line.control.sync_state == SyncState.INTERRUPTED)
    assert (SyncError.HTTP, 503) == (line.control.sync_error, line.control.sync_detail)
    assert before == line.flags
    server.refuse_latest(None)
    server.put_flag(flag("new"))

    assert eventually(lambda: "new" in line.flags)
    assert eventually(lambda: line.well)
    assert {True} == {"timestamp" in request.query for request in server.latest_requests[asked:]}


def test_retry_after_is_kept(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Whoever is asked to wait asks no more until then."""
    server.refuse_latest(429, retry_after=60)
    line = make("polling")
    assert eventually(lambda: line.control.sync_state == SyncState.INTERRUPTED)
    assert 429 == line.control.sync_detail
    count = len(server.latest_requests)
    assert not eventually(lambda: len(server.latest_requests) > count, timeout=0.5)

    assert line.control.sync_retry_at > time.time() * 1000 + 50_000


def test_a_refusal(server: FeatBitServer, make: Make, eventually: Eventually, caplog: pytest.LogCaptureFixture) -> None:
    """A poll without the right to it is shared as a refused websocket is: shown to all, and tried again slowly."""
    server.refuse_latest(401)
    line = make("polling")
    assert eventually(lambda: line.control.sync_state == SyncState.REFUSED)

    assert (SyncError.REQUEST_REFUSED, 401) == (line.control.sync_error, line.control.sync_detail)
    assert line.control.sync_retry_at > time.time() * 1000 + 20_000
    assert "code 401" in caplog.text
    assert 1 == len(server.latest_requests)


@pytest.mark.parametrize("status", [403, 502])
def test_websockets_do_not_get_through(
    server: FeatBitServer, make: Make, eventually: Eventually, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Where a proxy refuses handshakes it polls, all being well, and goes back when one gets through."""
    caplog.set_level(logging.INFO, "fbshared")
    server.refuse_handshake(status)
    line = make("auto")
    assert eventually(lambda: line.well)
    assert Transport.POLLING == line.control.transport
    tries = len(server.connections)
    assert eventually(lambda: len(server.connections) > tries)
    states = {line.control.sync_state for _ in range(1000)}
    server.put_flag(flag("while-polling"))
    assert eventually(lambda: "while-polling" in line.flags)
    server.accept()

    assert eventually(lambda: line.control.transport == Transport.STREAMING)
    assert eventually(lambda: server.open_connections == 1)
    assert {SyncState.OK} == states
    said = [record.getMessage() for record in caplog.records]
    assert (1, 1) == (said.count(POLLS), said.count(POLLS_NO_MORE))
    server.put_flag(flag("by-push"))
    assert eventually(lambda: "by-push" in line.flags)


def test_websockets_that_are_cut(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """The same where a proxy lets the handshake pass and cuts the connection before any data came."""
    server.refuse(1006)
    line = make("auto")

    assert eventually(lambda: line.well)
    assert Transport.POLLING == line.control.transport


def test_neither_way(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Where HTTP is refused too, that is no refusal by FeatBit, and the first way that works is taken."""
    server.refuse_handshake(502)
    server.refuse_latest(403)
    line = make("auto")
    assert eventually(lambda: line.control.sync_error == SyncError.HTTP)
    assert SyncState.INTERRUPTED == line.control.sync_state
    server.accept()

    assert eventually(lambda: line.well)
    assert Transport.STREAMING == line.control.transport


def test_everything_again(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Now and then everything is asked for, so that a deletion, which nobody is told of, is known in the end."""
    server.put_flag(flag("doomed"))
    line = make("polling", full_every=0.3)
    assert eventually(lambda: {"dark-mode", "doomed"} == line.flags)
    raw = server.flag("dark-mode")
    server.load({"featureFlags": [raw], "segments": []})

    assert eventually(lambda: {"dark-mode"} == line.flags)
