"""Timing contenders against each other on a machine that does other things too.

In every round each contender works for the same short time, one right after the other, and the next round begins with
another one. Before and after each round a fixed loop of Python is timed: it is the same work every time, so a round in
which it took much longer was disturbed, by other processes or by the processor's clock, and is left out. What is
compared are medians, and for a ratio the median of the ratios within each round.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from tests.benchmarks.contenders.contender import Call
from tests.benchmarks.rows import Report

SLICE = 400e-6  # seconds of one contender in a round
TOLERATED = 1.25  # times the best calibration


@dataclass(frozen=True, slots=True)
class Samples:
    """Seconds of one call: for each contender one figure of every round that was not disturbed."""

    times: dict[str, list[float]]
    rounds: int
    kept: int
    calibration: float  # the best of the loop, in seconds

    def ratios(self, name: str, to: str) -> float | None:
        """How many times faster than another contender."""
        if to not in self.times or name not in self.times:
            return None
        return median(other / own for own, other in zip(self.times[name], self.times[to], strict=True))

    def tell(self, report: Report, work: str) -> None:
        """Say so where most rounds were disturbed."""
        if self.kept < self.rounds / 2:
            report.notes.append(f"{work}: the machine was busy, {self.kept} of {self.rounds} rounds count.")


def alternate(calls: Mapping[str, Call], rounds: int, most: int = 1_000_000) -> Samples:
    """Time these calls, at most so often in a round."""
    timers = {name: call.timer() for name, call in calls.items()}
    counts = {}
    for name, timer in timers.items():
        timer(1)
        once = min(timer(1), timer(1))
        counts[name] = max(min(int(SLICE / once), most), 1)
        calls[name].empty()
    names = list(calls)
    found: list[tuple[float, dict[str, float]]] = []
    gc.collect()
    gc.freeze()  # the environments of all contenders are garbage of none
    try:
        before = calibrate()
        for number in range(rounds):
            first = number % len(names)
            times = {}
            for name in names[first:] + names[:first]:
                times[name] = timers[name](counts[name]) / counts[name]
                calls[name].empty()
            after = calibrate()
            found.append((max(before, after), times))
            before = after
    finally:
        gc.unfreeze()
    return _undisturbed(names, found)


def _undisturbed(names: list[str], found: list[tuple[float, dict[str, float]]]) -> Samples:
    best = min(calibration for calibration, _ in found)
    kept = [times for calibration, times in found if calibration <= best * TOLERATED]
    chosen = kept if len(kept) >= min(10, len(found)) else [times for _, times in found]
    return Samples({name: [times[name] for times in chosen] for name in names}, len(found), len(kept), best)


def calibrate() -> float:
    """Seconds of a fixed piece of work that calls nothing."""
    started = perf_counter()
    total = 0
    for number in range(2000):
        total += number & 7
    return perf_counter() - started
