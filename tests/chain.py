"""Snapshots that follow each other, as a leader publishes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fbshared.core.model import FLAG, SEGMENT, Dataset, Item, parse_item
from fbshared.shm.packing import Changes, Packed, Stamp
from fbshared.shm.snapshot import Snapshot

IDENTITY = (1, 2)


class Chain:
    """The newest snapshot of a leader that publishes one dataset after the other.

    Attributes:
        content: its bytes.
        word: its publication word, which grows by one.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.word = 1
        self.dataset = dataset
        self.packed = Packed.of(dataset, Changes(1))
        self.content = self._joined(b"")

    @classmethod
    def of(cls, flags: Iterable[Any], segments: Iterable[Any] = ()) -> Chain:
        """Beginning with these raw flags and segments."""
        return cls(Dataset.of([*_items(FLAG, flags), *_items(SEGMENT, segments)]))

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self.content, self.word, IDENTITY)

    def follow(self, dataset: Dataset) -> Snapshot:
        """Publish the next one."""
        former = self.content[self.snapshot.blobs_at :]
        self.word += 1
        self.dataset = dataset
        self.packed = self.packed.followed_by(dataset, self.word)
        self.content = self._joined(former if self.packed.taken else b"")
        return self.snapshot

    def patch(self, *flags: Any, segments: Iterable[Any] = ()) -> bytes:
        """Publish what follows from a patch of these raw items, newer than all before; the bytes of that."""
        news = [*_items(FLAG, flags), *_items(SEGMENT, segments)]
        self.follow(self.dataset.merge(replace(item, version=item.version + self.word) for item in news)[0])
        return self.content

    def _joined(self, taken: bytes) -> bytes:
        return b"".join((self.packed.head(Stamp(self.word, IDENTITY, 1, True)), taken, *self.packed.take()))


def _items(kind: int, raws: Iterable[Any]) -> list[Item]:
    return [parse_item(kind, raw) for raw in raws]
