"""One patch until all workers evaluate it, or have been told of it by a listener; and what many patches cost."""

from __future__ import annotations

import mmap
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fbshared.testing.environment import message
from tests.benchmarks.crowd.gunicorn import Crowd, crowd
from tests.benchmarks.crowd.worker import mapped
from tests.benchmarks.crowd.world import key_of, server_with, used
from tests.benchmarks.parts import floors
from tests.benchmarks.parts.part import GAP, MB, NAMES, OURS, Size, add, add_percentiles, below
from tests.benchmarks.parts.region import region
from tests.benchmarks.rows import Report

PAUSE = 0.06  # seconds between two patches, on average
TOLD_PAUSE = 0.2  # the same where listeners wait, of which ours look every tenth of a second
LIMIT = 60.0  # seconds until the last one must have been seen
PATCHING = "50 patches/s"
RATES = (10, 100)  # evaluations a second of each worker that is not waited for
GOALS = {"small": {0.5: 3.0, 0.99: 8.0}, "large": {0.99: 20.0}}  # milliseconds
DICE = random.Random(4711)  # patches come at no fixed pace, so that they meet pollers at any moment


@dataclass(slots=True)
class Found:
    """What the rounds of one contender found: milliseconds of each patch of each round, and seconds by work."""

    late: list[list[float]] = field(default_factory=list)
    told: list[list[float]] = field(default_factory=list)
    least: list[list[float]] = field(default_factory=list)
    cost: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def patches(size: Size, report: Report) -> None:
    """Rounds of fresh workers, in which the contenders take turns."""
    for flags, goals in ((size.small, GOALS["small"]), (size.large, GOALS["large"])):
        found = {name: Found() for name in NAMES if flags == size.small or name == OURS}
        with server_with(flags) as server:
            for _ in range(size.rounds):
                for name, each in found.items():
                    with region() as directory, crowd(name, server, key_of(0), size.workers) as many:
                        _round(size, server, directory, many, flags, each, ours=name == OURS)
        for name, each in found.items():
            work = f"a patch at {flags:,} flags"
            add_percentiles(report, work, name, each.late, goals if name == OURS else {}, each.least)
            if each.told:
                add_percentiles(report, f"{work}, told by listeners", name, each.told)
            for what, seconds in each.cost.items():
                verdicts = (below("1.5 s", 1.5, seconds),) if name == OURS and PATCHING in what else ()
                add(report, what, name, "s", seconds, *verdicts)


def _round(size: Size, server: Any, directory: Path, many: Crowd, flags: int, found: Found, *, ours: bool) -> None:
    keys = used(flags)
    many.all("use", keys)
    if ours:
        time.sleep(2.5)  # until all stand for the lead
        found.least.append(looked(directory, server, many, keys[1], size.looks))
    found.late.append(patched(server, many, keys[1], size.patches))
    if flags == size.small:
        found.told.append(listened(server, many, keys[1], size.told))
        for work, seconds in spent(server, many, flags, size.seconds / size.rounds):
            found.cost[work].append(seconds)


def patched(server: Any, many: Crowd, key: str, count: int) -> list[float]:
    """Milliseconds of each of so many patches until the last worker saw it."""
    numbers = following(server, key, count)
    for voice in many.voices:
        voice.tell("follow", key, numbers[-1], GAP, LIMIT)
    time.sleep(0.3)
    sent = paced(server, key, numbers, PAUSE, lambda text, _: server.send_raw(text))
    return delays(sent, [voice.answer() for voice in many.voices])


def listened(server: Any, many: Crowd, key: str, count: int) -> list[float]:
    """Milliseconds of each of so many patches until the listener of the last worker was called."""
    numbers = following(server, key, count)
    for voice in many.voices:
        voice.ask("listen", key)
        time.sleep(DICE.uniform(0.0, 0.1))  # workers are told at moments of their own, not all at the same
    sent = paced(server, key, numbers, TOLD_PAUSE, lambda text, _: server.send_raw(text))
    return delays(sent, many.all("told", numbers[-1], LIMIT))


def looked(directory: Path, server: Any, many: Crowd, key: str, count: int) -> list[float]:
    """Milliseconds of what no patch can do without, as often: the text through a connection, reading it, packing
    its flag, storing a word, and the time until the last of the workers, who look at that word only, saw it."""
    path = directory / "word"
    path.write_bytes(bytes(mmap.PAGESIZE))
    words = mapped(str(path))
    numbers = following(server, key, count)
    for voice in many.voices:
        voice.tell("look", str(path), numbers[-1], GAP, LIMIT)
    time.sleep(0.3)
    with floors.connection() as exchange:

        def send(text: str, number: int) -> None:
            floors.packed(exchange(text))
            words[0] = number

        sent = paced(server, key, numbers, PAUSE, send)
    return delays(sent, [voice.answer() for voice in many.voices])


def following(server: Any, key: str, count: int) -> range:
    """The numbers of so many patches to come: the flag's value is that of the last one."""
    first = int(server.flag(key)["variations"][0]["value"]) + 1
    return range(first, first + count)


def paced(server: Any, key: str, numbers: range, pause: float, send: Callable[[str, int], object]) -> dict[int, int]:
    """Send a patch of each number; when each was sent."""
    sent = {}
    for number in numbers:
        flag = server.flag(key)
        flag["variations"][0]["value"] = str(number)
        server.put_flag(flag, push=False)
        text = message("patch", [server.flag(key)])
        sent[number] = time.monotonic_ns()
        send(text, number)
        time.sleep(pause * DICE.uniform(0.6, 1.4))
    return sent


def delays(sent: dict[int, int], seen: list[list[list[int]]]) -> list[float]:
    """Milliseconds from each sending until the last worker saw it. Who saw only a later one waited until then."""
    for each in seen:
        if not each or each[-1][0] < max(sent):
            raise RuntimeError(f"a worker never saw the last patch: {each[-1:]}, not {max(sent)}")
    last = {number: max(min(at for found, at in each if found >= number) for each in seen) for number in sent}
    return [(last[number] - sent[number]) / MB for number in sent]


def spent(server: Any, many: Crowd, flags: int, period: float) -> Iterator[tuple[str, float]]:
    """The processor time that all workers together take for ten seconds of fifty patches each, and of none."""
    for rate in RATES:
        for patching in (0, 50):
            for voice in many.voices:
                voice.tell("pace", used(flags), rate, period)
            before, began = many.cpu(), time.monotonic()
            number = 0
            while patching and (now := time.monotonic()) < began + period:
                server.put_flag(server.flag(key_of(number * 7 % flags)))
                number += 1
                time.sleep(max(began + number / patching - now, 0.0))
            for voice in many.voices:
                voice.answer()
            seconds = (many.cpu() - before) * 10 / period
            yield f"processor in 10 s, {PATCHING if patching else '0 patches/s'}, {rate} evaluations/s", seconds
