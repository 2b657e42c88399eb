"""A full synchronisation: until all workers evaluate it, what it does to requests, and what it takes of the region."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from tests.benchmarks.crowd.gunicorn import Crowd, crowd
from tests.benchmarks.crowd.world import full, key_of, server_with, used
from tests.benchmarks.parts import floors
from tests.benchmarks.parts.part import MB, NAMES, OURS, Size, add, below, goal, percentile
from tests.benchmarks.parts.region import occupied, region, snapshot_and_rings
from tests.benchmarks.rows import REFERENCE, Report


def synchronisation(size: Size, report: Report) -> None:
    """A full synchronisation until all workers evaluate it; requests in the leader meanwhile; the region's size."""
    with (
        region() as directory,
        server_with(size.large) as server,
        crowd(OURS, server, key_of(0), size.workers) as many,
    ):
        keys = used(size.large)
        many.all("use", keys)
        time.sleep(2.5)
        leader = many.leader()
        leader.ask("watch")
        took, largest = [], 0.0
        for number in range(1, size.syncs + 1):
            text = full(size.large, number)
            for voice in many.voices:
                voice.tell("follow", keys[1], number, 0.002, 60)
            server.send_raw(text)
            seen = [max(at for _, at in voice.answer()) for voice in many.voices]
            received = next(began for stage, began, _ in leader.ask("noted") if stage == "received")
            took.append((max(seen) - received) / 1e9)
            largest = max(largest, occupied(directory))
        least = floors.synchronisation(text)
        add(report, "full synchronisation, all workers", OURS, "s", took, below("0.7 s", 0.7, took), limit=least)
        busy(size, report, server, many)
        largest = max(largest, occupied(directory))  # with what came of many patches
        one, rings = snapshot_and_rings(directory)
        fits = largest <= 3 * one + rings
        work = "region over snapshots of this size, rings apart"
        add(report, work, OURS, "", [(largest - rings) / one], goal("3", fits))
    if REFERENCE in NAMES:
        took = [*_of_one(size.large, range(1, 1 + max(size.syncs // 2, 1)))]
        add(report, "full synchronisation, one process", REFERENCE, "s", took)


def _of_one(flags: int, numbers: range) -> Iterator[float]:
    """Seconds of each full synchronisation of one process of fb-python-sdk."""
    with server_with(flags) as server, crowd(REFERENCE, server, key_of(0), 1) as one:
        for number in numbers:
            text = full(flags, number)
            one.voices[0].tell("follow", used(flags)[1], number, 0.002, 60)
            began = time.monotonic_ns()
            server.send_raw(text)
            newest, at = one.voices[0].answer()[-1]
            if newest != number:
                raise RuntimeError(f"{REFERENCE} does not take the full message")
            yield (at - began) / 1e9


def busy(size: Size, report: Report, server: Any, many: Crowd) -> None:
    """Requests of a millisecond in the leader and in a follower at the same time, while much arrives."""
    leader = many.leader()
    pair = {"leader": leader, "follower": next(voice for voice in many.voices if voice is not leader)}
    text = full(size.large, 500)
    for what in ("full synchronisations", "50 patches/s"):
        for voice in pair.values():
            voice.tell("requests", key_of(0), 0.002, size.seconds)
        began, number = time.monotonic(), 0
        while time.monotonic() < began + size.seconds:
            if what == "50 patches/s":
                server.put_flag(server.flag(key_of(number * 7 % size.large)))
                time.sleep(0.02)
            else:
                server.send_raw(text)
                time.sleep(1.0)
            number += 1
        figures = {name: percentile(voice.answer(), 0.999) / MB for name, voice in pair.items()}
        added = figures["leader"] - figures["follower"]
        for name, figure in figures.items():
            verdicts = (goal("under 20 ms more", added < 20),) if name == "leader" else ()
            work = f"1 ms request during {what}, p99.9"
            add(report, work, f"{OURS}, {name}", "ms", [figure], *verdicts)
