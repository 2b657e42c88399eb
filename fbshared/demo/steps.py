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
from fbshared.status import read_regions
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
    stale_limit: float

    def wait(self, condition: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Until it holds, gunicorn is gone, or patience is."""
        deadline = time.monotonic() + patience
        while not (held := condition()) and time.monotonic() < deadline and self.workers.running:
            time.sleep(0.002)
        return held

    def leader(self) -> int:
        """The process that leads and has synced, 0 when there is none."""
        region = next(iter(read_regions(self.workers.directory)), None)
        return region.leader_pid if region is not None and region.well else 0

    def new_leader(self, old: int, connections: int) -> int:
        """The next process that leads and has synced over a new connection, 0 when there is none in time."""
        found = 0

        def is_there() -> bool:
            nonlocal found
            newest = self.server.connections[-1]
            found = self.leader() if newest.number > connections and newest.cursors else 0
            return found not in (0, old)

        return found if self.wait(is_there) else 0

    def recent(self, seconds: float = 0.3) -> list[Answer]:
        """The answers of the last moments."""
        since = time.monotonic() - seconds
        return [answer for answer in self.traffic.answers[-1000:] if answer.at >= since]


def one_connection(stage: Stage) -> None:
    """However many processes evaluate, FeatBit sees one connection."""
    stage.story.chapter(f"{WORKERS} workers, one connection")
    stage.traffic.start()
    stage.wait(lambda: len({a.pid for a in stage.recent()}) == WORKERS and stage.leader() != 0)
    watch(stage)


def watch(stage: Stage) -> None:
    """For a while: who evaluates, and how many connections there are at most."""
    position, most, until = len(stage.traffic.answers), 0, time.monotonic() + WATCH
    while time.monotonic() < until:
        most = max(most, stage.server.open_connections)
        time.sleep(0.005)
    answers = stage.traffic.answers[position:]
    pids = sorted({answer.pid for answer in answers})
    rate = len(answers) / WATCH
    stage.story.promise(
        len(pids) == WORKERS,
        f"{len(pids)} processes evaluate, {rate:,.0f} times a second: {' '.join(map(str, pids))}",
    )
    holder = "the gunicorn master" if stage.leader() == stage.workers.master else "worker"
    stage.story.promise(
        most == 1, f"FeatBit sees {counted(most, 'connection')}, held by {holder}, process {stage.leader()}"
    )


def flip(stage: Stage, variation: str, title: str) -> None:
    """A change on the server reaches every worker's next answers."""
    stage.story.chapter(title)
    pids = {answer.pid for answer in stage.recent() if is_alive(answer.pid)}
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


def freeze_the_leader(stage: Stage) -> None:
    """A leader that hangs is replaced, and does no harm when it wakes up.

    With ``--preload`` this is how a worker comes to lead: else the master does, which made the client, and to kill
    it would end gunicorn.
    """
    old = stage.leader()
    stage.story.chapter(f"the leader, process {old}, is frozen with SIGSTOP")
    connections, frozen = len(stage.server.connections), time.monotonic()
    os.kill(old, signal.SIGSTOP)
    try:
        new = stage.new_leader(old, connections)
        took = time.monotonic() - frozen
    finally:
        os.kill(old, signal.SIGCONT)
    stage.story.promise(
        new != 0 and took <= stage.stale_limit + TAKEOVER_LIMIT,
        f"process {new} leads and is in sync {took:.1f} s later; the limit was set to {stage.stale_limit:g} s",
    )
    report_answers(stage, frozen)
    awake = time.monotonic()
    single = stage.wait(lambda: stage.server.open_connections == 1, TAKEOVER_LIMIT)
    took_ms = (time.monotonic() - awake) * 1000
    stage.story.promise(
        single and stage.leader() != old,
        f"it is woken and hangs up; {took_ms:.0f} ms later FeatBit sees "
        f"{counted(stage.server.open_connections, 'connection')}",
    )


def kill_the_leader(stage: Stage) -> None:
    """Evaluation goes on, and another process takes the lead."""
    old = stage.leader()
    stage.story.chapter(f"the leader, now worker {old}, is killed with SIGKILL in the middle of traffic")
    if old in (0, stage.workers.master):
        stage.story.promise(False, "no worker leads: there is nobody to kill")
        return
    connections, killed = len(stage.server.connections), time.monotonic()
    os.kill(old, signal.SIGKILL)
    new = stage.new_leader(old, connections)
    took = time.monotonic() - killed
    stage.story.promise(
        new != 0 and took <= TAKEOVER_LIMIT,
        f"process {new} leads and is in sync {took * 1000:.0f} ms later" if new else "nobody leads any more",
    )
    stage.wait(lambda: len({a.pid for a in stage.recent()} - {old}) == WORKERS)
    cut_off = counted(stage.traffic.cut_off, "request")
    stage.story.says(f"the kill cut {cut_off} off; gunicorn has a new worker")
    watch(stage)
    report_answers(stage, killed)


def report_answers(stage: Stage, since: float) -> None:
    """Whether all that was asked since then got what the server says."""
    answers = [answer for answer in stage.traffic.answers if answer.asked >= since]
    wrong = [answer for answer in answers if answer.variation != stage.choice.after]
    stage.story.promise(not wrong, f"evaluation went on: {len(answers):,} answers, {len(wrong)} of them wrong")
    for (pid, value, reason), times in Counter((a.pid, repr(a.value), a.reason) for a in wrong).items():
        stage.story.says(f"worker {pid} answered {value} {times} times: {reason}")


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def is_alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def count_events(stage: Stage) -> None:
    """Each evaluation that was answered is an event at the server: counted by the users' numbers."""
    stage.story.chapter("the books: every evaluation against every event")
    stage.traffic.stop()
    asked = {answer.user for answer in stage.traffic.answers}
    stage.wait(lambda: stage.server.event_count >= len(asked) and asked <= received(stage).keys())
    events = received(stage)
    lost, extra = len(asked - events.keys()), len(events.keys() - asked)
    repeated = sum(events.values()) - len(events)
    stage.story.says(f"{len(asked):,} evaluations were answered, by {len(pids_of(stage))} processes in all")
    stage.story.says(
        f"{sum(events.values()):,} events reached FeatBit, {extra} of them of requests cut off by the kill"
    )
    batch = ", the batch that was on its way when its leader ended" if repeated else ""
    stage.story.promise(lost == 0, f"{counted(lost, 'event')} lost, {repeated} delivered twice{batch}")
    stage.story.promise(not stage.traffic.refused, f"{counted(len(stage.traffic.refused), 'request')} failed")
    made = counted(len(stage.server.connections), "connection")
    stage.story.says(f"{made} in the whole run: one for each time that somebody led")


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
    alive = [pid for pid in pids_of(stage) if is_alive(pid)]
    stage.story.promise(gently and not alive, f"gunicorn has ended; {counted(len(alive), 'process', 'processes')} left")
    gone = not stage.workers.directory.exists()
    stage.story.promise(gone, "the shared directory is removed" if gone else f"{stage.workers.directory} is left")
