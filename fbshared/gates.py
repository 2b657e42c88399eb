"""What a fork waits for before it begins, ahead of all hooks.

An import in another thread may register hooks while a fork is under way, which then runs but half of them. The audit
event of a fork comes before Python looks at its hooks, so this is where a fork can still wait.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident

__all__ = ["IMPORT_LIMIT", "before_forks", "importing", "torn"]

_FORKS = frozenset({"os.fork", "os.forkpty"})
IMPORT_LIMIT = 5.0  # seconds that a fork waits for an import
_LOOK = 0.001

_gates: list[Callable[[], None]] = []
_imports: list[tuple[int, int]] = []  # by process and thread


def _audit(event: str, _: object) -> None:
    # No method: the interpreter asks a hook for an attribute at each event, which a method answers slowly.
    if event in _FORKS:
        for gate in _gates:
            gate()


def before_forks(gate: Callable[[], None]) -> None:
    """Call ``gate`` at the beginning of each fork that Python makes from now on. It must not raise."""
    if not _gates:
        sys.addaudithook(_audit)
    _gates.append(gate)


@contextmanager
def importing() -> Iterator[None]:
    """Let the forks of other threads wait meanwhile, five seconds at most."""
    if _wait_for_imports not in _gates:
        before_forks(_wait_for_imports)
    entry = os.getpid(), get_ident()
    _imports.append(entry)
    try:
        yield
    finally:
        _imports.remove(entry)


def torn() -> bool:
    """Whether this process was forked in the middle of an import, in C or after too long a wait.

    Whoever imports the same module here waits for a thread that does not exist.
    """
    return any(pid != os.getpid() for pid, _ in list(_imports))


def _wait_for_imports() -> None:
    deadline = time.monotonic() + IMPORT_LIMIT
    while _others() and time.monotonic() < deadline:
        time.sleep(_LOOK)


def _others() -> bool:
    """Whether another thread of this process imports; what a parent's threads were at is over."""
    return any(pid == os.getpid() and thread != get_ident() for pid, thread in list(_imports))
