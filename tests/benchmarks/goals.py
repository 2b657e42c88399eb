"""What fbshared has set itself, as factors between contenders in one run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.benchmarks.contenders.field import DICT, PREPARED, STATSIG
from tests.benchmarks.rounds import Samples
from tests.benchmarks.rows import REFERENCE, Row, Verdict


@dataclass(frozen=True, slots=True)
class Goal:
    """To be at least so many times as fast as another contender."""

    work: str
    contender: str
    factor: float
    other: str

    @property
    def text(self) -> str:
        if self.factor == 1:
            return f"faster than {self.other}"
        if self.factor < 1:
            return f"within {1 / self.factor:.1f} x {self.other}"
        return f"{self.factor:g} x {self.other}"


CONSTANT = 1.2  # times the time with the smaller segment
_SEGMENTS = ("segment of 10000, user absent", "segment of 10000, user last")
GOALS = [
    *(Goal("boolean", each, 40, REFERENCE) for each in (DICT, PREPARED)),
    *(Goal("boolean", each, 1, STATSIG) for each in (DICT, PREPARED)),
    Goal("boolean, event", DICT, 9, REFERENCE),
    Goal("boolean, event", PREPARED, 15, REFERENCE),
    Goal("boolean, event", PREPARED, 1, STATSIG),
    Goal("rollout, event", PREPARED, 1, STATSIG),
    Goal("5 rules of 2 conditions, event", PREPARED, 12, REFERENCE),
    Goal("5 rules of 2 conditions, event", PREPARED, 1 / 1.2, STATSIG),
    *(Goal(work, each, 100, REFERENCE) for work in _SEGMENTS for each in (DICT, PREPARED)),
    *(Goal("all flags of 1000", each, 8, REFERENCE) for each in (DICT, PREPARED)),
]


def verdicts(work: str, contender: str, samples: Samples) -> tuple[Verdict, ...]:
    """Which of the goals these samples meet; a goal whose other contender is left out is not judged."""
    found = []
    for goal in GOALS:
        if (goal.work, goal.contender) == (work, contender):
            ratio = samples.ratios(contender, goal.other)
            if ratio is not None:
                found.append(Verdict(goal.text, ratio >= goal.factor))
    return tuple(found)


def constant(rows: list[Row]) -> list[Row]:
    """The rows, with a verdict on whether a segment of 10,000 takes as long as one of 100."""
    small = {(row.work, row.contender): row.median for row in rows if row.work.startswith("segment of 100,")}
    return [_judged(row, small.get((row.work.replace("10000", "100"), row.contender))) for row in rows]


def _judged(row: Row, small: float | None) -> Row:
    if small is None or row.work not in _SEGMENTS or row.contender not in (DICT, PREPARED):
        return row
    times = row.median / small
    verdict = Verdict(f"constant in the size (is {times:.2f} of 100 keys)", times <= CONSTANT)
    return replace(row, verdicts=(*row.verdicts, verdict))
