"""What it takes to have workers: imports, connections, threads, memory, and the time of a recycled one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.benchmarks.crowd.gunicorn import crowd
from tests.benchmarks.crowd.world import server_with, used
from tests.benchmarks.parts import floors
from tests.benchmarks.parts.part import MB, NAMES, OURS, Size, add, below, goal, percentile
from tests.benchmarks.parts.region import region
from tests.benchmarks.rows import REFERENCE, Report

HEAVY = ("requests", "websocket", "filelock")
NOTHING, NEEDED = "nothing", "needed"


def imports(size: Size, report: Report) -> None:
    """The time of an import above that of an empty interpreter, in alternating processes."""
    packages = {OURS: "import fbshared", REFERENCE: "import fbclient"}
    programs = {NOTHING: "pass", NEEDED: floors.IMPORTS} | {name: packages[name] for name in NAMES}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(size.imports):
        for name, program in programs.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True, stderr=subprocess.DEVNULL)
            times[name].append((time.perf_counter() - began) * 1000)
    empty = percentile(times[NOTHING], 0.5)
    code = f"import fbshared, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    heavy = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    above = [each - empty for each in times[OURS]]
    goals = below("60 ms", 60, above), goal("nothing heavy", heavy == "[]")
    add(report, "import", OURS, "ms", above, *goals, limit=percentile(times[NEEDED], 0.5) - empty)
    if REFERENCE in NAMES:
        add(report, "import", REFERENCE, "ms", [each - empty for each in times[REFERENCE]])


def residents(size: Size, report: Report) -> None:
    """What it takes that workers have data: connections, threads, memory, and the time of a recycled worker."""
    with server_with(size.large) as server:
        keys = used(size.large)
        least = floors.memory([server.flag(key) for key in keys]) / MB
        with crowd("import", server, keys[0], 1) as one:
            empty = one.voices[0].private()
        for name, role in ((OURS, "auto"), (f"{OURS}, followers", "follower")):
            with (
                region(),
                leading(server, keys[0], role),
                crowd(OURS, server, keys[0], size.workers, role=role) as many,
            ):
                many.all("use", keys)
                time.sleep(2.5)  # until all stand for the lead
                many.all("use", keys)
                followers = many.followers() if role == "auto" else many.voices
                memory = [(voice.private() - empty) / MB for voice in followers]
                threads = [float(len(voice.ask("about")["threads"])) for voice in followers]
                alone = float(server.open_connections)
            add(report, "websocket connections", name, "", [alone], goal("1", alone == 1))
            add(report, "threads of a follower", name, "", threads, goal("1", max(threads) <= 1))
            add(report, "private memory of a follower", name, "MB", memory, below("3 MB", 3, memory), limit=least)
        with region() as directory, crowd(OURS, server, keys[0], 1):
            starts = [recycled(server, keys[0]) for _ in range(size.imports)]
            least = floors.first_look(directory, server.flag(keys[0]))
        work = "construct until the first correct evaluation"
        add(report, work, OURS, "ms", starts, below("10 ms", 10, starts), limit=least)
        if REFERENCE in NAMES:
            with crowd(REFERENCE, server, keys[0], 1) as one:
                one.all("use", keys)
                voice = one.voices[0]
                add(report, "private memory of a follower", REFERENCE, "MB", [(voice.private() - empty) / MB])
                add(report, "threads of a follower", REFERENCE, "", [float(len(voice.about["threads"]))])


def recycled(server: Any, key: str) -> float:
    """Milliseconds from the construction in a new worker, whose imports are done, to its first evaluation."""
    with crowd(OURS, server, key, 1) as one:
        began, ready = one.voices[0].about["ready"]
    return float(ready - began) / MB


@contextmanager
def leading(server: Any, key: str, role: str) -> Iterator[None]:
    """Somebody who leads, where the workers do not."""
    if role == "auto":
        yield
    else:
        with crowd(OURS, server, key, 1):
            yield
