"""What happens to the crew, as a pure function of the seed: only the times vary from run to run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

__all__ = ["FEWEST", "Fault", "Step", "schedule"]

FEWEST = 3  # members that are there at any time
_MORE = 2  # members beyond the number asked for, at most


class Fault(Enum):
    """What is done, and to whom."""

    KILL_LEADER = "kill the leader"
    KILL_FOLLOWER = "kill a follower"
    KILL_TWO = "kill the leader and a follower"
    STOP_LEADER = "stop the leader"
    STOP_FOLLOWER = "stop a follower"
    LEAVE_LEADER = "let the leader leave"
    LEAVE_FOLLOWER = "let a follower leave"
    START = "start a process"
    FORK = "fork"
    MULTIPROCESS = "fork by multiprocessing"
    DROP = "cut all connections"
    CLOSE_1011 = "close all connections with 1011"
    REFUSE_1011 = "refuse connections with 1011"
    OUTAGE = "stop the server"
    STALL = "stall the server"
    FAIL_POSTS = "answer posts with 503"
    CUT_POSTS = "cut posts"
    SLOW_POSTS = "answer posts late"


_WEIGHTS = {
    Fault.KILL_LEADER: 5,
    Fault.KILL_FOLLOWER: 2,
    Fault.KILL_TWO: 1,
    Fault.STOP_LEADER: 4,
    Fault.STOP_FOLLOWER: 2,
    Fault.LEAVE_LEADER: 1,
    Fault.LEAVE_FOLLOWER: 1,
    Fault.START: 2,
    Fault.FORK: 2,
    Fault.MULTIPROCESS: 1,
    Fault.DROP: 2,
    Fault.CLOSE_1011: 2,
    Fault.REFUSE_1011: 1,
    Fault.OUTAGE: 1,
    Fault.STALL: 1,
    Fault.FAIL_POSTS: 1,
    Fault.CUT_POSTS: 1,
    Fault.SLOW_POSTS: 1,
}
_CHANGES = {
    Fault.KILL_LEADER: -1,
    Fault.KILL_FOLLOWER: -1,
    Fault.KILL_TWO: -2,
    Fault.LEAVE_LEADER: -1,
    Fault.LEAVE_FOLLOWER: -1,
    Fault.START: 1,
    Fault.FORK: 1,
    Fault.MULTIPROCESS: 1,
}
_SHORT_STOP, _LONG_STOP = (0.1, 0.8), (2.5, 5.0)  # seconds; the stale limit of a run lies between
_LASTING = {
    Fault.REFUSE_1011: (0.1, 0.6),
    Fault.OUTAGE: (0.2, 1.5),
    Fault.STALL: (0.2, 1.5),
    Fault.SLOW_POSTS: (0.5, 2.0),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One fault.

    Attributes:
        choice: which one of those that it can happen to, counted round.
        seconds: how long it lasts; 0 for what is over at once.
        settled: whether the crew gets the time to recover before the next step.
        pause: seconds until the next step, after that.
    """

    fault: Fault
    choice: int
    seconds: float
    settled: bool
    pause: float

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.2f} s" if self.seconds else ""
        return f"{self.fault.value} [{self.choice}]{lasting}, {'settle, ' if self.settled else ''}{self.pause:.2f} s"


def schedule(seed: int, members: int) -> Iterator[Step]:
    """The endless schedule of a seed for a crew that begins with so many members."""
    chance = random.Random(seed)
    count = members
    while True:
        fitting = [fault for fault in _WEIGHTS if FEWEST <= count + _CHANGES.get(fault, 0) <= members + _MORE]
        fault = chance.choices(fitting, [_WEIGHTS[each] for each in fitting])[0]
        count += _CHANGES.get(fault, 0)
        yield Step(
            fault,
            chance.randrange(1000),
            _seconds(fault, chance),
            chance.random() < 0.6,
            chance.uniform(0.0, 0.3),
        )


def _seconds(fault: Fault, chance: random.Random) -> float:
    if fault in (Fault.STOP_LEADER, Fault.STOP_FOLLOWER):
        return chance.uniform(*chance.choice((_SHORT_STOP, _LONG_STOP)))
    return chance.uniform(*_LASTING[fault]) if fault in _LASTING else 0.0
