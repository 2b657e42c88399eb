"""An event that can be waited for together with sockets."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterable

__all__ = ["Wake", "wait_for"]


def wait_for(fds: Iterable[int], timeout: float) -> set[int]:
    """Those of these descriptors that can be read, or are at their end, after at most ``timeout`` seconds."""
    timeout = max(timeout, 0.0)
    if not hasattr(select, "poll"):  # pragma: no cover - eventlet takes it away
        return set(select.select(list(fds), [], [], timeout)[0])
    poll = select.poll()  # select refuses the descriptors above 1023 of a busy server
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(timeout * 1000)}


class Wake:
    """Set and cleared like a ``threading.Event``; all who wait return while it is set."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._mutex = threading.RLock()  # a signal handler that forks may come back here
        self._set = False

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Wake all who wait, now and until it is cleared."""
        with self._mutex:
            if not self._set and self._write >= 0:
                self._set = True
                os.write(self._write, b"!")

    def clear(self) -> None:
        """Let them wait again."""
        with self._mutex:
            if self._set and self._read >= 0:
                self._set = False
                try:
                    os.read(self._read, 1)
                except BlockingIOError:
                    pass  # an exception struck in the middle of ``set``

    def fileno(self) -> int:
        """What can be waited for."""
        return self._read

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; whether it is set."""
        if not self._set:
            wait_for((self._read,), timeout)
        return self._set

    def close(self) -> None:
        """Close both ends; also in a forked child, where the parent keeps its own."""
        read, write = self._read, self._write
        self._read = self._write = -1
        for fd in (read, write):
            if fd >= 0:
                os.close(fd)
