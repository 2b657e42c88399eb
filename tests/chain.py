"""Snapshots that follow each other, as a leader publishes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fbshared.core.items import parse_item
from fbshared.core.model import FLAG, SEGMENT, Dataset, Item
from fbshared.shm.packing import Packed, Stamp
from fbshared.shm.snapshot import Snapshot

IDENTITY = (1, 2)


class Chain:
    """The newest snapshot of a leader that publishes one dataset after the other.

    Attributes:
        word: its publication word, which grows by one.
        files: the bytes of all snapshots so far, by word.
        opened: the bases that were opened through snapshots of ``open`` and ``read``, by word, one after the other.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.word = 1
        self.dataset = dataset
        self.packed = Packed.of(dataset, 1)
        self.files: dict[int, bytes] = {}
        self.opened: list[int] = []
        self._write()

    @classmethod
    def of(cls, flags: Iterable[Any], segments: Iterable[Any] = ()) -> Chain:
        """Beginning with these raw flags and segments."""
        return cls(Dataset.of([*_items(FLAG, flags), *_items(SEGMENT, segments)]))

    @property
    def content(self) -> bytes:
        """The bytes of the newest one."""
        return self.files[self.word]

    @property
    def snapshot(self) -> Snapshot:
        return self.open(self.word)

    def open(self, word: int) -> Snapshot:
        """The snapshot of a word."""
        return self.read(self.files[word], word)

    def read(self, content: bytes, word: int) -> Snapshot:
        """The snapshot in these bytes, on a base of this leader's."""
        return Snapshot(content, word, IDENTITY, self._base)

    def _base(self, word: int) -> Snapshot:
        self.opened.append(word)
        return self.open(word)

    def follow(self, dataset: Dataset) -> Snapshot:
        """Publish the next one."""
        self.word += 1
        self.dataset = dataset
        self.packed = self.packed.followed_by(dataset, self.word)
        self._write()
        return self.snapshot

    def patch(self, *flags: Any, segments: Iterable[Any] = ()) -> bytes:
        """Publish what follows from a patch of these raw items, newer than all before; the bytes of that."""
        news = [*_items(FLAG, flags), *_items(SEGMENT, segments)]
        self.follow(self.dataset.merge(item._replace(version=item.version + self.word) for item in news)[0])
        return self.content

    def _write(self) -> None:
        self.files[self.word] = b"".join(self.packed.parts(Stamp(IDENTITY, 1, True)))


def _items(kind: int, raws: Iterable[Any]) -> list[Item]:
    return [parse_item(kind, raw) for raw in raws]
