"""What uWSGI is to a member: threads may not run in its processes, and its forks call no hook of Python.

uWSGI's master forks without the interpreter's lock. A thread that holds the lock at that moment, or waits for it,
does not exist in the child, and the child waits for the lock for ever. So the C library is asked to call before and
after these forks; it does so for every ``fork``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["around_forks_in_c", "before_the_forks", "why_no_threads"]

# Older ones leave a thread state of Python behind in a process that forks while its threads run, which then aborts.
_FORKS_WELL = (2, 0, 27)
_callbacks: list[object] = []  # the C library calls them until the process ends


def _uwsgi() -> Any:
    """The module that uWSGI puts into its processes, None elsewhere."""
    return sys.modules.get("uwsgi") or _imported()


def _imported() -> Any:
    try:
        return __import__("uwsgi")
    except ImportError:
        return None


def why_no_threads() -> str:
    """Why no thread can run in this process; empty where they can."""
    uwsgi = _uwsgi()
    if not getattr(uwsgi, "has_threads", True):
        return "uWSGI runs no threads without --enable-threads"
    if before_the_forks() and tuple(uwsgi.version_info[:3]) < _FORKS_WELL:
        return "uWSGI before 2.0.27 breaks the threads of the process that forks its workers"
    return ""


def before_the_forks() -> bool:
    """Whether this is uWSGI's first process, and its workers are yet to be forked."""
    uwsgi = _uwsgi()
    return uwsgi is not None and uwsgi.worker_id() == 0 and uwsgi.mule_id() == 0


def around_forks_in_c(before: Callable[[], None], after: Callable[[], None]) -> None:
    """In a process of uWSGI, call ``before`` each fork, and ``after`` it in the parent; elsewhere do nothing.

    Forks that Python makes are among them.
    """
    if _uwsgi() is None:
        return
    import ctypes  # other servers' processes do without

    library = ctypes.CDLL(None)
    # glibc has the portable name for programs that are linked with it only.
    register = getattr(library, "__register_atfork", None) or getattr(library, "pthread_atfork", None)
    if register is None:
        return
    callback = ctypes.CFUNCTYPE(None)
    made = callback(before), callback(after)
    _callbacks.extend(made)
    register(*made, None, None)
