"""Waiting for what must come true, with a deadline."""

import time
from collections.abc import Callable


def eventually(predicate: Callable[[], object], timeout: float = 15.0) -> bool:
    """Whether it comes true within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
    return True
