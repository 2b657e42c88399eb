"""The threads of a leadership: one for each of its bodies, started again when one dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from fbshared import afterwards
from fbshared.leader.wake import Wake

__all__ = ["DELIVERY", "PERSISTENCE", "SYNC", "Workers"]

SYNC, DELIVERY, PERSISTENCE = "fbshared-sync", "fbshared-delivery", "fbshared-persistence"  # by their threads' names

_END_LIMIT = 2.0  # seconds


class Workers:
    """They end when ``halt`` is set, and belong to the process that started them."""

    def __init__(self, halt: Wake) -> None:
        self._halt = halt
        self._threads: list[threading.Thread] = []

    def start(self, bodies: Mapping[str, Callable[[Wake], None]]) -> None:
        """Start those that do not run, by thread name; raises RuntimeError where no thread can be started."""
        running = self.running()
        self._threads = list(running.values())
        for name, body in bodies.items():
            if name not in running:
                thread = threading.Thread(target=body, args=(self._halt,), name=name, daemon=True)
                thread.start()
                self._threads.append(thread)

    def running(self) -> dict[str, threading.Thread]:
        """Those that run, by name."""
        return {thread.name: thread for thread in self._threads if thread.is_alive()}

    @property
    def complete(self) -> bool:
        """Whether none has died."""
        return all(thread.is_alive() for thread in self._threads)

    def join(self, deadline: float) -> None:
        """Wait for all, two seconds and until ``deadline`` on the monotonic clock at most: not for a request that
        hangs, which ends by its own deadline and finds that this process leads no more."""
        deadline = min(time.monotonic() + _END_LIMIT, deadline)
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
            afterwards.wait_until_gone(thread, deadline)
        self._threads = list(self.running().values())

    def leave_behind(self) -> None:
        """Their leadership is over: one that hangs ends in its own time, and must not stand for the next one's."""
        self._threads = []
