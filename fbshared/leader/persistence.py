"""The published data in a directory that outlives a reboot: written by the leader, read by one that finds none.

One file for each environment, ``<layout>-<digest>.data``, in the form of a snapshot: header, index and every item
have checksums. Instead of a region's random identity it bears one that follows from the digest, so that a file which
was renamed or copied from another environment is none of ours; its birth is when the data was last current.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from fbshared.core.hashes import blake2b
from fbshared.core.model import Dataset
from fbshared.errors import CorruptError
from fbshared.leader.wake import Wake
from fbshared.shm import files
from fbshared.shm.control import LAYOUT
from fbshared.shm.packing import pack
from fbshared.shm.region import now_ms
from fbshared.shm.snapshot import Snapshot

__all__ = ["Persistence", "Restored"]

log = logging.getLogger("fbshared.leader")

PAUSE = 5.0  # seconds between two writes: fifty patches a second must not write fifty times
REFRESH = 600.0  # seconds after which unchanged data is written again, for its age
_LAST = 0.5  # a pause for a fork or the end writes what is new, but not at every fork
_LOOK = 0.1


class Restored(NamedTuple):
    """What a file held: the data, and when it was last known to be current, in ms of the wall clock."""

    dataset: Dataset
    current_at: int


class Persistence:
    """The copy of one environment's data; ``run`` is the body of its thread and can be run again after it returned.

    Writing waits for the disk, so it has a thread of its own: neither sync nor the heartbeat waits for it.

    Args:
        directory: a private directory.
        digest: the environment's, see ``shm.region.region_digest``.
        current_at: when the data was last known to be current, in ms.
        holds: whether this process still leads.
    """

    def __init__(
        self,
        directory: str,
        digest: str,
        current_at: Callable[[], int],
        holds: Callable[[], bool],
        pause: float = PAUSE,
    ) -> None:
        self._directory = directory
        self._name = f"{LAYOUT}-{digest}.data"
        seed = blake2b(digest.encode(), digest_size=16, person=b"fbshared-kept").digest()
        self._identity = int.from_bytes(seed[:8], "little"), int.from_bytes(seed[8:], "little")
        self._current_at = current_at
        self._holds = holds
        self._pause = pause
        self._newest: Dataset | None = None
        self._written: Dataset | None = None
        self._written_at = -math.inf
        self._told = False

    def load(self) -> Restored | None:
        """What the file holds; None where there is none that can be believed in full."""
        try:
            snapshot = Snapshot(files.read_own(self._directory, self._name), 0, self._identity)
            dataset = Dataset({}, {}, snapshot.cursor).merge(tuple(snapshot.items()))[0]
        except FileNotFoundError:
            return None
        except (CorruptError, UnicodeDecodeError) as error:
            log.warning("the persisted data is not used: %s", error)
            return None
        except OSError as error:
            log.warning("the persisted data cannot be read: %s", error.strerror)
            return None
        # A clock that went back must not make old data look new.
        return Restored(dataset, min(snapshot.born_at, now_ms()))

    def offer(self, dataset: Dataset) -> None:
        """This is what FeatBit has now; it is written soon."""
        self._newest = dataset

    def run(self, halt: Wake) -> None:
        """Write what is new until ``halt`` is set or the lead is lost, and at the end what is left."""
        while not halt.is_set() and self._holds():
            self._write_if_due(self._pause)
            halt.wait(_LOOK)
        self._write_if_due(_LAST)

    def _write_if_due(self, pause: float) -> None:
        dataset, age = self._newest, time.monotonic() - self._written_at
        if dataset is None or age < (pause if dataset is not self._written else REFRESH) or not self._holds():
            return
        self._written_at = time.monotonic()  # also of a try that failed
        try:
            files.sweep(self._directory)
            parts = pack(dataset, 0, self._identity, self._current_at(), synced=True)
            files.replace(self._directory, self._name, parts, durable=True)
        except OSError as error:
            if not self._told:
                self._told = True
                log.warning("the data cannot be persisted, trying on: %s", error.strerror)
            return
        self._written, self._told = dataset, False
