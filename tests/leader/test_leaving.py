"""The last one out delivers what is left, and nobody else does."""

import os
import sys
import time
from dataclasses import replace

import pytest

from fbshared.core import events
from fbshared.core.addresses import insight_url
from fbshared.leader.election import Election
from fbshared.leader.leaving import deliver_what_is_left
from fbshared.leader.settings import DeliverySettings
from fbshared.shm.region import Region
from fbshared.testing import FeatBitServer


@pytest.fixture
def settings(server: FeatBitServer) -> DeliverySettings:
    return DeliverySettings(url=insight_url(server.event_url), secret=server.secret, user_agent="test/1")


@pytest.fixture
def ring(region: Region) -> str:
    """The ring of a process that put one event and ended."""
    made = region.new_ring(2)
    user = events.pack_user(events.make_pack(), {"key": "ada", "name": "Ada"})
    assert made.push(events.record(user, events.IDENTIFY_TAIL, 1))
    made.file.close()
    return made.name


def leave(region: Region, settings: DeliverySettings, seconds: float = 20.0) -> float:
    """Leave as a process without rings does; how long it took."""
    before = time.monotonic()
    deliver_what_is_left(region, settings, dict, before + seconds)
    return time.monotonic() - before


def test_nobody_else_is_there(region: Region, settings: DeliverySettings, server: FeatBitServer, ring: str) -> None:
    """What waits is delivered, and the lead is free again."""
    leave(region, settings)

    assert 1 == server.event_count
    assert 0 == region.control.leader_pid
    term = Election(region, 10.0, time.monotonic).poll()
    assert term is not None
    term.close()


def test_nothing_waits(region: Region, settings: DeliverySettings) -> None:
    """Then nobody takes the lead."""
    leave(region, settings)

    assert 0 == region.control.epoch


def test_another_one_lives(region: Region, settings: DeliverySettings, server: FeatBitServer, ring: str) -> None:
    """The rest is left to a living process, at once."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        kept = region.new_ring(2)
        os.write(write, b"!")
        time.sleep(60)
        kept.file.close()
        os._exit(0)
    assert b"!" == os.read(read, 1)
    took = leave(region, settings)
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)

    assert took < 10
    assert 0 == server.event_count
    assert 0 == region.control.epoch


def test_the_lead_is_waited_for(region: Region, settings: DeliverySettings, server: FeatBitServer, ring: str) -> None:
    """One that leaves may still have it; there is an end to that too."""
    term = Election(region, 10.0, time.monotonic).poll()
    assert term is not None

    assert 0.2 <= leave(region, settings, 0.2) < 10
    assert 0 == server.event_count

    term.close()
    leave(region, settings)

    assert 1 == server.event_count


def test_delivery_that_cannot_be_imported(
    region: Region,
    settings: DeliverySettings,
    server: FeatBitServer,
    ring: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As at the end of an interpreter: that is said, the lead is free, and the next start delivers."""
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "fbshared.leader.delivery", None)
        leave(region, settings)

    assert "events are left to the next start" in caplog.text
    assert (1, 0) == (region.control.epoch, region.control.leader_pid)

    leave(region, settings)

    assert 1 == server.event_count


def test_a_directory_that_is_gone(region: Region, settings: DeliverySettings, ring: str) -> None:
    """There is nothing to deliver and nothing to make anew."""
    os.rename(region.path, region.path + "-away")
    leave(region, settings)

    assert not os.path.exists(region.path)


def test_a_server_that_refuses(region: Region, settings: DeliverySettings, server: FeatBitServer, ring: str) -> None:
    """What cannot be delivered stays."""
    server.stop()
    leave(region, replace(settings, connect_timeout=0.5))
    server.start()
    leave(region, settings)

    assert 1 == server.event_count
