"""An event that ``select`` can wait for."""

from __future__ import annotations

import os
import select
import threading

__all__ = ["Wake"]


class Wake:
    """Set and cleared like a ``threading.Event``; all who wait return while it is set."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
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
                os.read(self._read, 1)
                self._set = False

    def fileno(self) -> int:
        """What ``select`` waits for."""
        return self._read

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; whether it is set."""
        if not self._set:
            select.select([self._read], [], [], max(timeout, 0.0))
        return self._set

    def close(self) -> None:
        """Close both ends; also in a forked child, where the parent keeps its own."""
        read, write = self._read, self._write
        self._read = self._write = -1
        for fd in (read, write):
            if fd >= 0:
                os.close(fd)
