"""Who leads: one file lock for each epoch, and a candidate's patience.

The lock alone fails twice: a child forked in C keeps the descriptor and so the lock of a dead leader, and a stopped
leader keeps it for ever. So a candidate that has itself watched the heartbeat stand still for the stale limit steps
past the lock into the next epoch, and so does one that finds the leader's process gone. A leader checks the epoch
before it acts and steps down where a larger one is written.

Candidates are not equal: one that may not stay, or that could not connect when it last led, lets a free lead lie for
a few polls, so that a better one takes it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from fbshared.leader.turns import lock_descriptor
from fbshared.shm import files
from fbshared.shm.region import Region, pid_namespace, process_start

__all__ = ["Election", "Term"]

log = logging.getLogger("fbshared.leader")

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_LONGEST_STEP = 0.5  # seconds; a frozen container's awakening is one observation, not the time it slept
_LOOK_AFTER = 0.3  # seconds of an unchanged heartbeat after which it is asked whether the leader's process lives


def lock_name(epoch: int) -> str:
    """The lock file of an epoch."""
    return f"leader.{epoch}.lock"


class Term:
    """One leadership: the epoch and its held lock."""

    __slots__ = ("_path", "_region", "_resigned", "epoch", "fd")

    def __init__(self, region: Region, epoch: int, fd: int, path: str) -> None:
        self._region = region
        self.epoch = epoch
        self.fd = fd
        self._path = path
        self._resigned = False

    def holds(self) -> bool:
        """Whether this is still the newest leadership. An older epoch in the page is repaired: a superseded
        candidate wrote it."""
        control = self._region.control
        epoch = control.epoch
        if epoch < self.epoch:
            control.epoch = self.epoch
        return epoch <= self.epoch and not self._resigned

    def resign(self) -> None:
        """Hold the lead no more; the lock stays until ``close``."""
        self._resigned = True

    def lock_intact(self) -> bool:
        """Whether the path still leads to the file that is locked."""
        return files.identity_of(self._path) == files.identity_of(self.fd)

    def give_back(self) -> None:
        """Say that nobody leads, unless somebody else does by now, and drop the lock."""
        control = self._region.control
        if self.fd >= 0 and control.epoch == self.epoch:
            control.leader_pid = 0
        self.close()

    def close(self) -> None:
        """Drop the lock. In a forked child this only drops the copy: the lock is not touched."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Election:
    """One candidate's view of the lead; ``poll`` it every tenth of a second.

    Args:
        region: where the locks are.
        stale_limit: seconds of an unchanged heartbeat after which the leader is stepped over.
        clock: a monotonic clock in seconds.
        gives_way: for how many polls it leaves a free lead to others; asked once, when it sees that the lead is free.
    """

    def __init__(
        self,
        region: Region,
        stale_limit: float,
        clock: Callable[[], float],
        gives_way: Callable[[], int] = lambda: 0,
    ) -> None:
        self._region = region
        self._stale_limit = stale_limit
        self._clock = clock
        self._gives_way = gives_way
        self._free = -1  # the epoch that it saw without a leader
        self._left = 0  # polls for which it still leaves that to others
        self._fd = -1
        self._fd_epoch = -1
        self._seen = (-1, -1)
        self._seen_at = clock()
        self._unchanged = 0.0
        self._leader_gone = 0
        self._namespace = pid_namespace()

    def poll(self) -> Term | None:
        """The new leadership of this process, or None while another one leads.

        Raises:
            OSError: the directory is gone or refuses.
        """
        epoch = self._region.control.epoch
        patience = self._watch(epoch)
        if self._free == epoch and self._left > 0:
            self._left -= 1
            return None
        if self._try_lock(epoch):
            try:
                return None if self._leaves(epoch) else self._step_up(epoch)
            finally:
                self.close()
        if (patience >= self._stale_limit or self._leader_is_gone()) and not self._leaves(epoch):
            # The lock of the next epoch may be held by a candidate that stopped there: then one further each time.
            return self._step_up(epoch, beyond=int(patience // self._stale_limit))
        return None

    def _watch(self, epoch: int) -> float:
        """Seconds, counted in separate observations, for which the leader gave no sign of life."""
        now = self._clock()
        step, self._seen_at = min(now - self._seen_at, _LONGEST_STEP), now
        seen = epoch, self._region.control.beat
        if seen != self._seen:
            self._seen, self._unchanged, self._leader_gone = seen, 0.0, 0
        else:
            self._unchanged += step
        return self._unchanged

    def _leaves(self, epoch: int) -> bool:
        """Whether the lead, which is free, is left to others for now."""
        if self._free != epoch:
            self._free, self._left = epoch, self._gives_way()
        self._left -= 1
        return self._left >= 0

    def _leader_is_gone(self) -> bool:
        """Whether two looks in a row found that the leader's process number is free or means another process.

        Its lock may be held by a child that was forked in C. A leader in another PID namespace has no number here.
        """
        control = self._region.control
        pid, start = control.leader_pid, control.leader_start
        elsewhere = control.leader_namespace not in (0, self._namespace)
        if pid == 0 or start == 0 or elsewhere or self._unchanged < _LOOK_AFTER or process_start(pid) == start:
            self._leader_gone = 0
            return False
        self._leader_gone += 1
        return self._leader_gone > 1

    def _try_lock(self, epoch: int) -> bool:
        """Whether the lock of the current epoch is free; the descriptor is kept between tries."""
        path = self._region.join(lock_name(epoch))
        if self._fd_epoch != epoch or files.identity_of(path) != files.identity_of(self._fd):
            self.close()
            self._fd, self._fd_epoch = os.open(path, _FLAGS, 0o600), epoch
        return lock_descriptor(self._fd, blocking=False)

    def _step_up(self, epoch: int, beyond: int = 1) -> Term | None:
        """Take the lock of a next epoch, then write the epoch, if nobody was faster."""
        control = self._region.control
        mine = epoch + max(beyond, 1)
        path = self._region.join(lock_name(mine))
        fd = os.open(path, _FLAGS, 0o600)
        if not lock_descriptor(fd, blocking=False) or control.epoch >= mine:
            os.close(fd)
            return None
        control.epoch = mine
        pid = os.getpid()
        control.leader_namespace = self._namespace
        control.leader_pid, control.leader_start = pid, process_start(pid)
        log.info("process %d leads, epoch %d", pid, mine)
        return Term(self._region, mine, fd, path)

    def close(self) -> None:
        """Drop the descriptor, and with it the lock if it was just taken."""
        fd, self._fd, self._fd_epoch = self._fd, -1, -1
        if fd >= 0:
            os.close(fd)


def remove_old_locks(region: Region, epoch: int) -> None:
    """Remove lock files that nobody can try any more."""
    for name in region.names("leader."):
        number = name.split(".")[1]
        if number.isdecimal() and int(number) < epoch - 1:
            files.remove(region.join(name))
