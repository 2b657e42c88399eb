"""How many events of one worker a second arrive at a server that answers at once, and what that costs the leader.

A worker puts many events as fast as it goes, each of another user; the time ends with the last one's arrival, and all
of them must have arrived. The queues of both contenders hold them all, so that none is dropped. Ours has a second
worker, which leads and delivers; fb-python-sdk delivers in the worker itself.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from fbshared.testing import FeatBitServer, bootstrap, flag
from tests.benchmarks.crowd.gunicorn import Crowd, Voice, crowd
from tests.benchmarks.crowd.sink import counted, sink
from tests.benchmarks.parts import floors
from tests.benchmarks.parts.part import NAMES, OURS
from tests.benchmarks.parts.region import region
from tests.benchmarks.rows import REFERENCE, Options, Report, Row, Verdict, spread

KEY = "loud"
BATCHES = (50, 500, 2000)
USUAL = 500
LIMIT = 60.0  # seconds until all have arrived
WORK = "events a second of one worker, delivered"


def measure(options: Options) -> Report:
    report = Report()
    rounds, ours, theirs = (1, 500, 200) if options.quick else (5, 100_000, 20_000)
    if not options.wants(f"delivery: {WORK}"):
        return report
    with FeatBitServer(bootstrap([flag(KEY)])) as server, sink() as url:
        urls = SimpleNamespace(secret=server.secret, streaming_url=server.streaming_url, event_url=url)
        their: list[tuple[float, float]] = []
        if REFERENCE in NAMES:
            with crowd(REFERENCE, urls, KEY, 1, events_max_in_queue=theirs * 2) as one:
                their = [_rate(url, one.voices[0], one.voices[0], theirs) for _ in range(rounds)]
        with region(), crowd(OURS, urls, KEY, 2, events_max_in_queue=200_000) as two:
            for batch in BATCHES:
                _ours(report, url, two, batch, rounds, ours, their if batch == USUAL else [])
    if their:
        report.rows.append(Row.of("delivery", WORK, REFERENCE, "1/s", [rate for rate, _ in their]))
        cost = [seconds * 1e6 for _, seconds in their]
        report.rows.append(Row.of("delivery", "processor of an event, put and delivered", REFERENCE, "us", cost))
    report.rows.sort(key=lambda row: row.work)
    return report


def _ours(report: Report, url: str, two: Crowd, batch: int, rounds: int, count: int, their: list[Any]) -> None:
    leader = two.leader()
    worker = two.followers()[0]
    leader.ask("batch", batch)
    found = [_rate(url, worker, leader, count) for _ in range(rounds)]
    took, spent = floors.delivery(url, min(count, 20_000), batch)
    rates = [rate for rate, _ in found]
    more: dict[str, Any] = {}
    if their:
        ratio = spread(rates)[0] / spread([rate for rate, _ in their])[0]
        more = {"ratio": ratio, "verdicts": (Verdict("4 times fb-python-sdk", ratio >= 4),)}
    name = f"{OURS}, by {batch}"
    report.rows.append(Row.of("delivery", WORK, name, "1/s", rates, limit=1 / took, **more))
    cost = [seconds * 1e6 for _, seconds in found]
    report.rows.append(Row.of("delivery", "processor of the leader for an event", name, "us", cost, limit=spent * 1e6))


def _rate(url: str, worker: Voice, leader: Voice, count: int) -> tuple[float, float]:
    """Events a second, and the leader's seconds of processor time for each."""
    time.sleep(0.2 if count < 1000 else 1.5)  # what was put before has arrived
    before, _ = counted(url)
    spent = leader.cpu()
    began, _ = worker.ask("put", KEY, count)
    until = time.monotonic() + LIMIT
    while (found := counted(url))[0] < before + count:
        if time.monotonic() > until:
            raise RuntimeError(f"{before + count - found[0]} of {count} events have not arrived")
        time.sleep(0.05)
    return count / ((found[1] - began) / 1e9), (leader.cpu() - spent) / count
