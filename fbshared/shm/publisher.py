"""Publishing: write a new file, rename it, write what is new into the journal, then one store.

What the leader of one epoch does, and only it.
"""

from __future__ import annotations

import os

from fbshared.core.model import Dataset
from fbshared.shm import files
from fbshared.shm.packing import Difference, Packed, Stamp
from fbshared.shm.region import GENERATION_BITS, Region, now_ms, snapshot_name, word_of

__all__ = ["Publisher"]


class Publisher:
    """Writes the snapshots of one epoch.

    A leader that was stopped and superseded may wake up in the middle: the epoch is in the file's name and in the
    word, readers adopt only larger words, and the new leader's tick repairs the word.
    """

    def __init__(self, region: Region, epoch: int) -> None:
        self._region = region
        self._epoch = epoch
        self._base = epoch << GENERATION_BITS
        self._generation = 0
        self._newest: Packed | None = None
        self._files: set[int] = set()  # the words of all snapshots that were written here and not removed yet

    @property
    def word(self) -> int:
        """The newest snapshot's of this epoch; 0 before the first."""
        return self._newest.word if self._newest is not None else 0

    def publish(self, dataset: Dataset, *, synced: bool, difference: Difference | None = None) -> int:
        """Make this dataset what every process evaluates; returns the word of the newest snapshot of this epoch.

        Nothing is published once a later epoch has begun.

        Args:
            difference: the dataset's to the one that was published here before, where it is known.

        Raises:
            OSError: no room or no directory; what was published before stays.
        """
        self._generation += 1
        word = self._base + self._generation
        control = self._region.control
        packed = self._follow(dataset, word, difference)
        parts = packed.parts(Stamp(self._region.identity, now_ms(), synced))
        self._files.add(word)
        files.replace(self._region.path, snapshot_name(word), parts)
        if control.epoch > self._epoch:
            # Superseded while it wrote. The new leader may have begun with what was published before: a reader that
            # adopts this would go back in time with the new leader's first snapshot. That one or its
            # housekeeping removes this file.
            return self.word
        if packed.news:
            self._region.journal.write(word, self.word, packed.base, packed.news)
        if control.publication < word:
            control.publication = word
        control.data_version = max(dataset.cursor, 0)
        control.published_at = now_ms()
        control.publications += 1
        previous, self._newest = self._newest, packed
        if previous is None:
            self._remove_others()
        self._remove_older(packed, previous or packed)
        return word

    def heal(self) -> bool:
        """Repair the word after a superseded leader wrote it, and remove what that wrote; False where the snapshot is
        gone or damaged."""
        control = self._region.control
        newest = self._newest
        if newest is None:
            return True
        if control.publication < newest.word:
            control.publication = newest.word
        self._remove_others()
        return self._exists(newest.word) and self._can_be_built_on(newest)

    def _can_be_built_on(self, packed: Packed) -> bool:
        """Whether its base is there, which is in several snapshots, and nobody could not read any of them."""
        base = packed.base or packed.word
        return not base <= self._region.control.damaged <= packed.word and self._exists(base)

    def _exists(self, word: int) -> bool:
        return os.path.exists(self._region.join(snapshot_name(word)))

    def _follow(self, dataset: Dataset, word: int, difference: Difference | None) -> Packed:
        newest = self._newest
        if newest is None or not self._can_be_built_on(newest):
            return Packed.of(dataset, word)
        return newest.followed_by(dataset, word, difference)

    def _remove_older(self, *kept: Packed) -> None:
        """Remove the snapshots that were made here, except those that are kept, with their bases."""
        for word in self._files - {each.word for each in kept} - {each.base for each in kept}:
            self._remove(snapshot_name(word))
            self._files.discard(word)

    def _remove_others(self) -> None:
        """Remove what leaders of earlier epochs left, or wrote after they were superseded."""
        # Never a larger word: it belongs to the leader that superseded this one.
        for name in self._region.names("snapshot."):
            if (word_of(name) or 0) < self._base:
                self._remove(name)

    def _remove(self, name: str) -> None:
        try:
            files.remove(self._region.join(name))
        except IsADirectoryError:
            pass  # nothing of ours: it takes no room, and is in nobody's way
