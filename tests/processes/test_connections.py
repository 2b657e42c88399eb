"""However many processes there are, the server sees one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

WORKERS = 8
LONGEST_OVERLAP = 1.0  # seconds; promise P1


def test_eight_workers_have_one_connection(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """Eight processes that start together and evaluate make one connection, and it stays the same one."""
    workers = crew.start(WORKERS)
    for number, worker in enumerate(workers):
        worker.ask("start", "load", str(tmp_path / f"{number}"), f"w{number}", 100)
    crew.leader()
    assert server.wait_for(lambda s: s.event_count >= WORKERS * 150, 20)
    reports = [worker.ask("finish") for worker in workers]

    assert [[] for _ in workers] == [report["wrong"] for report in reports]
    assert 1 == len(server.connections)
    assert server.connections[0].closed_at is None
    assert 1 == [worker.ask("leads") for worker in workers].count(True)


def test_a_handover_never_keeps_two(crew: Crew, server: FeatBitServer) -> None:
    """While leaders are killed, leave in peace and come back, two connections are open for less than a second."""
    crew.start(WORKERS)
    for round_ in range(4):
        leader, epoch = crew.leader(), crew.control().epoch
        if round_ % 2:
            crew.dismiss(leader)
        else:
            crew.leave(leader)
        crew.start()
        assert crew.until(lambda: crew.control().epoch > epoch, 20)  # noqa: B023 - asked at once
    crew.leader()

    assert crew.until(lambda: server.open_connections == 1, 20)
    assert 5 == len(server.connections)
    assert max(crew.overlaps(), default=0.0) < LONGEST_OVERLAP
