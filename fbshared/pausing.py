"""A thread that pauses around forks.

It comes to a safe point and ends before a fork, so that a child inherits no half-done work and Python has no thread
to warn about; afterwards it begins again in the parent. A fork waits for it a moment and no longer: one that is in the
middle of something slow goes on where it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from fbshared import afterwards, uwsgi
from fbshared.shm.forked import ForkCell

__all__ = ["PausingThread", "around_forks"]

PAUSE_LIMIT = 0.5  # seconds that a fork waits at most, unless somebody says that it needs more


class Halt(Protocol):
    """What tells the work that it should come to its end."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...

    def clear(self) -> None: ...


class PausingThread:
    """Works in the background from ``start`` until ``rest`` or ``end``; one thread at a time.

    Args:
        name: the thread's.
        halt: set while the thread should come to its end.
        work: called again and again; returns soon once ``halt`` is set.
        cannot: told that the system has no thread left.
        last: the last thing to do, called once after ``end``.
        patience: seconds that a fork waits at most, asked before each.
    """

    def __init__(
        self,
        name: str,
        halt: Halt,
        work: Callable[[], None],
        cannot: Callable[[RuntimeError], None],
        last: Callable[[], None] = lambda: None,
        patience: Callable[[], float] = lambda: PAUSE_LIMIT,
    ) -> None:
        self._name = name
        self._halt = halt
        self._work = work
        self._cannot = cannot
        self._last: Callable[[], None] | None = last
        self._patience = patience
        self._cell = ForkCell()
        self._mutex = threading.RLock()  # a signal handler that forks may come back here
        self._wanted = False
        self._ended = False
        self._pauses = 0
        self._going = False  # whether the thread has not decided to end
        self._thread: threading.Thread | None = None

    @property
    def here(self) -> bool:
        """Whether this is the process that made it, and not a child."""
        return bool(self._cell.words[0])

    @property
    def runs(self) -> bool:
        """Whether it works, or is about to do the last thing."""
        return self._going

    def start(self) -> bool:
        """Work from now on, or from the end of a pause; False where it has ended for good."""
        with self._mutex:
            self._wanted = not self._ended
            self._go_on()
            return self._wanted

    def rest(self) -> None:
        """Work no more until the next start."""
        with self._mutex:
            self._wanted = False
            self._halt.set()

    def end(self) -> None:
        """Work never again, and do the last thing in the background."""
        with self._mutex:
            if self._ended:
                return
            self._ended, self._wanted = True, False
            self._halt.set()
            if not self._going:
                self._launch()

    def pause(self) -> None:
        """Before a fork: bring the thread to its end, as far as patience lasts."""
        with self._mutex:
            self._pauses += 1
            self._halt.set()
            thread = self._thread
        deadline = time.monotonic() + self._patience()
        if self.wait(deadline) and thread is not None:
            afterwards.wait_until_gone(thread, deadline)

    def resume(self) -> None:
        """After the fork, in the parent: go on."""
        with self._mutex:
            self._pauses = max(self._pauses - 1, 0)
            self._go_on()

    def wait(self, deadline: float) -> bool:
        """Wait for the thread's end until ``deadline`` on the monotonic clock; False where it does not come. The
        thread itself has nothing to wait for."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(max(deadline - time.monotonic(), 0.0))
        return not thread.is_alive()

    def _go_on(self) -> None:
        if self._wanted and not self._pauses:
            self._halt.clear()
            if not self._going:  # else a pause did not last until its end
                self._launch()

    def _launch(self) -> None:
        """The caller has the mutex."""
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            self._cannot(error)
            return
        self._thread, self._going = thread, True

    def _run(self) -> None:
        try:
            while step := self._next():
                step()
        except BaseException:
            self._going = False
            raise

    def _next(self) -> Callable[[], None] | None:
        """What the thread does now; None when it ends, which nobody can take back any more."""
        if not self.here:  # its work forked: whoever held the mutex is not in this process
            return None
        with self._mutex:
            if self._ended:
                step, self._last = self._last, None
            else:
                step = None if self._halt.is_set() else self._work
            self._going = step is not None
            return step


def around_forks(threads: Callable[[], Iterable[PausingThread]], in_child: Callable[[], None]) -> None:
    """Pause these threads around each fork, of Python and of uWSGI, and call ``in_child`` in children of Python's.

    Only those of this process: one that was forked in C may fork again before it has noticed that it is a child.
    """

    def before() -> None:
        for thread in threads():
            if thread.here:
                thread.pause()

    def after() -> None:
        for thread in threads():
            if thread.here:
                thread.resume()

    afterwards.around_forks(before, after, in_child)
    uwsgi.around_forks_in_c(before, after)
