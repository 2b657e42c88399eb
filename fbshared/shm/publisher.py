"""Publishing: write a new file, rename it, then one store. What the leader of one epoch does, and only it."""

from __future__ import annotations

import os

from fbshared.core.model import Dataset
from fbshared.errors import CorruptError
from fbshared.shm import files
from fbshared.shm.packing import Changes, Packed, Stamp
from fbshared.shm.region import GENERATION_BITS, Region, now_ms, snapshot_name, word_of

__all__ = ["Publisher"]

_NOTHING = memoryview(b"")


class Publisher:
    """Writes the snapshots of one epoch.

    A leader that was stopped and superseded may wake up in the middle: the epoch is in the file's name and in the
    word, readers adopt only larger words, and the new leader's tick repairs the word.
    """

    def __init__(self, region: Region, epoch: int) -> None:
        self._region = region
        self._epoch = epoch
        self._base = epoch << GENERATION_BITS
        self.word = 0  # of the newest snapshot of this epoch
        self._generation = 0
        self._packed: Packed | None = None  # of the newest snapshot

    def publish(self, dataset: Dataset, *, synced: bool) -> int:
        """Make this dataset what every process evaluates; returns the word of the newest snapshot of this epoch.

        Nothing is published once a later epoch has begun.

        Raises:
            OSError: no room or no directory; what was published before stays.
        """
        self._generation += 1
        word = self._base + self._generation
        control = self._region.control
        packed, taken = self._follow(dataset, word)
        head = packed.head(Stamp(word, self._region.identity, now_ms(), synced))
        files.replace(self._region.path, snapshot_name(word), [head, taken, *packed.take()])
        if control.epoch > self._epoch:
            # Superseded while it wrote. The new leader may have begun with what was published before: a reader that
            # adopts this would go back in time with the new leader's first snapshot, which removes this file.
            return self.word
        if control.publication < word:
            control.publication = word
        control.data_version = max(dataset.cursor, 0)
        control.published_at = now_ms()
        control.publications += 1
        previous, self.word, self._packed = self.word, word, packed
        self._remove_older(previous or word)
        return word

    def heal(self) -> bool:
        """Repair the word after a superseded leader wrote it; False where the snapshot is gone or damaged."""
        control = self._region.control
        if self.word == 0:
            return True
        if control.publication < self.word:
            control.publication = self.word
        if control.damaged == self.word:
            return False
        return os.path.exists(self._region.join(snapshot_name(self.word)))

    def _follow(self, dataset: Dataset, word: int) -> tuple[Packed, memoryview]:
        """What follows on the newest snapshot, and the blobs of that one, which are copied from its file.

        Where somebody could not read it, or it is published again for another reason, no byte is taken from there.
        """
        if self._packed is not None and self._region.control.damaged != self.word:
            packed = self._packed.followed_by(dataset, word)
            if not packed.taken:
                return packed, _NOTHING
            try:
                newest = self._region.snapshot(self.word)
                return packed, memoryview(newest.buffer)[newest.blobs_at :]
            except (CorruptError, OSError):
                pass  # somebody removed it
        return Packed.of(dataset, Changes(word)), _NOTHING

    def _remove_older(self, word: int) -> None:
        # Never a larger word: it belongs to the leader that superseded this one.
        for name in self._region.names("snapshot."):
            if (word_of(name) or 0) < word:
                files.remove(self._region.join(name))
