"""How long to wait between tries."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["LENGTHENED", "delays"]


Jitter = tuple[float, float]

SHORTENED: Jitter = (0.5, 1.0)
LENGTHENED: Jitter = (1.0, 1.25)  # where nobody may come sooner


def delays(first: float, longest: float, jitter: Jitter = SHORTENED) -> Iterator[float]:
    """Doubling delays in seconds, each its step times a chance of ``jitter``, so that hosts do not try together."""
    step = min(first, longest)
    while True:
        yield step * random.uniform(*jitter)
        step = min(step * 2, longest)
