"""The one thread of a process that looks for listeners whether something changed.

It runs while somebody is wanted to look, and pauses around forks as the leader's threads do. A forked child has
none until somebody there asks for it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Protocol

from fbshared import pausing, uwsgi
from fbshared.pausing import PausingThread, around_forks

__all__ = ["Watched", "Watcher", "watcher"]

log = logging.getLogger("fbshared")

POLL = 0.1  # seconds between two looks


class Watched(Protocol):
    """Somebody who looks.

    Attributes:
        wanted: whether there is still a reason to.
        patience: seconds that a fork waits for it beyond the ordinary, because it is in the middle of something.
    """

    patience: float

    @property
    def wanted(self) -> bool: ...

    def look(self, halted: Callable[[], bool]) -> None:
        """Look once; end as soon as ``halted`` says so, and go on with the rest next time."""


class Watcher:
    """Lets everybody who is wanted look, again and again.

    Attributes:
        thread: where they look.
    """

    def __init__(self) -> None:
        self._mutex = threading.RLock()  # a signal handler that forks may come back here
        self._halt = threading.Event()
        self._watched: tuple[Watched, ...] = ()
        self._told: set[str] = set()
        self.thread = PausingThread(
            "fbshared-watcher", self._halt, self._look_round, self._cannot, patience=self._patience
        )

    @property
    def here(self) -> bool:
        """Whether this is the process that made it."""
        return self.thread.here

    def settle(self, watched: Watched) -> None:
        """Let somebody look from now on, or no more."""
        with self._mutex:
            others = tuple(other for other in self._watched if other is not watched)
            # Asked in here: another thread may have changed its mind meanwhile.
            self._watched = (*others, watched) if watched.wanted else others
            if not self._watched:
                self.thread.rest()
            elif trouble := uwsgi.why_no_threads():
                self._cannot(trouble)
            else:
                _prepare_forks()
                self.thread.start()

    def wait_until_idle(self, deadline: float) -> None:
        """Wait until nobody is called any more, if nobody is wanted, until ``deadline`` on the monotonic clock."""
        if not self._watched:
            self.thread.wait(deadline)

    def halted(self) -> bool:
        """Whether the thread should come to its end."""
        return self._halt.is_set() or not self.here

    def _patience(self) -> float:
        return max([pausing.PAUSE_LIMIT, *(watched.patience for watched in self._watched)])

    def _look_round(self) -> None:
        for watched in self._watched:
            self._look(watched)
        self._halt.wait(POLL)

    def _look(self, watched: Watched) -> None:
        try:
            if not self.halted():
                watched.look(self.halted)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are looked for
            self._tell(f"looking for changes failed, trying on: {type(error).__name__}")

    def _cannot(self, trouble: object) -> None:
        self._tell(f"listeners are not called in this process: {trouble}")

    def _tell(self, trouble: str) -> None:
        if trouble not in self._told:
            self._told.add(trouble)
            log.warning("%s", trouble)


_watchers: dict[int, Watcher] = {}
_hooked: list[bool] = []


def watcher() -> Watcher:
    """This process's own. Takes no lock: one that was inherited may be held for ever."""
    pid = os.getpid()
    found = _watchers.get(pid)
    if found is not None and not found.here:  # an ancestor's, which had the same number
        _watchers.pop(pid, None)
        found = None
    return found or _watchers.setdefault(pid, Watcher())


def _prepare_forks() -> None:
    """With the first thread and not at import: the leader's hooks, and filelock's, were registered before as a rule,
    so that this thread, which may call into all of that, pauses first."""
    if not _hooked:
        _hooked.append(True)
        around_forks(lambda: [made.thread for made in list(_watchers.values())], _watchers.clear)
