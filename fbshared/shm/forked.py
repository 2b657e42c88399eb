"""Noticing a fork without a hook and without a system call.

The cell is one private page that the kernel hands to a child empty (``MADV_WIPEONFORK``, Linux 4.14): the child
reads 0 where its parent wrote 1, also where a server forks in C and no Python hook runs. Elsewhere a fork hook
clears it.
"""

from __future__ import annotations

import mmap
import os
import weakref

__all__ = ["ForkCell"]

_WIPE_ON_FORK = 18  # MADV_WIPEONFORK; the mmap module has no name for it
_unwiped: weakref.WeakSet[ForkCell] = weakref.WeakSet()


class ForkCell:
    """``words[0]`` is 1 in the process that made the cell and 0 in every process forked from it."""

    __slots__ = ("__weakref__", "words")

    def __init__(self) -> None:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        try:
            page.madvise(_WIPE_ON_FORK)
        except (OSError, ValueError, AttributeError):  # pragma: no cover - not Linux
            _unwiped.add(self)
        self.words = memoryview(page)  # bytes: read faster than words, and one is enough
        self.words[0] = 1


def _clear() -> None:  # pragma: no cover - not Linux
    for cell in list(_unwiped):
        cell.words[0] = 0


os.register_at_fork(after_in_child=_clear)
