"""What the parts of the host benchmark share: how much of everything, and how they report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import MappingProxyType

from tests.benchmarks.rows import REFERENCE, Report, Row, Verdict

OURS = "fbshared"
NAMES = (OURS, REFERENCE) if find_spec("fbclient") else (OURS,)
MB = 1e6
GAP = 0.001  # seconds between two evaluations of whoever waits for a patch


class Size:
    """How much of everything."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.workers = 3 if quick else 16
        self.small = 100 if quick else 1_000
        self.large = 300 if quick else 10_000
        self.patches = 5 if quick else 100
        self.looks = 5 if quick else 50
        self.told = 3 if quick else 20
        self.rounds = 1 if quick else 3
        self.syncs = 1 if quick else 8
        self.imports = 2 if quick else 15
        self.failovers = 1 if quick else 12
        self.kills = 2 if quick else 4
        self.seconds = 0.5 if quick else 10.0


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that is not below so large a share of all."""
    return sorted(samples)[min(int(len(samples) * share), len(samples) - 1)]


def add(
    report: Report,
    work: str,
    name: str,
    unit: str,
    samples: Sequence[float],
    *verdicts: Verdict,
    limit: float | None = None,
) -> None:
    report.rows.append(Row.of("host", work, name, unit, samples, verdicts=verdicts, limit=limit))


def add_percentiles(
    report: Report,
    work: str,
    name: str,
    rounds: Sequence[Sequence[float]],
    goals: Mapping[float, float] = MappingProxyType({}),
    limits: Sequence[Sequence[float]] = (),
) -> None:
    """A row of the median in milliseconds and one of the 99th percentile, each with its spread over the rounds."""
    for share in (0.5, 0.99):
        figures = [percentile(each, share) for each in rounds]
        limit = percentile([percentile(each, share) for each in limits], 0.5) if limits else None
        verdicts = (below(f"{goals[share]:g} ms", goals[share], figures),) if share in goals else ()
        add(report, f"{work}, p{share * 100:g}", name, "ms", figures, *verdicts, limit=limit)


def goal(text: str, met: bool) -> Verdict:
    return Verdict(text, met)


def below(text: str, limit: float, samples: Sequence[float]) -> Verdict:
    return Verdict(f"under {text}", percentile(samples, 0.5) < limit)
