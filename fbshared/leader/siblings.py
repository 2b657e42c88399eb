"""Regions that nobody uses any more: found beside the leader's own, watched for an hour, removed.

A region is unused while nobody holds its leader's lock or a ring's owner lock, nothing waits in its rings, and
nothing in it changes. It stays for an hour, for an application that starts again begins with its snapshot; the hour
is counted in looks, so that a frozen container's awakening is one look. Before its files go it is retired: who
opened it at that very moment sees that, and meets the others at the path (``Region.retired``).

A region of another layout cannot be read: it goes when it holds no ring at all.
"""

from __future__ import annotations

import logging
import os
import re

from fbshared.errors import CorruptError
from fbshared.shm import files
from fbshared.shm.control import CONTROL_SIZE, LAYOUT, RETIRED, Control
from fbshared.shm.region import Region, opened_here, ring_waits

__all__ = ["Siblings"]

log = logging.getLogger("fbshared.leader")

PAUSE = 60.0  # seconds between two looks
LOOKS = 60  # in a row, after which an unused region goes
_NAME = re.compile(r"(\d+)-[0-9A-Za-z]+")
_LOCK = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW

Mark = tuple[int, ...]  # changes with every sign of use


class Siblings:
    """The other regions of the same user below the same root, as a leader sees them."""

    def __init__(self, region: Region) -> None:
        self._home, self._own = os.path.split(region.path)
        self._seen: dict[str, tuple[Mark, int]] = {}
        self._look_at = 0.0

    def look(self, now: float) -> None:
        """Look at all of them every minute, and remove those that were unused for an hour."""
        if now < self._look_at:
            return
        self._look_at = now + PAUSE
        seen, self._seen = self._seen, {}
        try:
            names = [name for name in os.listdir(self._home) if name != self._own and _NAME.fullmatch(name)]
        except OSError:
            return
        for name in names:
            path = os.path.join(self._home, name)
            mark = _unused(path)
            if mark is None:
                continue
            before, looks = seen.get(name, (mark, 0))
            self._seen[name] = mark, (looks + 1 if mark == before else 1)
            if self._seen[name][1] > LOOKS and _remove(path, mark):
                del self._seen[name]
                log.info("%s was not used for long and is removed", path)


def _unused(path: str) -> Mark | None:
    """What would change with the next use, None while it is used."""
    try:
        names = os.listdir(path)
        # In this order: a ring of this process is in the listing only if its region is known here.
        if opened_here(path) or not _is_free(path, names):
            return None
        found = [os.stat(path), *(os.stat(os.path.join(path, name)) for name in names if name == "control")]
    except OSError:
        return None
    return tuple(word for each in found for word in (each.st_dev, each.st_ino, each.st_mtime_ns))


def _is_free(path: str, names: list[str]) -> bool:
    rings = [os.path.join(path, name) for name in names if name.startswith("ring.")]
    if rings and not os.path.basename(path).startswith(f"{LAYOUT}-"):
        return False
    locks = [os.path.join(path, name) for name in names if name.startswith("leader.")]
    return all(_is_lockable(lock) for lock in locks) and all(ring_waits(ring) == 0 for ring in rings)


def _is_lockable(path: str) -> bool:
    fd = os.open(path, _LOCK)
    try:
        return files.is_lockable(fd)
    finally:
        os.close(fd)


def _remove(path: str, mark: Mark) -> bool:
    """Retire it and remove its files, unless it is used after all; whether it is gone."""
    try:
        with files.locked_directory(path) as directory:
            if directory is None or _unused(path) != mark:
                return False
            _retire(path)
            names = os.listdir(directory)
            # Who opened it since makes a ring first and looks for the retirement afterwards; here it is the other
            # way round, so one of the two notices. Where it is in use after all, the next to open it begins anew.
            if _unused(path) is None:
                return False
            for name in names:
                files.remove(name, directory)
        os.rmdir(path)
    except OSError:
        return False  # somebody meets there already
    return True


def _retire(path: str) -> None:
    if not os.path.basename(path).startswith(f"{LAYOUT}-"):
        return
    try:
        file = files.map_file(os.path.join(path, "control"))
    except OSError:
        return
    try:
        control = Control.over(memoryview(file.piece(0, CONTROL_SIZE)))
        if control.publication != RETIRED:
            control.retire()
    except CorruptError:
        return
    finally:
        file.close()
