"""The bell: a FIFO that wakes the leader's delivery at once.

It carries no meaning of its own; the truth is in the rings, which the leader looks at on every tick anyway.
"""

from __future__ import annotations

import os
import stat

from fbshared.shm import files
from fbshared.shm.region import Region

__all__ = ["Bell", "ring_bell"]

_NAME = "bell"


class Bell:
    """The leader's end."""

    __slots__ = ("_fd",)

    def __init__(self, region: Region) -> None:
        path = region.join(_NAME)
        try:
            os.mkfifo(path, 0o600)
        except FileExistsError:
            if not stat.S_ISFIFO(os.lstat(path).st_mode):
                files.remove(path)  # a plain file rings for ever, and would keep the leader busy
                os.mkfifo(path, 0o600)
        # Opened for both, so that it never reports the end of the last writer.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)

    def fileno(self) -> int:
        """What ``select`` waits for."""
        return self._fd

    def silence(self) -> bool:
        """Whether it rang since the last look."""
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Close this process's descriptor."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def ring_bell(region: Region) -> bool:
    """Wake the leader; False where nobody listens or the bell rings already."""
    try:
        fd = os.open(region.join(_NAME), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return os.write(fd, b"!") == 1
    except OSError:
        return False
    finally:
        os.close(fd)
