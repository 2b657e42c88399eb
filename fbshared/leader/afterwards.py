"""What has to wait until a fork is really over.

Python 3.12 and newer warn when a process with several threads forks, and count the threads in the parent: 3.12 may
still see one that was joined a moment ago, and 3.13 counts only after the hooks have run. So a fork waits until a
joined thread is gone for the kernel too, and threads are started again from the interpreter's next safe moment.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType

__all__ = ["run_soon", "wait_until_gone"]

_COUNTS_AFTER_HOOKS = (3, 13) <= sys.version_info[:2] <= (3, 14) and sys.implementation.name == "cpython"
_waiting: deque[tuple[int, FrameType, int, Callable[[], None]]] = deque()


def wait_until_gone(thread: threading.Thread, deadline: float) -> None:
    """Wait until a joined thread is gone for the kernel too, until ``deadline`` on the monotonic clock."""
    if thread.native_id == threading.get_native_id():
        return  # a greenlet: the kernel knows nothing of it
    task = f"/proc/self/task/{thread.native_id}"
    while os.path.exists(task) and time.monotonic() < deadline:
        time.sleep(0.0002)


def run_soon(call: Callable[[], None]) -> None:
    """As a fork hook itself does: call this when the running fork has returned, or at once where nobody counts then."""
    forker = sys._getframe(1).f_back  # this function's caller is the hook
    if not _COUNTS_AFTER_HOOKS or forker is None or threading.current_thread() is not threading.main_thread():
        call()
        return
    _waiting.append((os.getpid(), forker, forker.f_lasti, call))
    _ask()


def _ask() -> None:
    if ctypes.pythonapi.Py_AddPendingCall(_callback, None) == 0:
        return
    while _waiting:  # the interpreter's list is full: a warning at worst, where waiting on could be for ever
        pid, _, _, call = _waiting.popleft()
        if pid == os.getpid():
            call()


def _run_waiting(_: object) -> int:
    for _ in range(len(_waiting)):
        pid, forker, instruction, call = _waiting.popleft()
        if pid != os.getpid():
            continue  # a child may inherit what its parent had not come to yet
        if _is_inside(forker, instruction):
            _waiting.append((pid, forker, instruction, call))
        else:
            call()
    if _waiting:
        _ask()
    return 0


def _is_inside(forker: FrameType, instruction: int) -> bool:
    """Whether the fork's remaining hooks run: any Python code of theirs is a safe moment too, but not the one."""
    frame = sys._getframe(1).f_back
    while frame is not None and frame.f_back is not forker:
        frame = frame.f_back
    return frame is not None and forker.f_lasti == instruction


_callback = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_run_waiting)
