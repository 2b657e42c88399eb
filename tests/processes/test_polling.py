"""Where no websocket gets through, many processes are one leader that polls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fbshared.shm.control import SyncState, Transport
from fbshared.testing import flag
from tests.processes.conftest import GATE

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew


def test_a_killed_leader_that_polled(crew: Crew, server: FeatBitServer) -> None:
    """The next one polls first and tries one websocket, and all processes, forked ones too, see what changes."""
    server.refuse_handshake(403)
    crew.start(3, polling_interval=1.0)
    leader, epoch = crew.leader(), crew.control().epoch
    assert Transport.POLLING == crew.control().transport
    tries = len(server.connections)
    crew.dismiss(leader)

    assert crew.takeover(epoch, time.monotonic()) < GATE
    assert Transport.POLLING == crew.control().transport
    assert tries + 1 >= len(server.connections)
    child = crew.arrival(crew.leader().ask("fork")[0])
    server.put_flag(flag("load", "string", ["one", "two"], serve="two"))
    for process in crew.processes:
        assert "two" == process.ask("wait_value", "load", "two", 20.0)
    assert set() == crew.lacking(child.ask("put", "child", 20))
    assert 0 == server.open_connections


def test_a_refused_poll_starts_no_storm(crew: Crew, server: FeatBitServer) -> None:
    """One process asks once, all see that it was refused, and a new leader does not ask sooner."""
    server.refuse_latest(401)
    crew.start(4, sync="polling", start_wait=0.5)
    control = crew.control()
    assert crew.until(lambda: control.sync_state == SyncState.REFUSED, 20)
    leader = next(process for process in crew.processes if process.pid == control.leader_pid)
    epoch = control.epoch
    crew.dismiss(leader)
    assert crew.until(lambda: control.epoch > epoch, 20)
    time.sleep(2.0)  # for those who would ask again

    assert 1 == len(server.latest_requests)
    assert SyncState.REFUSED == control.sync_state
    assert 20 < control.sync_retry_at / 1000 - time.time() < 76  # a minute, and up to a quarter more
