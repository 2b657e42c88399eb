"""Whatever happens in whatever order, the promises are kept; ``python -m tests.faults`` is the long form."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.run import Run, server
from tests.faults.schedule import Fault, schedule
from tests.processes.conftest import Crew

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("FBSHARED_TEST_FAULT_SECONDS", "12"))
SEED = int(os.environ.get("FBSHARED_TEST_FAULT_SEED", "7"))
MEMBERS = 4


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_random_faults(shared_directory: Path, record_property: Any) -> None:
    """Under kills, stops, forks and a failing server one syncing process leads, nobody reads backwards or in pieces,
    no event is lost, and few arrive twice."""
    with server() as running:
        crew = Crew(running, shared_directory)
        try:
            report = Run(crew, SEED, MEMBERS).run(SECONDS)
        finally:
            crew.close()
    print(report)
    record_property("faults", str(report))

    assert [] == report.broken, str(report)
    assert report.faults.total() >= SECONDS / 4
    assert report.evaluations > 20 * SECONDS


def test_a_schedule_is_its_seeds() -> None:
    """The same seed gives the same faults, another one others, and in the long run all kinds occur."""
    first, second, other = (list(islice(schedule(seed, 5), 500)) for seed in (1, 1, 2))

    assert first == second
    assert first != other
    assert set(Fault) == {step.fault for step in first}
