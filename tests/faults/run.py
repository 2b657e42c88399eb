"""One run: a crew under load, the faults of a schedule, and the account at the end."""

from __future__ import annotations

import itertools
import math
import signal
import subprocess
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from fbshared.testing import FeatBitServer, bootstrap, flag, in_segment, rule, segment
from tests.faults.judge import BATCH, GATE, STALL_LIMIT, Judge
from tests.faults.report import Report
from tests.faults.schedule import FEWEST, Fault, Step, schedule
from tests.processes.conftest import Crew, Process

__all__ = ["Run", "server"]

STALE_LIMIT = 2.0  # seconds
RATE = 120  # evaluations a second and member that send an event
READ_EVERY = 0.01  # seconds between two looks of a member at what belongs together
PATCH_EVERY = 0.04
LAST_STEPS = 12
PATIENCE = 30.0  # seconds for the last events to arrive
_OPTIONS = {"leader_stale_limit": STALE_LIMIT, "streaming_first_retry_delay": 0.05, "events_retry_interval": 0.05}


def server() -> FeatBitServer:
    """A server with the flags that the members read; ``paired`` and its like send no events."""
    member = flag("member", rules=[rule(True, in_segment("bits"))], serve=False, insights_enabled=False)
    made = _patch(0)
    load = flag("load", "string", ["one", "two"])
    return FeatBitServer(bootstrap([load, member, *made["flags"]], made["segments"]))


def _patch(number: int) -> dict[str, list[dict[str, object]]]:
    """A flag and the segment that it uses, which make sense only together; see ``Watch`` in ``worker.py``."""
    served = rule(f"in-{number}", in_segment("bits"))
    values = [f"in-{number}", f"out-{number}"]
    paired = flag("paired", "string", values, serve=values[1], rules=[served], insights_enabled=False)
    bits = segment("bits", included=[f"bit-{bit}" for bit in range(10) if number >> bit & 1])
    return {"flags": [paired, flag("number", "number", [number], insights_enabled=False)], "segments": [bits]}


def _finish(process: Process) -> list[object]:
    """End a member's work; what was wrong."""
    return [wrong for _ in ("watch", "load") for wrong in process.ask("finish")["wrong"]]


