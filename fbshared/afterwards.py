"""What has to wait until a fork is really over.

Python 3.12 and newer warn when a process with several threads forks, and count the threads in the parent: 3.12 may
still see one that was joined a moment ago, and 3.13 counts only after the hooks have run. So a fork waits until a
joined thread is gone for the kernel too, and threads are started again from the interpreter's next safe moment.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from types import FrameType

__all__ = ["around_forks", "wait_until_gone"]

_COUNTS_AFTER_HOOKS = (3, 13) <= sys.version_info[:2] <= (3, 14) and sys.implementation.name == "cpython"


def wait_until_gone(thread: threading.Thread, deadline: float) -> None:
    """Wait until a joined thread is gone for the kernel too, until ``deadline`` on the monotonic clock."""
    if thread.native_id == threading.get_native_id():
        return  # a greenlet: the kernel knows nothing of it
    task = f"/proc/self/task/{thread.native_id}"
    while os.path.exists(task) and time.monotonic() < deadline:
        time.sleep(0.0002)


def around_forks(before: Callable[[], None], after: Callable[[], None], in_child: Callable[[], None]) -> None:
    """Call ``before`` each fork, ``after`` it in the parent when nobody counts threads any more, ``in_child`` there."""
    if not _COUNTS_AFTER_HOOKS:
        os.register_at_fork(before=before, after_in_parent=after, after_in_child=in_child)
        return
    forks = _Forks(before, after)
    os.register_at_fork(before=forks.begin, after_in_parent=forks.over_elsewhere, after_in_child=in_child)
    # No Python code: any of it would be a safe moment, and the pending call would run in the middle of the fork.
    os.register_at_fork(after_in_parent=forks.ask)


class _Forks:
    """The forks of the main thread that are not over yet; those of other threads do not wait."""

    def __init__(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        self._before = before
        self._after = after
        self._begun: deque[tuple[int, FrameType, int]] = deque()
        import ctypes  # other versions do without

        self._callback = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self.safe_moment)
        self.ask: Callable[[], object] = partial(ctypes.pythonapi.Py_AddPendingCall, self._callback, None)

    def begin(self) -> None:
        """The hook before a fork."""
        forker = sys._getframe(1)
        if threading.current_thread() is threading.main_thread():
            self._begun.append((os.getpid(), forker, forker.f_lasti))
        self._before()

    def over_elsewhere(self) -> None:
        """The hook after a fork of another thread: the main thread may be long in coming to a safe moment."""
        if threading.current_thread() is not threading.main_thread():
            self._after()

    def safe_moment(self, _: object) -> int:
        """What the interpreter calls in the main thread, in a child too that was forked before it came to that."""
        for _ in range(len(self._begun)):
            pid, forker, instruction = self._begun.popleft()
            if pid != os.getpid():
                continue
            if _is_inside(forker, instruction):
                self._begun.append((pid, forker, instruction))
                self.ask()
            else:
                self._after()
        return 0


def _is_inside(forker: FrameType, instruction: int) -> bool:
    """Whether hooks of others still run, which were registered later."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not forker:
        frame = frame.f_back
    # The callback itself stands directly on the forker's frame when all hooks are done.
    return frame is not None and frame.f_code is not _Forks.safe_moment.__code__ and forker.f_lasti == instruction
