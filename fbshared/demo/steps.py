"""The steps of the demo, in the order in which they are told; each prints its figures and its promises."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from fbshared.demo.choice import Choice
from fbshared.demo.story import Story
from fbshared.demo.traffic import USER_PREFIX, Answer, Traffic
from fbshared.demo.workers import WORKERS, Workers
from fbshared.status import RegionStatus, read_regions
from fbshared.testing import FeatBitServer

PATIENCE = 10.0  # seconds until a step gives up waiting
TAKEOVER_LIMIT = 5.0
WATCH = 1.0  # seconds for which the connections are watched in steady state


@dataclass(frozen=True, slots=True)
class Stage:
    """What every step works with."""

    story: Story
    server: FeatBitServer
    workers: Workers
    traffic: Traffic
    choice: Choice

    def wait(self, condition: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Until it holds, gunicorn is gone, or patience is."""
        deadline = time.monotonic() + patience
        while not (held := condition()) and time.monotonic() < deadline and self.workers.running:
            time.sleep(0.002)
        return held

    def region(self) -> RegionStatus | None:
        return next(iter(read_regions(self.workers.directory)), None)

    def leader(self) -> int:
        """The process that leads and has synced, 0 when there is none."""
        region = self.region()
        if region is None or not region.leader_alive or region.sync_state != "synced":
            return 0
        return region.leader_pid

    def recent(self, seconds: float = 0.3) -> list[Answer]:
        """The answers of the last moments."""
        since = time.monotonic() - seconds
        return [answer for answer in self.traffic.answers[-1000:] if answer.at >= since]


def one_connection(stage: Stage) -> None:
    """However many processes evaluate, FeatBit sees one connection."""
    stage.story.chapter(f"{WORKERS} workers, one connection")
    stage.traffic.start()
    stage.wait(lambda: len({a.pid for a in stage.recent()}) == WORKERS and stage.leader() != 0)
    position, most, until = len(stage.traffic.answers), 0, time.monotonic() + WATCH
    while time.monotonic() < until:
        most = max(most, stage.server.open_connections)
        time.sleep(0.005)
    answers = stage.traffic.answers[position:]
    pids = sorted({a.pid for a in answers})
    rate = len(answers) / WATCH
    stage.story.promise(
        len(pids) == WORKERS,
        f"{len(pids)} processes evaluate, {rate:,.0f} times a second: {' '.join(map(str, pids))}",
    )
    stage.story.promise(most == 1, f"FeatBit sees {most} connection(s), held by process {stage.leader()}")


def flip(stage: Stage, variation: str, title: str) -> None:
    """A change on the server reaches every worker's next answers."""
    stage.story.chapter(title)
    pids = {answer.pid for answer in stage.recent()}
    position, started = len(stage.traffic.answers), time.monotonic()
    stage.server.put_flag(stage.choice.serving(variation))

    def first_seen() -> dict[int, float]:
        seen: dict[int, float] = {}
        for answer in stage.traffic.answers[position:]:
            if answer.variation == variation:
                seen.setdefault(answer.pid, answer.at)
        return seen

    stage.wait(lambda: len(first_seen()) >= WORKERS)
    seen = first_seen()
    for pid in sorted(pids | set(seen)):
        took = f"after {(seen[pid] - started) * 1000:.0f} ms" if pid in seen else "never"
        stage.story.promise(pid in seen, f"worker {pid} answers {stage.choice.value(variation)!r} {took}")


def kill_the_leader(stage: Stage) -> None:
    """Evaluation goes on, and another process takes the lead."""
    old = stage.leader()
    stage.story.chapter(f"the leader, process {old}, is killed with SIGKILL in the middle of traffic")
    if not old or old == stage.workers.master:
        stage.story.promise(False, "no worker leads: there is nobody to kill")
        return
    position, killed = len(stage.traffic.answers), time.monotonic()
    os.kill(old, signal.SIGKILL)
    stage.wait(lambda: stage.leader() not in (0, old))
    took, new = time.monotonic() - killed, stage.leader()
    answers = stage.traffic.answers[position:]
    stage.story.promise(
        new not in (0, old) and took <= TAKEOVER_LIMIT,
        f"process {new} leads and is in sync {took * 1000:.0f} ms later" if new else "nobody leads any more",
    )
    wrong = [a for a in answers if a.variation != stage.choice.after]
    stage.story.promise(not wrong, f"{len(answers)} answers came meanwhile, {len(wrong)} of them wrong")
    stage.wait(lambda: len({a.pid for a in stage.recent()} - {old}) == WORKERS)
    stage.story.says(f"gunicorn has replaced the worker; {stage.traffic.cut_off} requests were cut off")


def count_events(stage: Stage) -> None:
    """Each evaluation that was answered is an event at the server: counted by the users' numbers."""
    stage.story.chapter("the books: every evaluation against every event")
    stage.traffic.stop()
    asked = {answer.user for answer in stage.traffic.answers}
    stage.wait(lambda: asked <= received(stage).keys())
    events = received(stage)
    lost, extra = len(asked - events.keys()), len(events.keys() - asked)
    repeated = sum(events.values()) - len(events)
    stage.story.says(f"{len(asked):,} evaluations were answered, by {len(pids_of(stage))} processes in all")
    stage.story.says(
        f"{sum(events.values()):,} events reached FeatBit, {extra} of them of requests cut off by the kill"
    )
    stage.story.promise(lost == 0, f"{lost} events were lost, {repeated} came twice")
    stage.story.promise(not stage.traffic.refused, f"{len(stage.traffic.refused)} requests failed")
    stage.story.says(f"{len(stage.server.connections)} connections in the whole run, one for each leader")


def received(stage: Stage) -> Counter[str]:
    """How often the server got the evaluation of each of our users."""
    return Counter(
        event.user["keyId"]
        for event in stage.server.events
        if event.kind == "variation" and event.user["keyId"].startswith(USER_PREFIX)
    )


def pids_of(stage: Stage) -> set[int]:
    return {answer.pid for answer in stage.traffic.answers}


def clean_up(stage: Stage) -> None:
    """Nothing stays behind."""
    stage.story.chapter("cleaning up")
    stage.traffic.stop()
    gently = stage.workers.stop()
    alive = [pid for pid in pids_of(stage) if os.path.exists(f"/proc/{pid}")]
    stage.story.promise(gently and not alive, f"gunicorn has ended; {len(alive)} processes are left")
    gone = not stage.workers.directory.exists()
    stage.story.promise(
        gone, "the shared directory is removed" if gone else f"{stage.workers.directory} is left"
    )
