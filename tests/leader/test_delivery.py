"""Delivery against the local server: nothing leaves a ring before it is accepted, and one bad event costs no other."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fbshared.core import events
from fbshared.core.addresses import insight_url
from fbshared.leader.delivery import BATCH, Delivery
from fbshared.leader.rings import Rings
from fbshared.leader.settings import DeliverySettings
from fbshared.leader.wake import Wake
from fbshared.shm.bell import Bell, ring_bell
from fbshared.shm.control import DeliveryState
from fbshared.shm.region import OwnRing, Region
from fbshared.testing import FeatBitServer

Eventually = Callable[..., bool]
BAD = "this one is refused"


def settings_for(server: FeatBitServer) -> DeliverySettings:
    return DeliverySettings(
        url=insight_url(server.event_url),
        secret=server.secret,
        user_agent="test/1",
        flush_interval=0.02,
        first_retry=0.01,
        longest_retry=0.05,
        connect_timeout=10.0,
        read_timeout=10.0,
    )


class Post:
    """A delivery with one ring, and the thread that it runs in."""

    def __init__(self, region: Region, server: FeatBitServer, halt: Wake, **changes: Any) -> None:
        self.region, self.halt = region, halt
        self.ring: OwnRing = region.new_ring(16)
        self.holds = True
        self.bell = Bell(region)
        self.rings = Rings(region, 1, lambda: {self.ring.name: self.ring})
        settings = replace(settings_for(server), **changes)
        self.delivery = Delivery(settings, self.rings, self.bell, region.control, lambda: self.holds)
        self._packer = events.make_pack()
        self._thread: threading.Thread | None = None

    def put(self, *names: str) -> None:
        for name in names:
            user = events.pack_user(self._packer, {"key": name, "name": name})
            assert self.ring.push(events.record(user, events.IDENTIFY_TAIL, 1))

    def start(self) -> None:
        self._thread = threading.Thread(target=self.delivery.run, args=(self.halt,))
        self._thread.start()

    def end(self) -> None:
        self.halt.set()
        if self._thread is not None:
            self._thread.join(10)
            assert not self._thread.is_alive()
        self._thread = None

    def close(self) -> None:
        self.end()
        self.rings.close()
        self.bell.close()
        self.ring.file.close()

    @property
    def empty(self) -> bool:
        return self.ring.backlog() == 0


Make = Callable[..., Post]


@pytest.fixture
def make(region: Region, server: FeatBitServer, halt: Wake) -> Iterator[Make]:
    made: list[Post] = []

    def post(**changes: Any) -> Post:
        made.append(Post(region, server, halt, **changes))
        return made[-1]

    yield post
    for each in made:
        each.close()


def names(server: FeatBitServer) -> list[str]:
    return [event.user["keyId"] for event in server.events]


def test_events_are_delivered(region: Region, server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """What is in a ring arrives once and in order, and the tail is over it when FeatBit has taken it."""
    post = make()
    post.put("a", "b", "c")
    post.start()

    assert eventually(lambda: post.empty)
    assert ["a", "b", "c"] == names(server)
    assert (3, 3) == (region.control.events_delivered, post.ring.delivered)
    assert (DeliveryState.OK, 200) == (region.control.delivery_state, region.control.delivery_status)
    (request,) = server.insight_requests
    assert (server.secret, "test/1") == (request.headers["Authorization"], request.headers["User-Agent"])
    assert server.secret not in repr(settings_for(server))


def test_large_backlogs_go_in_batches(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """No request is larger than a batch, and a full batch waits for no interval."""
    post = make(flush_interval=60.0)
    post.start()
    assert eventually(lambda: time.monotonic() > 0)
    post.put(*(f"u{number}" for number in range(BATCH * 2 + 1)))

    assert eventually(lambda: post.empty)
    assert BATCH * 2 + 1 == len(set(names(server)))
    assert max(request.events for request in server.insight_requests) <= BATCH


def test_the_interval_is_kept(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Few events wait for the interval to be over, unless the bell rings."""
    post = make(flush_interval=60.0)
    post.put("first")
    post.start()
    assert eventually(lambda: post.empty)
    post.put("second")
    assert not eventually(lambda: post.empty, timeout=0.3)
    ring_bell(post.region)

    assert eventually(lambda: post.empty)
    assert ["first", "second"] == names(server)


