"""What a benchmark returns, and how it is shown: a table for people, a document for programs.

A benchmark is a module with ``measure(options) -> Report`` whose name stands in ``tests.benchmarks.__main__``. It asks
``options.wants(name)`` before it spends time on a row, and with ``options.quick`` it does just enough to show that it
works. What it can't measure here it leaves out and says in ``Report.left_out``; what a reader must know to compare
fairly goes to ``Report.notes``.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import quantiles
from typing import Any

REFERENCE = "fb-python-sdk"


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    quick: bool = False
    only: str = ""

    def wants(self, name: str) -> bool:
        return self.only in name


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, and whether it was reached."""

    goal: str
    met: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One contender at one piece of work: the median of its samples and how far apart they lie."""

    benchmark: str
    work: str
    contender: str
    unit: str
    median: float
    low: float  # the 10th percentile
    high: float  # the 90th
    ratio: float | None = None  # how many times better than the reference in the same rounds; above 1 is better
    limit: float | None = None  # in the same unit: what nothing in Python could undercut
    verdicts: tuple[Verdict, ...] = ()

    @classmethod
    def of(cls, benchmark: str, work: str, contender: str, unit: str, samples: Sequence[float], **more: Any) -> Row:
        """The row of these samples."""
        return cls(benchmark, work, contender, unit, *spread(samples), **more)


@dataclass(slots=True)
class Report:
    """What one benchmark, or all of them, found."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.rows += other.rows
        self.notes += (note for note in other.notes if note not in self.notes)
        self.left_out += (reason for reason in other.left_out if reason not in self.left_out)


def spread(samples: Sequence[float]) -> tuple[float, float, float]:
    """Median, 10th and 90th percentile."""
    if len(samples) == 1:
        return samples[0], samples[0], samples[0]
    tenths = quantiles(samples, n=10, method="inclusive")
    return tenths[4], tenths[0], tenths[8]


def table(rows: Iterable[Row]) -> str:
    """The rows for people, a block for each work."""
    lines: list[str] = []
    header = ("", "median", "p10", "p90", "unit", "ratio", "limit", "goal")
    last = None
    for row in rows:
        if (row.benchmark, row.work) != last:
            last = (row.benchmark, row.work)
            lines += ["", f"{row.benchmark}: {row.work}", _line(header)]
        limit = "" if row.limit is None else f"{row.median / row.limit:.1f} x {number(row.limit)}"
        ratio = "" if row.ratio is None else f"{number(row.ratio)} x"
        goals = "; ".join(f"{each.goal}: {'met' if each.met else 'MISSED'}" for each in row.verdicts)
        figures = (number(row.median), number(row.low), number(row.high))
        lines.append(_line((row.contender, *figures, row.unit, ratio, limit, goals)))
    return "\n".join(lines).lstrip("\n")


def _line(cells: Sequence[str]) -> str:
    name, *figures, limit, goal = cells
    return f"  {name:20}{''.join(f'{cell:>10}' for cell in figures)}{limit:>15}  {goal}".rstrip()


def number(value: float) -> str:
    """Three digits that count, without an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def document(report: Report, **circumstances: Any) -> dict[str, Any]:
    """Everything that was found, for JSON."""
    return {**circumstances, **asdict(report)}


def report_of(document: Mapping[str, Any]) -> Report:
    """The report of a document, to draw it again without measuring."""
    rows = [Row(**{**row, "verdicts": tuple(Verdict(**each) for each in row["verdicts"])}) for row in document["rows"]]
    return Report(rows, list(document["notes"]), list(document["left_out"]))


def machine() -> dict[str, Any]:
    """Where this is measured."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": os.cpu_count(),
    }


def load() -> float:
    """Of the last minute; this benchmark alone makes 1, and more while it measures threads."""
    return round(os.getloadavg()[0], 2)
