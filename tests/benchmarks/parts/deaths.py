"""Workers that are killed: how long until another one leads, and which of their events never arrive."""

from __future__ import annotations

import mmap
import random
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from fbshared.testing import FeatBitServer, bootstrap, flag
from tests.benchmarks.crowd.gunicorn import Crowd, Voice, crowd
from tests.benchmarks.crowd.sink import numbers_of, sink
from tests.benchmarks.crowd.worker import mapped
from tests.benchmarks.crowd.world import key_of, server_with
from tests.benchmarks.parts import floors
from tests.benchmarks.parts.part import NAMES, OURS, Size, add, goal, percentile
from tests.benchmarks.parts.region import region
from tests.benchmarks.rows import REFERENCE, Report

KEY = "loud"
RATE = 1_000  # evaluations a second, each with an event
MOMENTS = (0.3, 2.0)  # seconds between which a worker is killed after its first evaluation
# Seconds without a new event after which none is expected: a leader's successor must have begun by then.
QUIET = {OURS: 10.0, REFERENCE: 1.5}
LIMIT = 60.0  # seconds
LOST, TWICE = "events lost by SIGKILL at 1,000 evaluations/s", "events delivered twice after that"


@dataclass(frozen=True, slots=True)
class Fate:
    """Of the calls of one killed worker: how many had returned, how many of their events never came, and how many
    came more than once, counted each time."""

    returned: int
    lost: int
    twice: int


def failover(size: Size, report: Report) -> None:
    """The leader is killed: how long until a new one is in sync."""
    took: list[float] = []
    with region(), server_with(size.small) as server, crowd(OURS, server, key_of(0), size.workers) as many:
        time.sleep(6.5)  # younger processes let older ones go first
        for _ in range(min(size.failovers, size.workers - 1)):
            leader = many.leader()
            before = len(server.connections)
            many.voices.remove(leader)
            began = time.time()
            leader.kill()
            server.wait_for(lambda s, n=before: len(s.connections) > n and bool(s.connections[-1].cursors), 30)
            took.append((server.connections[-1].accepted_at - began) * 1000)
        least = floors.handshake(server)
    for share in (0.5, 0.99):
        figure = percentile(took, share)
        verdicts = (goal("under 1 s", figure < 1000),) if share == 0.99 else ()
        add(report, f"failover, p{share * 100:g}", OURS, "ms", [figure], *verdicts, limit=least)


def killed(size: Size, report: Report) -> None:
    """Workers are killed at random moments while they evaluate a thousand times a second."""
    dice = random.Random(1789)
    found: dict[str, list[Fate]] = {}
    with FeatBitServer(bootstrap([flag(KEY)])) as server, sink(users=True) as url:
        urls = SimpleNamespace(secret=server.secret, streaming_url=server.streaming_url, event_url=url)
        for _ in range(size.rounds):
            for name in NAMES:
                with region() as directory, crowd(name, urls, KEY, size.kills + 1) as many:
                    if name == OURS:
                        time.sleep(2.5)  # until all stand for the lead
                    for kill in range(size.kills):
                        who, voice = _victim(name, many, kill)
                        users = f"kill_{sum(map(len, found.values()))}"
                        fate = _fate(directory, url, voice, users, dice.uniform(*MOMENTS), QUIET[name])
                        found.setdefault(who, []).append(fate)
                        many.voices.remove(voice)
    for who, fates in found.items():
        lost = [float(fate.lost) for fate in fates]
        add(report, LOST, who, "", lost, *([] if who == REFERENCE else [goal("0", not any(lost))]))
    for who, fates in found.items():
        add(report, TWICE, who, "", [float(fate.twice) for fate in fates])
    calls = sum(fate.returned for fates in found.values() for fate in fates)
    report.notes.append(
        f"host: {sum(map(len, found.values()))} workers, of {size.kills + 1} at a time, were killed after {calls:,}"
        " evaluations of theirs had returned; the figures are of each kill. Of ours every second one led: the next"
        " leader delivers what it left, and the batch that was in flight a second time. A lost event is that of a call"
        " that had returned, which never came to the server."
    )


def _victim(name: str, many: Crowd, kill: int) -> tuple[str, Voice]:
    """Whom to kill next, and what it is called."""
    if name == REFERENCE:
        return name, many.voices[0]
    if kill % 2:
        return f"{name}, leader", many.leader()
    return f"{name}, follower", many.followers()[0]


def _fate(directory: Path, url: str, voice: Voice, users: str, moment: float, quiet: float) -> Fate:
    """Let it evaluate, kill it, and wait for its events."""
    path = directory / users
    path.write_bytes(bytes(mmap.PAGESIZE))
    words = mapped(str(path))
    voice.tell("count", KEY, users, RATE, str(path))
    until = time.monotonic() + LIMIT
    while not words[0]:
        if time.monotonic() > until:
            raise RuntimeError("the worker that is to be killed evaluates nothing")
        time.sleep(0.01)
    time.sleep(moment)
    voice.kill()
    returned = words[0]
    arrived = _arrived(url, users, returned, quiet)
    lost = sum(number not in arrived for number in range(returned))
    return Fate(returned, lost, sum(arrived.values()) - len(arrived))


def _arrived(url: str, users: str, returned: int, quiet: float) -> dict[int, int]:
    """How often the event of each call came, once all of them have, or none has for a while."""
    arrived: dict[int, int] = {}
    at = began = time.monotonic()
    while time.monotonic() < min(at + quiet, began + LIMIT):
        found = numbers_of(url, users)
        if found != arrived:
            arrived, at = found, time.monotonic()
        if all(number in arrived for number in range(returned)):
            break
        time.sleep(0.05)
    return arrived