@pytest.mark.parametrize("status", [500, 503, 408, 425, 429, None])
def test_what_may_succeed_later_is_sent_again(
    region: Region, server: FeatBitServer, make: Make, eventually: Eventually, status: int | None
) -> None:
    """A busy server, or a connection that is cut, costs time and no event."""
    server.fail_insights_forever(status)
    post = make()
    post.put("a")
    post.start()
    assert server.wait_for(lambda s: len(s.insight_requests) >= 3)
    assert eventually(lambda: region.control.delivery_state == DeliveryState.RETRYING)
    assert (status or 0) == region.control.delivery_status
    assert not post.empty
    server.heal_insights()

    assert eventually(lambda: post.empty)
    assert ["a"] == names(server)
    assert eventually(lambda: region.control.delivery_state == DeliveryState.OK)


def test_retry_after_is_respected(region: Region, server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A server that asks for time gets it."""
    server.fail_insights(429, retry_after=30)
    post = make()
    post.put("a")
    post.start()
    assert eventually(lambda: region.control.delivery_state == DeliveryState.RETRYING)

    assert not server.wait_for(lambda s: len(s.insight_requests) > 1, timeout=0.4)
    assert 20_000 < region.control.delivery_retry_at - time.time() * 1000 <= 30_000


def test_an_outage(server: FeatBitServer, make: Make, eventually: Eventually, caplog: pytest.LogCaptureFixture) -> None:
    """Without a network events wait, with one warning, and arrive when it is back."""
    server.stop()
    post = make()
    post.put("a")
    post.start()
    assert eventually(lambda: post.region.control.delivery_state == DeliveryState.RETRYING)
    post.put("b")
    assert not eventually(lambda: post.empty, timeout=0.2)
    server.start()

    assert eventually(lambda: post.empty)
    assert ["a", "b"] == names(server)
    assert 1 == len([record for record in caplog.records if record.levelno >= logging.WARNING])


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_a_refusal_pauses(
    region: Region, server: FeatBitServer, make: Make, eventually: Eventually, status: int
) -> None:
    """A refusal of everything stops delivery for minutes; the events wait, also for a flush."""
    server.fail_insights(status)
    post = make()
    post.put("a")
    post.start()
    assert eventually(lambda: region.control.delivery_state == DeliveryState.PAUSED)
    ring_bell(region)

    assert not server.wait_for(lambda s: len(s.insight_requests) > 1, timeout=0.3)
    assert (status, False) == (region.control.delivery_status, post.empty)
    assert region.control.delivery_retry_at - time.time() * 1000 > 250_000


def test_a_refusal_has_an_end(region: Region, server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Once FeatBit accepts again, all that waited arrives when the pause is over."""
    server.fail_insights(401, 403)
    post = make(refused_pause=0.2)
    post.put("a", "b")
    post.start()

    assert eventually(lambda: post.empty)
    assert ["a", "b"] == names(server)
    assert [401, 403, 200] == [request.status for request in server.insight_requests]
    assert (DeliveryState.OK, 0) == (region.control.delivery_state, region.control.delivery_retry_at)


def test_a_refusal_is_shared(region: Region, server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """The next leader does not send sooner than its predecessor would have, and then all arrives."""
    region.control.delivery_state = DeliveryState.PAUSED
    before = time.time()
    region.control.delivery_retry_at = int(before * 1000) + 500
    post = make()
    post.put("a")
    post.start()

    assert eventually(lambda: post.empty)
    assert server.insight_requests[0].received_at - before >= 0.4
    assert DeliveryState.OK == region.control.delivery_state


def test_an_old_refusal_does_not_wait(region: Region, make: Make) -> None:
    """A refusal whose time is over, or that a wrong clock put far away, has an end; so has what was no refusal."""
    control = region.control
    control.delivery_state, control.delivery_retry_at = DeliveryState.PAUSED, 1
    over = make().delivery._retry_at
    control.delivery_retry_at = 2**62
    far = make().delivery._retry_at
    control.delivery_state = DeliveryState.RETRYING
    now = time.monotonic()

    assert over <= now < far <= now + 300
    assert make().delivery._retry_at < 0


def test_a_refusal_does_not_keep_the_last_round(region: Region, server: FeatBitServer, make: Make) -> None:
    """The last one out tries once, whatever time was named: who comes next may be long in coming."""
    region.control.delivery_state, region.control.delivery_retry_at = DeliveryState.PAUSED, 2**62
    server.fail_insights_forever(403)
    post = make()
    post.put("a")
    post.delivery.last_round(time.monotonic() + 10)

    assert (1, False) == (len(server.insight_requests), post.empty)


class Picky:
    """A server's judgement: a request that has the bad event in it gets this status, others are accepted."""

    def __init__(self, delivery: Delivery, status: int) -> None:
        self.accepted: list[list[str]] = []
        self.requests = 0
        self._status = status
        delivery._post = self  # type: ignore[method-assign, assignment]

    def __call__(self, body: bytes, limit: float) -> int:
        self.requests += 1
        users = [insight["user"]["keyId"] for insight in json.loads(body)]
        if BAD in users:
            return self._status
        self.accepted.append(users)
        return 200


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("place", [0, 1, 37, 99])
def test_one_bad_event(region: Region, make: Make, status: int, place: int) -> None:
    """Of a hundred events with one that FeatBit refuses, ninety-nine arrive once; the one is counted."""
    post = make()
    users = [f"u{number}" for number in range(100)]
    users[place] = BAD
    post.put(*users)
    picky = Picky(post.delivery, status)
    post.delivery.last_round(time.monotonic() + 10)

    assert [user for user in users if user != BAD] == [user for accepted in picky.accepted for user in accepted]
    assert post.empty
    assert (99, 1) == (region.control.events_delivered, region.control.events_refused)
    assert picky.requests <= 2 * 8


def test_a_real_server_refuses_one(region: Region, server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A 400 to the whole and to one half costs that half's event only."""
    server.fail_insights(400, 400, 200)
    post = make()
    post.put("bad", "good")
    post.start()

    assert eventually(lambda: post.empty)
    assert ["good"] == names(server)
    assert (1, 1) == (region.control.events_delivered, region.control.events_refused)


def test_a_record_that_is_no_event(region: Region, server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """It is counted once, however often its batch is sent, and the others arrive."""
    server.fail_insights(503, 503, 503)
    post = make()
    post.put("a")
    post.ring.push(b"no event")
    post.put("b")
    post.start()

    assert eventually(lambda: post.empty)
    assert ["a", "b"] == names(server)
    assert (1, 2) == (region.control.records_corrupt, region.control.events_delivered)


def test_nothing_but_records_that_are_no_events(region: Region, make: Make, eventually: Eventually) -> None:
    """Nothing is sent for them, and they are done with."""
    post = make()
    post.ring.push(b"no event")
    picky = Picky(post.delivery, 400)
    post.start()

    assert eventually(lambda: post.empty)
    assert 0 == picky.requests
    assert 1 == region.control.records_corrupt


def test_a_netrc_file_is_not_the_secret(
    server: FeatBitServer, make: Make, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An entry for the host in the user's netrc file does not replace the secret, as requests would do it."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    post = make()
    post.put("a")
    post.start()

    assert server.wait_for(lambda s: s.insight_requests)
    assert server.secret == server.insight_requests[0].headers["Authorization"]


# Its end


def test_a_lost_lead_ends_it(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Nothing is sent by who does not lead any more."""
    post = make()
    post.start()
    post.holds = False
    assert eventually(lambda: not post._thread.is_alive())  # type: ignore[union-attr]
    post.put("a")
    post.delivery.last_round(time.monotonic() + 10)

    assert [] == server.insight_requests


def test_a_lead_lost_before_the_post_fails(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """What the new leader shows is not overwritten by the failure of the old one's post."""
    server.fail_insights_forever(503)
    post = make()
    post.region.control.delivery_state = DeliveryState.OK
    post.put("a")
    answers = iter([True, True])
    post.delivery._holds = lambda: next(answers, False)
    post.start()

    assert eventually(lambda: not post._thread.is_alive())  # type: ignore[union-attr]
    assert 1 == len(server.insight_requests)
    assert DeliveryState.OK == post.region.control.delivery_state


def test_it_runs_again(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """After a pause it goes on where it was."""
    post = make()
    for name in ("a", "b"):
        post.halt.clear()
        post.put(name)
        post.start()
        assert eventually(lambda: post.empty)
        post.end()

    assert ["a", "b"] == names(server)


def test_the_last_round(server: FeatBitServer, make: Make) -> None:
    """At the end all that is left goes out at once."""
    post = make(flush_interval=60.0)
    post.put(*(f"u{number}" for number in range(BATCH + 10)))
    post.delivery.last_round(time.monotonic() + 30)

    assert post.empty
    assert BATCH + 10 == server.event_count


def test_the_last_round_has_an_end(server: FeatBitServer, make: Make) -> None:
    """A server that does not answer costs the time that was given, and the events stay."""
    server.insight_delay = 60
    post = make(read_timeout=30.0)
    post.put("a")
    before = time.monotonic()
    post.delivery.last_round(before + 0.3)

    assert time.monotonic() - before < 10
    assert not post.empty


def test_a_slow_request_is_healthy(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Waiting for an answer within its timeouts is no reason to take the lead away."""
    server.insight_delay = 2.0
    post = make()
    post.put("a")
    post.start()

    assert eventually(lambda: post.delivery.healthy_until > time.monotonic() + 5.0)
    assert eventually(lambda: server.event_count == 1)
    assert eventually(lambda: post.empty)
