"""The benchmarks of a whole host run and measure what they say."""

from __future__ import annotations

import pytest

pytest.importorskip("fbclient")

from tests.benchmarks import delivery, host, publishing
from tests.benchmarks.rows import Options, Row

QUICK = Options(quick=True)
OURS, THEIRS = "fbshared", "fb-python-sdk"


def met(rows: list[Row]) -> dict[tuple[str, str], bool]:
    return {(row.work, verdict.goal): verdict.met for row in rows for verdict in row.verdicts}


def test_imports() -> None:
    """Importing the package is measured, and it imports nothing heavy."""
    rows = host.measure(Options(quick=True, only="host: import")).rows

    assert [("import", OURS), ("import", THEIRS)] == [(row.work, row.contender) for row in rows]
    assert met(rows)["import", "nothing heavy"]


def test_a_host() -> None:
    """Workers that wait for patches see all of them, over one connection."""
    rows = host.measure(Options(quick=True, only="host: failover")).rows

    assert [("failover, p50", OURS), ("failover, p99", OURS)] == [(row.work, row.contender) for row in rows]
    assert all(0 < row.median < 30_000 for row in rows)


def test_publishing() -> None:
    """A publication and a refresh are measured for each size of the environment, with copies beside them."""
    rows = publishing.measure(QUICK).rows

    assert 2 * (3 + 1) == len(rows)
    assert all(row.median > 0 for row in rows)


def test_delivery() -> None:
    """All events arrive, for all contenders and sizes of a batch; that is asked for by the benchmark itself."""
    rows = delivery.measure(QUICK).rows

    assert 4 == sum(row.work == delivery.WORK for row in rows)
    assert all(row.median > 0 for row in rows)
