"""Forks of several threads go one after the other, for filelock's sake.

On Python 3.12 and newer filelock refuses ``os.fork``, with ``RuntimeError``, while another thread's fork is under way.
An application that forks in several threads never asked for that, so here the second waits for the first, a second
at most. Audit hooks are asked in the order in which they were added: this module adds its own before it imports
filelock, and everybody in this package has filelock from here. Where the application was first, filelock refuses as it
would without fbshared.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from threading import get_ident

from fbshared.gates import before_forks

__all__ = ["Turns", "lock_descriptor"]

_LONGEST = 1.0  # seconds that a fork waits for others
_LOOK = 0.0002


class Turns:
    """Which threads fork, and which wait until they may.

    Nobody holds anything between the audit hook and the hook before the fork: a fork that another audit hook refuses
    leaves nothing behind.
    """

    def __init__(self, longest: float = _LONGEST) -> None:
        self._longest = longest
        self._pid = os.getpid()
        self._forking: list[int] = []
        self._waiting: deque[object] = deque()

    def wait(self) -> None:
        """Wait at the beginning of a fork until it is this thread's turn."""
        if not self._forking and not self._waiting:
            return
        if self._pid != os.getpid():  # a child that was forked in C, beside another thread's fork
            self.clear()
            return
        me, thread, deadline = object(), get_ident(), time.monotonic() + self._longest
        self._waiting.append(me)
        try:
            # A hook of a fork that forks itself must not wait for its own end.
            while thread not in self._forking and (self._forking or self._waiting[0] is not me):
                if time.monotonic() >= deadline:
                    return
                time.sleep(_LOOK)
        finally:
            self._waiting.remove(me)

    def begin(self) -> None:
        """The hook before a fork."""
        self._forking.append(get_ident())

    def end(self) -> None:
        """The hook after a fork in the parent, which runs for a fork that failed, too."""
        if get_ident() in self._forking:  # an exception may have struck in ``begin``
            self._forking.remove(get_ident())

    def clear(self) -> None:
        """The hook in the child: what others of its parent were at is over."""
        self._pid = os.getpid()
        self._forking.clear()
        self._waiting.clear()


_turns = Turns()


_needed = "filelock" not in sys.modules
if _needed:
    before_forks(_turns.wait)

from filelock import lock_descriptor  # noqa: E402 - after the audit hook, and before the hooks that enclose its own

if _needed:
    os.register_at_fork(before=_turns.begin, after_in_parent=_turns.end, after_in_child=_turns.clear)
