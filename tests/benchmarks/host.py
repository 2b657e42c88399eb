"""What a host with many workers pays: connections, threads, memory, imports, synchronisation, patches, failover.

Real gunicorn workers against the local server, which runs in the benchmark's own process; fb-python-sdk's beside them
where a figure is compared. Who measures is in the worker: a thread that evaluates every ``GAP`` seconds and notes on
the monotonic clock, which all processes share, when it saw what.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fbshared.testing.environment import message
from tests.benchmarks.crowd.gunicorn import Crowd, crowd
from tests.benchmarks.crowd.world import full, key_of, server_with, used
from tests.benchmarks.rows import REFERENCE, Options, Report, Row, Verdict

OURS = "fbshared"
MB = 1e6
GAP = 0.001  # seconds between two evaluations of whoever waits for a patch
RATES = (10, 100)  # evaluations a second of each worker that is not waited for
HEAVY = ("requests", "websocket", "filelock")


def measure(options: Options) -> Report:
    report = Report()
    size = Size(quick=options.quick)
    for name, part in PARTS.items():
        if options.wants(f"host: {name}"):
            part(size, report)
    # A block for each work, also where the contenders were measured one after the other.
    works = [row.work for row in report.rows]
    report.rows.sort(key=lambda row: works.index(row.work))
    report.notes.append(
        f"host: {size.workers} gunicorn workers. A worker that waits for a patch evaluates every {GAP * 1000:g} ms in"
        " a thread beside the server's; the time is from the moment the server is told to send until the slowest"
        " worker's evaluation is new. Load and the number of processors decide these figures: compare ratios."
    )
    return report


class Size:
    """How much of everything."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.workers = 3 if quick else 16
        self.small = 100 if quick else 1_000
        self.large = 300 if quick else 10_000
        self.patches = 5 if quick else 100
        self.syncs = 1 if quick else 8
        self.imports = 2 if quick else 15
        self.failovers = 1 if quick else 12
        self.seconds = 0.5 if quick else 10.0


def imports(size: Size, report: Report) -> None:
    """The time of an import above that of an empty interpreter, in alternating processes."""
    programs = {"nothing": "pass", OURS: "import fbshared", REFERENCE: "import fbclient"}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(size.imports):
        for name, program in programs.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True, stderr=subprocess.DEVNULL)
            times[name].append((time.perf_counter() - began) * 1000)
    empty = percentile(times["nothing"], 0.5)
    code = f"import fbshared, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    heavy = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    for name in (OURS, REFERENCE):
        above = [each - empty for each in times[name]]
        goals = [goal("under 60 ms", percentile(above, 0.5) < 60), goal("nothing heavy", heavy == "[]")]
        add(report, "import", name, "ms", above, *(goals if name == OURS else ()))


def residents(size: Size, report: Report) -> None:
    """What it takes that workers have data: connections, threads, memory, and the time of a recycled worker."""
    with server_with(size.large) as server:
        keys = used(size.large)
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
            add(report, "private memory of a follower", name, "MB", memory, below("3 MB", 3, memory))
        with region(), crowd(OURS, server, keys[0], 1):
            starts = [recycled(server, keys[0]) for _ in range(size.imports)]
        add(report, "construct until the first correct evaluation", OURS, "ms", starts, below("10 ms", 10, starts))
        with crowd(REFERENCE, server, keys[0], 1) as one:
            one.all("use", keys)
            voice = one.voices[0]
            add(report, "private memory of a follower", REFERENCE, "MB", [(voice.private() - empty) / MB])
            add(report, "threads of a follower", REFERENCE, "", [float(len(voice.about["threads"]))])


def patches(size: Size, report: Report) -> None:
    """One patch until all workers evaluate it, and what many of them cost."""
    for flags, limits in ((size.small, {0.5: 3.0, 0.99: 8.0}), (size.large, {0.99: 20.0})):
        for name in (OURS, REFERENCE) if flags == size.small else (OURS,):
            with region(), server_with(flags) as server, crowd(name, server, key_of(0), size.workers) as many:
                keys = used(flags)
                many.all("use", keys)
                time.sleep(2.5)
                late = patched(server, many, keys[1], size.patches)
                for share in (0.5, 0.99):
                    figure = percentile(late, share)
                    ours = name == OURS and share in limits
                    verdicts = (goal(f"under {limits[share]:g} ms", figure < limits[share]),) if ours else ()
                    work = f"a patch at {flags:,} flags, p{share * 100:g}"
                    add(report, work, name, "ms", [figure], *verdicts)
                if flags == size.small:
                    spent(size, report, name, server, many, flags)


def spent(size: Size, report: Report, name: str, server: Any, many: Crowd, flags: int) -> None:
    """The processor time of all workers together during fifty patches a second, and without any."""
    for rate in RATES:
        for patching in (0, 50):
            for voice in many.voices:
                voice.tell("pace", used(flags), rate, size.seconds)
            before, began = many.cpu(), time.monotonic()
            number = 0
            while patching and (now := time.monotonic()) < began + size.seconds:
                server.put_flag(server.flag(key_of(number * 7 % flags)))
                number += 1
                time.sleep(max(began + number / patching - now, 0.0))
            for voice in many.voices:
                voice.answer()
            seconds = (many.cpu() - before) * 10 / size.seconds
            work = f"processor in 10 s, {patching} patches/s, {rate} evaluations/s"
            verdicts = (goal("under 1.5 s", seconds < 1.5),) if name == OURS and patching else ()
            add(report, work, name, "s", [seconds], *verdicts)


