"""Members of one region that are not equal: one cannot connect, one is a moment old."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from fbshared.shm.control import SyncState
from tests.processes.conftest import GATE

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

OFFER_AFTER = 0.5


@pytest.fixture
def cut_off() -> Iterator[dict[str, Any]]:
    """Settings of a process that cannot connect: its proxy refuses."""
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))  # and nobody listens
        proxy = {"proxy_host": "127.0.0.1", "proxy_port": refusing.getsockname()[1]}
        yield {"sync": "streaming", "websocket": proxy, "duty": {"offer_after": OFFER_AFTER}, "start_wait": 0.1}


def test_a_leader_that_cannot_connect_offers_the_lead(
    crew: Crew, server: FeatBitServer, cut_off: dict[str, Any]
) -> None:
    """Another process, which can, takes it and keeps it, and both have the data."""
    first = crew.one(**cut_off)
    assert crew.until(lambda: crew.control().leader_pid == first.pid, 20)
    second = crew.one()

    assert crew.leader() is second

    epoch = crew.control().epoch

    assert ["one", "one"] == [process.ask("wait_value", "load", "one", 20.0) for process in (first, second)]

    time.sleep(3.0)  # longer than the first stands back

    assert epoch == crew.control().epoch
    assert 1 == len(server.connections)
    assert set() == crew.lacking(first.ask("put", "first", 20))


def test_the_lead_does_not_go_back_to_who_could_not_connect(crew: Crew, cut_off: dict[str, Any]) -> None:
    """When its successors cannot connect either, the next one is a process that has not tried yet."""
    options = {**cut_off, "leader_stale_limit": 60.0}
    first = crew.one(**options)
    assert crew.until(lambda: crew.control().leader_pid == first.pid, 20)
    # It tries for twice that long, in which it has to be stopped.
    second = crew.one(**{**options, "duty": {"offer_after": 3.0}})
    assert crew.until(lambda: crew.control().leader_pid == second.pid, 20)
    second.signal(signal.SIGSTOP)  # until the third is there
    try:
        first.ask("give_way", 1000)
        third = crew.one(start_wait=0.1, leader_stale_limit=60.0)
    finally:
        second.signal(signal.SIGCONT)
    second.ask("give_way", 1000)

    assert crew.leader() is third
    assert 3 == crew.control().epoch
    assert not first.ask("leads")


def test_processes_that_all_cannot_connect(crew: Crew, server: FeatBitServer, cut_off: dict[str, Any]) -> None:
    """The lead changes more and more rarely among them."""
    for _ in range(2):
        crew.one(**cut_off)
    control = crew.control()
    looks = [time.monotonic()]  # the last one: when the third term had not begun yet

    def third_term() -> bool:
        now = time.monotonic()
        if control.epoch >= 3:
            return True
        looks[0] = now
        return False

    assert crew.until(third_term, 20)
    assert crew.until(lambda: control.epoch >= 4, 20)

    assert OFFER_AFTER * 4 * 0.75 < time.monotonic() - looks[0]
    assert SyncState.OK != control.sync_state
    assert [] == server.connections


def test_a_young_process_does_not_take_the_lead(crew: Crew) -> None:
    """When a leader dies, one of the old processes leads and none of the many that were started later."""
    old = crew.start(4)
    for _ in range(3):
        leader, epoch = crew.leader(), crew.control().epoch
        assert leader in old
        for young in crew.start(3, duty={"settled_age": 1e9}):  # still young, however slow the machine
            young.ask("give_way", 1000)
        leader.kill()
        crew.processes.remove(leader)
        took = crew.takeover(epoch, time.monotonic())

        assert took < GATE
        assert crew.control().leader_pid in {process.pid for process in old if process is not leader}


def test_young_processes_lead_when_they_are_alone(crew: Crew) -> None:
    """At a first start, and when the last old one is gone: nobody is left without a leader."""
    first = crew.one()
    assert crew.leader() is first
    young = crew.start(3, duty={"settled_age": 1e9})
    epoch = crew.control().epoch
    crew.dismiss(first)

    assert crew.takeover(epoch, time.monotonic()) < GATE
    assert crew.leader() in young
