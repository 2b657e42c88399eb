"""What a patch costs as the environment grows: the leader's publication, a worker's refresh.

One process that is both, with nobody beside it. Copies of the whole environment's bytes in the same rounds, into a new
file of the same directory and from memory to memory, show what it would cost to write everything each time.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns

from fbshared import Config, FBClient
from fbshared.core.items import parse_item
from fbshared.core.model import FLAG, Dataset
from fbshared.core.wire import parse
from fbshared.shm import files
from fbshared.shm.publisher import Publisher
from fbshared.shm.snapshot import Snapshot
from fbshared.testing import make_secret
from tests.benchmarks.crowd.worker import USER
from tests.benchmarks.crowd.world import VERSION, full, key_of, raw_flag, used
from tests.benchmarks.rows import Options, Report, Row, Verdict

OURS = "fbshared"
PUBLISH, REFRESH = "publication of a patch", "evaluation with refresh, 50 flags used"
COPY, MEMORY = "copy to a new file", "copy in memory"


def measure(options: Options) -> Report:
    report = Report()
    rounds = 5 if options.quick else 150
    sizes = (100, 300) if options.quick else (100, 1_000, 10_000)
    smallest = 0.0
    for flags in sizes:
        if not options.wants(f"publishing: {PUBLISH}, {flags:,} flags"):
            continue
        for work, contenders in _samples(flags, rounds).items():
            for contender, samples in contenders.items():
                row = Row.of("publishing", f"{work}, {flags:,} flags", contender, "us", samples)
                if work == REFRESH:
                    smallest = smallest or row.median
                    row = replace(row, verdicts=(Verdict("flat: 1.5 times the smallest", row.median < 1.5 * smallest),))
                report.rows.append(row)
    return report


def _samples(flags: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Microseconds of each step in each round."""
    found: dict[str, dict[str, list[float]]] = {}

    def note(work: str, contender: str, began: int) -> None:
        found.setdefault(work, {}).setdefault(contender, []).append((perf_counter_ns() - began) / 1000)

    message = parse(full(flags))
    assert message is not None
    dataset = Dataset.of(message.items)
    with tempfile.TemporaryDirectory(prefix="fbt-", dir=os.environ.get("FBSHARED_DIR", "/dev/shm")) as directory:
        urls = "http://127.0.0.1:1", "ws://127.0.0.1:1"
        client = FBClient(Config(make_secret(), *urls, role="follower", directory=directory), start_wait=0)
        try:
            member = client._member
            publisher = Publisher(member.region, 1)
            word = publisher.publish(dataset, synced=True)
            for key in used(flags):
                client.variation(key, USER)
            for number in range(rounds):
                raw = raw_flag(number * 7 % flags, str(number), VERSION + 1 + number)
                item = parse_item(FLAG, raw)
                dataset, _ = dataset.merge([item])
                began = perf_counter_ns()
                word = publisher.publish(dataset, synced=True)
                note(PUBLISH, OURS, began)
                began = perf_counter_ns()
                client.variation(key_of(0), USER)
                note(REFRESH, OURS, began)
                content = _everything(member.region.snapshot(word))
                began = perf_counter_ns()
                files.replace(directory, "copy", [content])
                note(PUBLISH, COPY, began)
                began = perf_counter_ns()
                bytearray(content)
                note(PUBLISH, MEMORY, began)
            Path(directory, "copy").unlink()
        finally:
            client.stop()
    return found


def _everything(snapshot: Snapshot) -> bytes:
    """The bytes of a snapshot and of its base."""
    base = snapshot.base()
    return bytes(snapshot.buffer) + (bytes(base.buffer) if base is not None else b"")
