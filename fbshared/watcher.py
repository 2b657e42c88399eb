"""The one thread of a process that looks for listeners whether something changed.

It runs while somebody is wanted to look, and pauses around forks as the leader's threads do. A forked child has
none until somebody there asks for it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

from fbshared import afterwards, uwsgi
from fbshared.shm.forked import ForkCell

__all__ = ["Watched", "Watcher", "watcher"]

log = logging.getLogger("fbshared")

POLL = 0.1  # seconds between two looks
_PAUSE_LIMIT = 0.5  # seconds that a fork waits at most


class Watched(Protocol):
    """Somebody who looks.

    Attributes:
        wanted: whether there is still a reason to.
    """

    @property
    def wanted(self) -> bool: ...

    def look(self, halted: Callable[[], bool]) -> None:
        """Look once; end as soon as ``halted`` says so, and go on with the rest next time."""


class Watcher:
    """Lets everybody who is wanted look, again and again."""

    def __init__(self) -> None:
        self._cell = ForkCell()
        self._mutex = threading.RLock()  # a signal handler that forks may come back here
        self._halt = threading.Event()
        self._watched: tuple[Watched, ...] = ()
        self._pauses = 0
        self._going = False  # whether the thread has not decided to end
        self._thread: threading.Thread | None = None
        self._told: set[str] = set()

    @property
    def here(self) -> bool:
        """Whether this is the process that made it."""
        return bool(self._cell.words[0])

    def settle(self, watched: Watched) -> None:
        """Let somebody look from now on, or no more."""
        with self._mutex:
            others = tuple(other for other in self._watched if other is not watched)
            # Asked in here: another thread may have changed its mind meanwhile.
            self._watched = (*others, watched) if watched.wanted else others
            self._start()

    def wait_until_idle(self, deadline: float) -> None:
        """Wait until nobody is called any more, if nobody is wanted, until ``deadline`` on the monotonic clock."""
        thread = self._thread
        if not self._watched and thread is not None and thread is not threading.current_thread():
            thread.join(max(deadline - time.monotonic(), 0.0))

    def pause(self) -> None:
        """Before a fork: bring the thread to its end, for half a second at most."""
        with self._mutex:
            self._pauses += 1
            self._halt.set()
            thread = self._thread
        deadline = time.monotonic() + _PAUSE_LIMIT
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(deadline - time.monotonic(), 0.0))
            afterwards.wait_until_gone(thread, deadline)

    def resume(self) -> None:
        """After the fork, in the parent: go on."""
        with self._mutex:
            self._pauses = max(self._pauses - 1, 0)
            self._start()

    def halted(self) -> bool:
        """Whether the thread should come to its end."""
        return self._halt.is_set() or not self.here

    def _start(self) -> None:
        """Run if somebody is wanted, and end if nobody is; the caller has the mutex."""
        if self._pauses:
            return
        if not self._watched:
            self._halt.set()
            return
        if trouble := uwsgi.why_no_threads():
            self._tell(f"listeners are not called in this process: {trouble}")
            return
        self._halt.clear()
        if self._going:
            return  # a pause did not last until its end
        _prepare_forks()
        thread = threading.Thread(target=self._run, name="fbshared-listeners", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            self._tell(f"listeners are not called in this process: {error}")
            return
        self._thread, self._going = thread, True

    def _run(self) -> None:
        try:
            while self._goes_on():
                for watched in self._watched:
                    self._look(watched)
                self._halt.wait(POLL)
        except BaseException:
            self._going = False
            raise

    def _goes_on(self) -> bool:
        if not self.here:  # a listener forked: whoever held the mutex is not in this process
            return False
        with self._mutex:
            self._going = not self._halt.is_set()
            return self._going

    def _look(self, watched: Watched) -> None:
        try:
            if not self.halted():
                watched.look(self.halted)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are looked for
            self._tell(f"looking for changes failed, trying on: {type(error).__name__}")

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
        afterwards.around_forks(_before_fork, _after_fork, _in_child)
        uwsgi.around_forks_in_c(_before_fork, _after_fork)


def _before_fork() -> None:
    for made in list(_watchers.values()):
        if made.here:
            made.pause()


def _after_fork() -> None:
    for made in list(_watchers.values()):
        if made.here:
            made.resume()


def _in_child() -> None:
    _watchers.clear()