def synchronisation(size: Size, report: Report) -> None:
    """A full synchronisation until all workers evaluate it; requests in the leader meanwhile; the region's size."""
    with region() as directory, server_with(size.large) as server:
        with crowd(OURS, server, key_of(0), size.workers) as many:
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
            add(report, "full synchronisation, all workers", OURS, "s", took, below("0.7 s", 0.7, took))
            one, rings = snapshot_and_rings(directory)
            fits = largest <= 3 * one + rings
            work = "region over snapshots of this size, rings apart"
            add(report, work, OURS, "", [(largest - rings) / one], goal("3", fits))
            busy(size, report, server, many)
        with crowd(REFERENCE, server, key_of(0), 1) as one_process:
            took = []
            for number in range(101, 101 + max(size.syncs // 2, 1)):
                text = full(size.large, number)
                one_process.voices[0].tell("follow", keys[1], number, 0.002, 60)
                began = time.monotonic_ns()
                server.send_raw(text)
                newest, at = one_process.voices[0].answer()[-1]
                if newest != number:
                    raise RuntimeError(f"{REFERENCE} does not take the full message")
                took.append((at - began) / 1e9)
            add(report, "full synchronisation, one process", REFERENCE, "s", took)


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
            os.kill(leader.pid, signal.SIGKILL)
            server.wait_for(lambda s, n=before: len(s.connections) > n and bool(s.connections[-1].cursors), 30)
            took.append((server.connections[-1].accepted_at - began) * 1000)
    for share in (0.5, 0.99):
        figure = percentile(took, share)
        verdicts = (goal("under 1 s", figure < 1000),) if share == 0.99 else ()
        add(report, f"failover, p{share * 100:g}", OURS, "ms", [figure], *verdicts)


PARTS = {
    "import": imports,
    "residents": residents,
    "patches": patches,
    "synchronisation": synchronisation,
    "failover": failover,
}


def patched(server: Any, many: Crowd, key: str, count: int) -> list[float]:
    """Milliseconds of each of so many patches until the last worker saw it."""
    flag = server.flag(key)
    for voice in many.voices:
        voice.tell("follow", key, count, GAP, 60)
    time.sleep(0.3)
    sent = {}
    for number in range(1, count + 1):
        flag["variations"][0]["value"] = str(number)
        server.put_flag(flag, push=False)
        text = message("patch", [server.flag(key)])
        sent[number] = time.monotonic_ns()
        server.send_raw(text)
        time.sleep(0.1)
    seen = [voice.answer() for voice in many.voices]
    # A worker that saw only a later one waited until then.
    last = {number: max(min(at for found, at in each if found >= number) for each in seen) for number in sent}
    return [(last[number] - sent[number]) / MB for number in sent]


def recycled(server: Any, key: str) -> float:
    """Milliseconds from the construction in a new worker, whose imports are done, to its first evaluation."""
    with crowd(OURS, server, key, 1) as one:
        began, ready = one.voices[0].about["ready"]
    return (ready - began) / MB


@contextmanager
def region() -> Iterator[Path]:
    """A shared directory of its own."""
    former = os.environ.get("FBSHARED_DIR")
    with tempfile.TemporaryDirectory(prefix="fbt-", dir=former or "/dev/shm") as directory:
        os.environ["FBSHARED_DIR"] = directory
        try:
            yield Path(directory)
        finally:
            if former is None:
                del os.environ["FBSHARED_DIR"]
            else:
                os.environ["FBSHARED_DIR"] = former


@contextmanager
def leading(server: Any, key: str, role: str) -> Iterator[None]:
    """Somebody who leads, where the workers do not."""
    if role == "auto":
        yield
    else:
        with crowd(OURS, server, key, 1):
            yield


def occupied(directory: Path) -> float:
    """Bytes of all files below a directory."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_blocks * 512 if path.is_file() else 0
        except FileNotFoundError:
            continue
    return float(total)


def snapshot_and_rings(directory: Path) -> tuple[float, float]:
    """Bytes of the largest snapshot, and of all rings and small files together."""
    sizes = {path: path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file()}
    snapshots = [size for path, size in sizes.items() if path.name.startswith("snapshot.")]
    return float(max(snapshots)), float(sum(sizes.values()) - sum(snapshots))


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that is not below so large a share of all."""
    return sorted(samples)[min(int(len(samples) * share), len(samples) - 1)]


def add(report: Report, work: str, name: str, unit: str, samples: Sequence[float], *verdicts: Verdict) -> None:
    report.rows.append(Row.of("host", work, name, unit, samples, verdicts=verdicts))


def goal(text: str, met: bool) -> Verdict:
    return Verdict(text, met)


def below(text: str, limit: float, samples: Sequence[float]) -> Verdict:
    return Verdict(f"under {text}", percentile(samples, 0.5) < limit)
