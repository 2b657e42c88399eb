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

__all__ = ["run_soon", "wait_until_gone"]

_COUNTS_AFTER_HOOKS = (3, 13) <= sys.version_info[:2] <= (3, 14) and sys.implementation.name == "cpython"
_waiting: deque[tuple[int, Callable[[], None]]] = deque()


def wait_until_gone(thread: threading.Thread, deadline: float) -> None:
    """Wait until a joined thread is gone for the kernel too, until ``deadline`` on the monotonic clock."""
    task = f"/proc/self/task/{thread.native_id}"
    while os.path.exists(task) and time.monotonic() < deadline:
        time.sleep(0.0002)


def run_soon(call: Callable[[], None]) -> None:
    """Call this in this process when the running fork has returned, or at once where nobody counts then."""
    if not _COUNTS_AFTER_HOOKS or threading.current_thread() is not threading.main_thread():
        call()
        return
    _waiting.append((os.getpid(), call))
    if ctypes.pythonapi.Py_AddPendingCall(_callback, None) != 0:
        _run_waiting(None)  # the interpreter's list is full


def _run_waiting(_: object) -> int:
    while _waiting:
        pid, call = _waiting.popleft()
        if pid == os.getpid():  # a child may inherit what its parent had not come to yet
            call()
    return 0


_callback = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_run_waiting)
