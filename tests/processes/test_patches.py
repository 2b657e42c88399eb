"""What FeatBit sends reaches every process, and never in pieces."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from fbshared.testing import flag, in_segment, rule, segment
from tests.processes.conftest import GATE

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

PATCHES = 500
ENOUGH = 25


def test_every_worker_sees_a_patch(crew: Crew, server: FeatBitServer) -> None:
    """A flag that is changed at the server gives its new value in every process, as a rule within a second."""
    workers = crew.start(4)
    crew.leader()
    times = []
    for expected in ["two", "one"] * 5:
        before = time.monotonic()
        server.put_flag(flag("load", "string", ["one", "two"], serve=expected))
        for worker in workers:
            worker.tell("wait_value", "load", expected, 20.0)

        assert [expected] * 4 == [worker.hear() for worker in workers]
        times.append(time.monotonic() - before)

    assert statistics.median(times) < 1.0
    assert max(times) < GATE


def test_new_and_archived_flags_reach_every_worker(crew: Crew, server: FeatBitServer) -> None:
    """A flag that did not exist appears in processes that asked for it before, and goes when it is archived."""
    workers = crew.start(3)

    assert ["none"] * 3 == [worker.ask("value", "later", "someone", "none") for worker in workers]

    server.put_flag(flag("later", "number", [7, 8]))

    assert [7] * 3 == [worker.ask("wait_value", "later", 7, 20.0) for worker in workers]

    server.archive_flag("later")

    assert [None] * 3 == [worker.ask("wait_value", "later", None, 20.0) for worker in workers]


def _patch(number: int) -> dict[str, Any]:
    """A flag and the segment that it uses, which make sense only together; see ``Watch`` in ``worker.py``."""
    served = rule(f"in-{number}", in_segment("bits"))
    paired = flag("paired", "string", [f"in-{number}", f"out-{number}"], serve=f"out-{number}", rules=[served])
    bits = segment("bits", included=[f"bit-{bit}" for bit in range(10) if number >> bit & 1])
    return {"flags": [paired, flag("number", "number", [number])], "segments": [bits]}


def test_a_flag_and_its_segment_are_never_torn(crew: Crew, server: FeatBitServer) -> None:
    """No call of four processes that read at full speed ever sees two patches at once, or an older one again."""
    server.patch(**_patch(0))
    server.put_flag(flag("member", rules=[rule(True, in_segment("bits"))], serve=False))
    workers = crew.start(4)
    for worker in workers:
        worker.ask("start", "watch")
    control = crew.control()

    def met() -> int:
        return min(worker.ask("so_far").get("changes", 0) for worker in workers)

    number, deadline = 0, time.monotonic() + 40
    # They have to meet many patches to prove something, however slow the machine makes them.
    while number < PATCHES or (met() <= ENOUGH and time.monotonic() < deadline):
        number += 1
        published = control.publications
        server.patch(**_patch(number))
        time.sleep(0.003)
        if number % 4 == 0:  # so that they are not all published as one
            assert crew.until(lambda: control.publications > published, 20, 0.001)  # noqa: B023 - asked at once
    last = [f"{'in' if number & 1 else 'out'}-{number}"] * 4

    assert last == [worker.ask("wait_value", "paired", last[0], 20.0, "bit-0") for worker in workers]

    reports = [worker.ask("finish") for worker in workers]

    assert [[] for _ in workers] == [report["wrong"] for report in reports]
    assert min(report["changes"] for report in reports) > ENOUGH
