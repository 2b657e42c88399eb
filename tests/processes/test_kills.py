"""Whoever is killed or stopped, at whatever step: another one leads, nothing is lost or wrong, nothing piles up."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from typing import TYPE_CHECKING, Any

import pytest

from fbshared.testing import flag
from tests.processes.conftest import GATE

if TYPE_CHECKING:
    from pathlib import Path

    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew, Process

WORKERS = 4
RATE = 1000  # evaluations a second and worker

# See steps.py.
PUBLISHING = (
    "before the new file is made",
    "when the new file is made",
    "when half of the new file is written",
    "before the new file gets its name",
    "when the new file has its name",
    "when the word is stored",
    "when an old snapshot is removed",
)
ADOPTING = (
    "when the ring of a dead process is locked",
    "when the ring of a dead process is retired",
    "before the ring of a dead process is removed",
    "when the ring of a dead process is removed",
)
ACCEPTING = (
    "before a batch is accepted",
    "when a part of a batch is accepted",
    "when a batch is accepted",
)


class Traffic:
    """Workers under load, each of which writes its calls into a file after they returned."""

    def __init__(self, crew: Crew, directory: Path, rate: float = RATE) -> None:
        self.crew = crew
        self.directory = directory
        self.rate = rate
        self.records: dict[int, Path] = {}
        self.reports: list[dict[str, Any]] = []

    def add(self, count: int = 1, **options: Any) -> None:
        """Start more workers."""
        for worker in self.crew.start(count, **options):
            path = self.directory / f"record-{worker.pid}"
            self.records[worker.pid] = path
            worker.ask("start", "load", str(path), f"w{worker.pid}", self.rate)

    def calls(self) -> int:
        """How many calls returned so far, those of the worker that made the fewest."""
        return min(len(path.read_text().splitlines()) for path in self.records.values())

    def finish(self) -> set[str]:
        """End the load; the users of all calls that returned, those of killed workers too."""
        self.reports = [worker.ask("finish") for worker in self.crew.processes]
        assert [[] for _ in self.reports] == [report["wrong"] for report in self.reports]
        return self.crew.recorded(self.records.values())


@pytest.fixture
def traffic(crew: Crew, tmp_path: Path) -> Traffic:
    return Traffic(crew, tmp_path)


@pytest.mark.timeout(240)
def test_leaders_are_killed_under_load(
    crew: Crew, server: FeatBitServer, traffic: Traffic, rounds: int, record_property: Any
) -> None:
    """Leader after leader is killed while all evaluate: each is replaced in time, and no event is lost."""
    traffic.add(WORKERS)
    times = []
    for round_ in range(rounds):
        leader, epoch = crew.leader(), crew.control().epoch
        assert server.wait_for(lambda s, past=server.event_count: s.event_count > past + 500, 20)
        server.put_flag(flag("load", "string", ["one", "two"], serve=["one", "two"][round_ % 2]))
        time.sleep(random.uniform(0.0, 0.1))  # into another phase of its work each time
        leader.signal(signal.SIGKILL)
        times.append(crew.takeover(epoch, time.monotonic()))
        leader.gone()
        crew.processes.remove(leader)
        traffic.add()
    keys = traffic.finish()
    lost = crew.lacking(keys)
    figures = {
        "kills": rounds,
        "p50": round(statistics.median(times), 3),
        "p99": round(statistics.quantiles(times, n=100, method="inclusive")[98], 3),
        "worst": round(max(times), 3),
        "evaluations": len(keys),
        "lost": len(lost),
        "duplicates": crew.duplicates(),
        "longest call": round(max(report["longest"] for report in traffic.reports), 4),
    }
    print(figures)
    record_property("figures", figures)

    assert set() == lost
    assert statistics.median(times) < 3.0
    assert max(times) < GATE
    assert len(keys) > rounds * 500
    assert rounds + 1 == len(server.connections)
    assert max(crew.overlaps(), default=0.0) < 1.0


def test_a_killed_follower_loses_nothing(crew: Crew, server: FeatBitServer, traffic: Traffic) -> None:
    """The events of processes that are killed in the middle of their work arrive, and their rings are removed."""
    server.insight_delay = 0.3
    traffic.add(3)
    crew.leader()
    assert crew.until(lambda: traffic.calls() > 300, 20)  # something to lose
    for follower in crew.followers():
        crew.dismiss(follower)
    keys = traffic.finish()

    assert set() == crew.lacking(keys)
    assert crew.until(lambda: len(crew.files("ring.")) <= 2, 20), crew.files()


def test_the_last_process_leaves_its_events_to_a_later_start(crew: Crew, traffic: Traffic) -> None:
    """When all are killed, what was in their rings is delivered by whoever comes later."""
    crew.server.fail_insights_forever(503)
    traffic.add(2, events_retry_interval=0.1)
    crew.leader()
    assert crew.until(lambda: traffic.calls() > 300, 20)
    keys = crew.recorded(traffic.records.values())
    for worker in list(crew.processes):
        crew.dismiss(worker)
    crew.server.heal_insights()
    crew.one()

    assert len(keys) > 300
    assert set() == crew.lacking(keys)


def test_a_stopped_leader_is_replaced_and_does_no_harm(crew: Crew, server: FeatBitServer, traffic: Traffic) -> None:
    """A leader that stands still is replaced; awake again it steps down, reads nothing more and turns nothing back."""
    stale = 2.5
    traffic.add(3, leader_stale_limit=stale)
    leader, epoch = crew.leader(), crew.control().epoch
    first = server.connections[-1]
    beat, control = crew.control().beat, crew.control()
    assert crew.until(lambda: control.beat > beat, 20, 0.001)  # its patience begins with the last heartbeat
    leader.signal(signal.SIGSTOP)
    try:
        took = crew.takeover(epoch, time.monotonic())

        assert stale * 0.4 < took < stale + GATE

        # Waits in the socket of the stopped one too, and must not come back from there.
        server.put_flag(flag("load", "string", ["one", "two"], serve="two"))
        for worker in crew.processes:
            if worker is not leader:
                assert worker.ask("wait_value", "load", "two", 20.0) == "two"
        word = crew.control().publication
    finally:
        leader.signal(signal.SIGCONT)
    words = []
    assert crew.until(lambda: words.append(control.publication) or first.closed_at is not None, 20)
    assert crew.until(lambda: words.append(control.publication) or not leader.ask("leads"), 20)

    assert words == sorted(words)
    assert word <= words[0]
    assert "two" == leader.ask("wait_value", "load", "two", 20.0)
    assert crew.until(lambda: server.open_connections == 1, 20)
    assert 2 == len(server.connections)
    assert crew.leader() is not leader
    assert set() == crew.lacking(traffic.finish())


def test_an_awakening_is_no_takeover(crew: Crew, server: FeatBitServer) -> None:
    """When all processes stood still for longer than the stale limit, as in a frozen container, the leader stays."""
    stale = 2.0
    crew.start(3, leader_stale_limit=stale)
    leader, control = crew.leader(), crew.control()
    epoch = control.epoch
    for process in crew.processes:
        process.signal(signal.SIGSTOP)
    time.sleep(2 * stale)  # frozen
    for process in [*crew.followers(), leader]:
        process.signal(signal.SIGCONT)
    beat = control.beat

    assert crew.until(lambda: control.beat > beat + stale / 0.05, 30)
    assert epoch == control.epoch
    assert 1 == len(server.connections)


def _publish(crew: Crew, server: FeatBitServer, leader: Process) -> None:
    del leader
    raw = server.flag("number")
    server.put_flag(flag("number", "number", [int(raw["variations"][0]["value"]) + 1]))


def _adopt(crew: Crew, server: FeatBitServer, leader: Process) -> None:
    del server
    crew.dismiss(next(worker for worker in crew.processes if worker is not leader))


def _nothing(crew: Crew, server: FeatBitServer, leader: Process) -> None:
    """Batches are accepted all the time."""


@pytest.mark.parametrize(
    ("steps", "cause"),
    [
        pytest.param(PUBLISHING, _publish, id="publishing"),
        pytest.param(ADOPTING, _adopt, id="adopting a ring"),
        pytest.param(ACCEPTING, _nothing, id="accepting a batch"),
    ],
)
@pytest.mark.timeout(300)
def test_a_leader_dies_at_each_step(
    crew: Crew, server: FeatBitServer, traffic: Traffic, steps: tuple[str, ...], cause: Any
) -> None:
    """At whatever step a leader dies: another one goes on, no event is lost, no value wrong, no file left over."""
    traffic.rate = 200
    server.put_flag(flag("number", "number", [1]))
    traffic.add(4)
    for step in steps:
        leader, epoch = crew.leader(), crew.control().epoch
        leader.arm(step)
        since = time.monotonic()
        cause(crew, server, leader)

        assert -signal.SIGKILL == leader.gone(30.0), step

        crew.processes.remove(leader)

        assert crew.takeover(epoch, since) < 30.0, step

        number = int(server.flag("number")["variations"][0]["value"])
        for worker in crew.processes:
            assert number == worker.ask("wait_value", "number", number, 20.0), step
        traffic.add(4 - len(crew.processes))
    keys = traffic.finish()

    assert set() == crew.lacking(keys)
    _assert_tidy(crew)


def _assert_tidy(crew: Crew) -> None:
    """Nothing piles up: half-made files go when they are old, all others with what they belong to."""
    for path in crew.path.glob("tmp.*"):
        os.utime(path, (1, 1))
    living = len(crew.processes)

    def tidy() -> bool:
        names = crew.files()
        counts = {
            kind: sum(name.startswith(kind) for name in names) for kind in ("tmp.", "snapshot.", "leader.", "ring.")
        }
        return (
            counts["tmp."] == 0
            and counts["snapshot."] <= 2
            and counts["leader."] <= 3
            and counts["ring."] <= 2 * living
        )

    assert crew.until(tidy, 20), crew.files()
