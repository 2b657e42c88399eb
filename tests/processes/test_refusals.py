"""Where FeatBit refuses an environment or its events, many processes are one that waits."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from fbshared.shm.control import DeliveryState, SyncState
from fbshared.status import read_regions
from fbshared.testing import flag
from tests.processes.conftest import GATE

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

CAUSES = ("4003", "secret is wrong", "not a server secret", "clock is off by more than 30 s")


def test_a_refused_environment_starts_no_storm(crew: Crew, server: FeatBitServer) -> None:
    """Nine processes ask once a minute between them; none is kept waiting, all see why, and the log says so once; the
    next leader does not ask before the time that the former one published."""
    server.refuse(4003)
    log = crew.directory / "log"
    with log.open("ab") as stderr:
        crew.start(9, start_wait=300.0, stderr=stderr)  # a process says hello when its client is made
    control = crew.control()
    first = next(process for process in crew.processes if process.pid == control.leader_pid)
    retry_at = control.sync_retry_at
    seen = [process.ask("state") for process in crew.processes]
    defaults = {process.ask("value", "load", "someone", "default") for process in crew.processes}
    status = subprocess.run([sys.executable, "-m", "fbshared", "status"], capture_output=True, text=True)
    assert not server.wait_for(lambda s: len(s.connections) > 1, 2.0)
    epoch = control.epoch
    crew.dismiss(first)
    assert crew.until(lambda: control.epoch > epoch, 20)
    assert not server.wait_for(lambda s: len(s.connections) > 1, 4.0)  # time for those who would ask again
    seen_later = [process.ask("state") for process in crew.processes]

    assert [("OFF", 4003, None)] * 9 == [(kind, detail, age) for kind, _, detail, age in seen]
    assert {"default"} == defaults
    assert ("4003" in status.stdout, "clock off" in status.stdout, 1) == (True, True, status.returncode)
    assert 1 == epoch
    assert 60 <= retry_at / 1000 - server.connections[0].accepted_at < 90
    assert [("OFF", 4003)] * 8 == [(kind, detail) for kind, _, detail, _ in seen_later]
    assert (SyncState.REFUSED, retry_at) == (control.sync_state, control.sync_retry_at)
    assert [1] * 4 == [log.read_text().count(cause) for cause in CAUSES]


@pytest.mark.parametrize("status", [401, 403])
def test_refused_events_pause_delivery_and_nothing_else(crew: Crew, server: FeatBitServer, status: int) -> None:
    """Changes go on reaching every process, also after a takeover; the events of all wait in their rings, and arrive
    when FeatBit accepts again."""
    server.fail_insights_forever(status)
    crew.start(3, duty={"delivery": {"refused_pause": 1.0}})
    began = time.monotonic()
    keys = {key for process in crew.processes for key in process.ask("put", f"user-{process.pid}", 20)}
    control = crew.control()
    assert crew.until(lambda: control.delivery_state == DeliveryState.PAUSED, 20)
    server.put_flag(flag("load", "string", ["one", "two"], serve="two"))
    during = [process.ask("wait_value", "load", "two", 20.0) for process in crew.processes]
    (region,) = read_regions()
    epoch = control.epoch
    crew.dismiss(crew.leader())
    taken_over = crew.takeover(epoch, time.monotonic())
    server.put_flag(flag("load", "string", ["one", "two"], serve="one"))
    after = [process.ask("wait_value", "load", "one", 20.0) for process in crew.processes]
    tries, spent = len(server.insight_requests), time.monotonic() - began

    assert (["two"] * 3, ["one"] * 2) == (during, after)
    assert taken_over < GATE
    assert (status, "paused", True) == (region.delivery_status, region.delivery_state, region.well)
    assert sum(ring.backlog_events for ring in region.rings) >= 60
    assert 0 == server.event_count
    assert 1 <= tries <= spent + 3  # one for each second of pause, and one for each leader
    server.heal_insights()
    assert set() == crew.lacking(keys)
    assert crew.until(lambda: control.delivery_state == DeliveryState.OK, 20)
    assert 0 == sum(ring.dropped for ring in read_regions()[0].rings)
