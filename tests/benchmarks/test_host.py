"""The benchmarks of a whole host run and measure what they say."""

from __future__ import annotations

import pytest

pytest.importorskip("fbclient")

from tests.benchmarks import delivery, host, publishing
from tests.benchmarks.parts import deaths
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


def test_failover() -> None:
    """The time until another worker leads is measured, with a handshake beside it."""
    rows = host.measure(Options(quick=True, only="host: failover")).rows

    assert [("failover, p50", OURS), ("failover, p99", OURS)] == [(row.work, row.contender) for row in rows]
    assert all(0 < row.median < 30_000 for row in rows)
    assert all(row.limit for row in rows)


@pytest.mark.servers
def test_patches() -> None:
    """Workers that wait for patches see all of them, by looking and by listening; so do those who look at a word."""
    rows = host.measure(Options(quick=True, only="host: patches")).rows
    medians = {(row.work, row.contender): row.median for row in rows}

    for name in (OURS, THEIRS):
        assert 0 < medians["a patch at 100 flags, p50", name] <= medians["a patch at 100 flags, p99", name]
        assert 0 < medians["a patch at 100 flags, told by listeners, p50", name]
    assert {("a patch at 100 flags, p50", OURS), ("a patch at 300 flags, p99", OURS)} < {
        (row.work, row.contender) for row in rows if row.limit
    }


@pytest.mark.servers
def test_kills() -> None:
    """Of killed workers no event is lost, be they followers or leaders; where events are lost it is seen."""
    rows = host.measure(Options(quick=True, only="host: kills")).rows
    lost = {row.contender: row.high for row in rows if row.work == deaths.LOST}

    assert [f"{OURS}, follower", f"{OURS}, leader", THEIRS] == list(lost)
    assert 0 == lost[f"{OURS}, follower"] == lost[f"{OURS}, leader"]
    assert lost[THEIRS] > 0
    assert met(rows)[deaths.LOST, "0"]


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
    assert all(row.limit for row in rows if row.contender != THEIRS)
