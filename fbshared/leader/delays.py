"""How long to wait between tries."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["delays"]


def delays(first: float, longest: float) -> Iterator[float]:
    """Doubling delays in seconds, each between a half and the whole of its step, so that hosts do not try together."""
    step = min(first, longest)
    while True:
        yield step * random.uniform(0.5, 1.0)
        step = min(step * 2, longest)