class Run:
    """A crew of ``members`` processes to which the faults of ``seed`` happen."""

    def __init__(self, crew: Crew, seed: int, members: int, say: Callable[[str], None] = lambda line: None) -> None:
        self._crew = crew
        self._seed = seed
        self._members = members
        self._say = say
        self._records: list[Path] = []
        self._numbers = itertools.count()
        self._patches = itertools.count(1)
        self._patch_at = 0.0
        self._begun = 0.0
        self._pending: list[tuple[float, str, Callable[[], None]]] = []
        self._steps: deque[str] = deque(maxlen=LAST_STEPS)
        self._done: Counter[str] = Counter()
        self._wrong: list[object] = []
        self._waiting: set[int] = set()  # who would wait at its exit for children of multiprocessing
        self._judge: Judge

    def run(self, seconds: float) -> Report:
        """Let faults happen for so long, let the crew recover, and draw up the account."""
        for process in self._crew.start(self._members, **_OPTIONS):
            self._occupy(process)
        self._crew.leader()
        self._judge = Judge(self._crew, STALE_LIMIT)
        self._judge.start()
        self._begun = time.monotonic()
        for step in schedule(self._seed, self._members):
            if time.monotonic() - self._begun >= seconds or self._judge.breach:
                break
            self._try(step)
            if step.settled:
                # A leader that lost many connections waits long for the next one: others may happen meanwhile.
                self._pass(lambda: self._judge.well, GATE)
            self._pass(lambda: False, step.pause)
        return self._account(time.monotonic() - self._begun)

    def _try(self, step: Step) -> None:
        self._done[step.fault.value] += 1
        self._note(str(step))
        self._judge.meanwhile(step.fault.value)
        try:
            self._do(step)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._judge.broken(traceback.format_exc())  # a process that does not answer, arrive or end

    # The account

    def _account(self, seconds: float) -> Report:
        try:
            self._come_to_rest()
        except (AssertionError, OSError):
            self._judge.broken(traceback.format_exc())
        keys = self._crew.recorded(self._records)
        lost = self._judge.ledger.lacking(keys, PATIENCE)
        self._judge.finish()
        terms = len(self._judge.epochs)
        # A batch in flight for each leader that ended, and for each time that the server died over an answer.
        bound = BATCH * (terms - 1 + self._done[Fault.OUTAGE.value])
        duplicates = self._judge.ledger.duplicates()
        broken = [self._judge.breach] if self._judge.breach else []
        broken += [f"wrong: {wrong}" for wrong in self._wrong]
        if lost:
            broken.append(f"{len(lost)} events are lost: {sorted(lost)[:10]}")
        if duplicates > bound:
            broken.append(f"{duplicates} duplicates are more than {bound}")
        return Report(
            seed=self._seed,
            seconds=seconds,
            faults=self._done,
            times=self._judge.recovery.times,
            evaluations=len(keys),
            lost=len(lost),
            duplicates=duplicates,
            duplicates_bound=bound,
            leaderships=terms,
            overlaps=self._judge.overlaps,
            regressions=self._judge.regressions,
            broken=broken,
            last_steps=list(self._steps),
        )

    def _come_to_rest(self) -> None:
        """End all that lasts, see that a last patch reaches everybody who is left, and end the load."""
        self._end(lambda due, what: True)
        self._pass(lambda: self._judge.well)  # the judge has a limit for that
        number = next(self._patches)
        self._crew.server.patch(**_patch(number))
        for process in self._crew.processes:
            seen = process.ask("wait_value", "number", number, GATE)
            if seen != number:
                self._judge.broken(f"process {process.pid} sees {seen} and not {number} when all is over")
        for process in self._crew.processes:
            self._wrong += _finish(process)

    # Time

    def _pass(self, condition: Callable[[], bool], seconds: float = math.inf) -> None:
        """Let time pass until the condition is true or a promise broken: patches go out, what lasted ends."""
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline and not self._judge.breach:
            now = time.monotonic()
            if now >= self._patch_at:
                self._patch_at = now + PATCH_EVERY
                self._crew.server.patch(**_patch(next(self._patches)))
            self._end(lambda due, what: due <= now)  # noqa: B023 - asked at once
            time.sleep(0.002)

    def _later(self, seconds: float, what: str, end: Callable[[], None]) -> None:
        self._pending.append((time.monotonic() + seconds, what, end))

    def _end(self, which: Callable[[float, str], bool]) -> None:
        """End what lasts."""
        ending = [entry for entry in self._pending if which(entry[0], entry[1])]
        self._pending = [entry for entry in self._pending if entry not in ending]
        for _, what, end in ending:
            self._note(f"end: {what}")
            end()

    def _note(self, what: str) -> None:
        line = f"{time.monotonic() - self._begun:8.3f} {what}"
        self._steps.append(line)
        self._say(line)

    # Members

    def _occupy(self, process: Process, seen: int = -1) -> None:
        """Give a member its work; a forked one must not see less than its parent had."""
        name = f"m{next(self._numbers)}"
        path = self._crew.directory / f"record-{name}"
        self._records.append(path)
        process.ask("start", "load", str(path), name, RATE)
        process.ask("start", "watch", READ_EVERY, seen)

    def _running(self) -> list[Process]:
        """Those that do not stand still; so many that some are left whatever happens to one or two."""
        frozen = self._judge.frozen()
        if len(self._crew.processes) - len(frozen) < FEWEST:
            self._end(lambda due, what: what.startswith("stopped"))
            frozen = self._judge.frozen()
        return [process for process in self._crew.processes if process.pid not in frozen]

    def _leader(self, choice: int) -> Process:
        """The leader, or anybody where the leader stands still or just died."""
        running = self._running()
        leader = self._crew.control().leader_pid
        return next((each for each in running if each.pid == leader), running[choice % len(running)])

    def _follower(self, choice: int, besides: Process | None = None) -> Process:
        leader = self._crew.control().leader_pid
        others = [process for process in self._running() if process.pid != leader and process is not besides]
        return others[choice % len(others)]

    # Faults

    def _do(self, step: Step) -> None:
        fault, server = step.fault, self._crew.server
        match fault:
            case Fault.KILL_LEADER:
                self._kill(self._leader(step.choice))
            case Fault.KILL_FOLLOWER:
                self._kill(self._follower(step.choice))
            case Fault.KILL_TWO:
                leader = self._leader(step.choice)
                self._kill(leader, self._follower(step.choice, besides=leader))
            case Fault.STOP_LEADER:
                self._stop(self._leader(step.choice), step.seconds)
            case Fault.STOP_FOLLOWER:
                self._stop(self._follower(step.choice), step.seconds)
            case Fault.LEAVE_LEADER:
                self._leave(self._leader(step.choice))
            case Fault.LEAVE_FOLLOWER:
                self._leave(self._follower(step.choice))
            case Fault.START:
                self._occupy(self._crew.one(**_OPTIONS))
            case Fault.FORK | Fault.MULTIPROCESS:
                self._fork(self._running()[step.choice % FEWEST], fault.name.lower())
            case Fault.DROP:
                server.drop_connections()
            case Fault.CLOSE_1011:
                server.drop_connections(1011)
            case Fault.FAIL_POSTS:
                server.fail_insights(*[503] * (1 + step.choice % 3))
            case Fault.CUT_POSTS:
                server.fail_insights(*[None] * (1 + step.choice % 3))
            case Fault.REFUSE_1011 | Fault.OUTAGE | Fault.STALL | Fault.SLOW_POSTS:
                self._misbehave(fault, step.seconds)

    def _kill(self, *processes: Process) -> None:
        leader = self._crew.control().leader_pid
        for process in processes:
            self._crew.processes.remove(process)
        if any(process.pid == leader for process in processes):
            self._judge.disturbed("the leader was killed")
        for process in processes:
            process.signal(signal.SIGKILL)
        for process in processes:
            process.gone()

    def _stop(self, process: Process, seconds: float) -> None:
        if process.pid == self._crew.control().leader_pid and seconds > STALE_LIMIT:
            self._judge.disturbed("the leader was stopped", STALE_LIMIT)
        self._judge.stopped(process.pid)
        process.signal(signal.SIGSTOP)

        def go_on() -> None:
            self._judge.continued(process.pid)
            process.signal(signal.SIGCONT)

        self._later(seconds, f"stopped {process.pid}", go_on)

    def _leave(self, process: Process) -> None:
        if process.pid in self._waiting:
            self._kill(process)
            return
        self._wrong += _finish(process)  # a client that was stopped sends no more events
        self._crew.processes.remove(process)
        if process.pid == self._crew.control().leader_pid:
            self._judge.disturbed("the leader left", 2 * GATE)  # it has some seconds for that, then they have theirs
        try:
            process.leave()
        except subprocess.TimeoutExpired:
            process.end()
            raise

    def _fork(self, parent: Process, how: str) -> None:
        seen = parent.ask("value", "number")
        (pid,) = parent.ask(how)
        if how == "multiprocess":
            self._waiting.add(parent.pid)
        self._occupy(self._crew.arrival(pid), int(seen))

    def _misbehave(self, fault: Fault, seconds: float) -> None:
        server = self._crew.server
        begin, end, limit = {
            Fault.REFUSE_1011: (lambda: self._refuse(1011), lambda: self._refuse(None), GATE),
            Fault.OUTAGE: (server.stop, server.start, GATE),
            Fault.STALL: (server.stall, lambda: server.stall(False), STALL_LIMIT),
            Fault.SLOW_POSTS: (lambda: self._slow(0.3), lambda: self._slow(0.0), 0.0),
        }[fault]
        self._end(lambda due, what: what == fault.value)  # the one before
        self._judge.server_fault(fault.value, limit)
        begin()

        def over() -> None:
            end()
            self._judge.server_fault(fault.value, None)

        self._later(seconds, fault.value, over)

    def _refuse(self, code: int | None) -> None:
        self._crew.server.refuse(code)
        if code is not None:
            self._crew.server.drop_connections(code)

    def _slow(self, seconds: float) -> None:
        self._crew.server.insight_delay = seconds
