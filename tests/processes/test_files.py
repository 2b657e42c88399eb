"""Several processes that share a watched file."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from fbshared.status import RegionStatus, read_regions
from fbshared.testing import bootstrap
from tests.processes.conftest import GATE
from tests.processes.web import serve

if TYPE_CHECKING:
    from pathlib import Path

    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew


def test_all_processes_see_a_change(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """Soon, also forked children and after the leader was killed; one reads, none connects."""
    file = tmp_path / "flags.json"

    def save(value: str) -> float:
        fresh = tmp_path / "new"
        fresh.write_text(json.dumps(bootstrap([serve(value)])))
        fresh.replace(file)
        return time.monotonic()

    def region() -> RegionStatus:
        (found,) = read_regions()
        return found

    save("one")
    processes = crew.start(3, data_file=str(file))
    processes += [crew.arrival(pid) for pid in processes[0].ask("fork", 1)]
    assert ["one"] * 4 == [process.ask("value", "load") for process in processes]

    since = save("two")
    for process in processes:
        process.tell("wait_value", "load", "two", 20.0)

    assert ["two"] * 4 == [process.hear() for process in processes]
    assert time.monotonic() - since < GATE

    leader = next(process for process in processes if process.pid == region().leader_pid)
    crew.dismiss(leader)
    processes.remove(leader)
    save("three")

    assert ["three"] * 3 == [process.ask("wait_value", "load", "three", 20.0) for process in processes]
    assert crew.until(lambda: region().well and region().leader_pid != leader.pid, 20)
    keys = [key for number, process in enumerate(processes) for key in process.ask("put", f"user-{number}", 20)]
    assert set() == crew.lacking(keys)
    assert [] == server.connections
