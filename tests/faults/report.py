"""What a run found, for people and for the test."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass

__all__ = ["Report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run found; ``broken`` is empty when all promises were kept."""

    seed: int
    seconds: float
    faults: Counter[str]
    times: dict[str, list[float]]
    evaluations: int
    lost: int
    duplicates: int
    duplicates_bound: int
    leaderships: int
    overlaps: list[float]
    regressions: int
    broken: list[str]
    last_steps: list[str]

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in self.faults.most_common())
        sent = f"lost {self.lost}, duplicates {self.duplicates} of {self.duplicates_bound} allowed"
        longest = f"{len(self.overlaps)}, the longest {max(self.overlaps, default=0.0):.3f} s"
        lines = [
            f"seed {self.seed}, {self.seconds:.0f} s, {self.faults.total()} faults: {kinds}",
            *(f"back in sync after {cause}: {_figures(times)}" for cause, times in sorted(self.times.items())),
            f"leaderships {self.leaderships}, evaluations {self.evaluations}, {sent}",
            f"two connections at once: {longest}; the publication word went back {self.regressions} times",
        ]
        if self.broken:
            lines += [f"BROKEN with seed {self.seed}:", *(f"  {what}" for what in self.broken), "last steps:"]
            lines += [f"  {step}" for step in self.last_steps]
        return "\n".join(lines)


def _figures(times: list[float]) -> str:
    p99 = statistics.quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else times[0]
    return f"{len(times)} times, p50 {statistics.median(times):.3f} s, p99 {p99:.3f} s, worst {max(times):.3f} s"
