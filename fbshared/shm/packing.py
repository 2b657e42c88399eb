"""Packing: the bytes of one snapshot after the other, of which each differs little from the one before.

After a patch only a delta is made, which has all that is new since its base; of its index only those buckets are made
anew in which something changed. What was replaced stays in it until that is most of it. When it has grown to an eighth
of its base, and 64 KiB, everything is packed into the next base.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, compress, islice
from operator import is_not
from typing import NamedTuple
from zlib import crc32

from fbshared.core.model import FLAG, Dataset, Item
from fbshared.shm.control import LAYOUT
from fbshared.shm.snapshot import BUCKET, CHANGE, ENTRY, HEADER, MAGIC, SYNCED, index_entry

__all__ = ["Changes", "Difference", "Packed", "Stamp", "pack"]

_PER_BUCKET = 4
_MOST_TOLD = 64  # changes that a snapshot tells of
_SHARE = 8  # a delta is one part of so many of its base at most
_LEAST_ROOM = 1 << 16  # bytes of blobs that any delta may have
_LEAST_WASTE = 1 << 12  # bytes of replaced blobs that any delta may have
_FEWEST_BUCKETS = 16


class Stamp(NamedTuple):
    """Where and when a snapshot is made, and whether a full sync is in it."""

    identity: tuple[int, int]
    now_ms: int
    synced: bool


class Difference(NamedTuple):
    """All items that a dataset has and an earlier one, ``since``, has not; it has all others, too."""

    since: Dataset
    items: Sequence[Item]


class Changes(NamedTuple):
    """What changed after the publication ``since``, newest first, each packed beside the word that published it."""

    since: int
    told: tuple[tuple[int, bytes], ...] = ()

    def and_then(self, items: Iterable[Item], word: int) -> Changes:
        """With these items on top, and so many whole publications as there is room for."""
        told = (*((word, _change(item, word)) for item in items), *self.told)
        if len(told) <= _MOST_TOLD:
            return Changes(self.since, told)
        since = told[_MOST_TOLD][0]
        return Changes(since, tuple(change for change in told if change[0] > since))


class Packed:
    """What one snapshot file holds: everything, or what is new since a base.

    Attributes:
        base: the publication word of the base, 0 where it stands alone.
        news: what a delta has that the snapshot before it does not have.
    """

    __slots__ = (
        "_blobs",
        "_buckets",
        "_changes",
        "_dataset",
        "_entries",
        "_room",
        "_size",
        "_waste",
        "base",
        "news",
        "word",
    )

    def __init__(self, dataset: Dataset, word: int, changes: Changes, *, base: int, buckets: int, room: int) -> None:
        self.word = word
        self.base = base
        self.news: Sequence[Item] = ()
        self._dataset = dataset
        self._changes = changes
        self._room = room
        self._buckets = [_bucket(number, b"") for number in range(buckets)]
        self._blobs: list[bytes] = []
        self._size = 0  # of all blobs
        self._waste = 0  # of those among them that no entry refers to
        self._entries: dict[tuple[int, str], bytes] = {}  # of a delta's items

    @classmethod
    def of(cls, dataset: Dataset, word: int, changes: Changes | None = None) -> Packed:
        """Everything in one file; without ``changes`` everybody has to look everything up."""
        items = (*dataset.flags.values(), *dataset.segments.values())
        bodies: list[list[bytes]] = [[] for _ in range(_buckets_for(len(items)))]
        made = cls(dataset, word, changes or Changes(word), base=0, buckets=0, room=0)
        for item in items:
            hashed, entry = made._add(item)
            bodies[hashed & (len(bodies) - 1)].append(entry)
        made._buckets = [_bucket(number, b"".join(body)) for number, body in enumerate(bodies)]
        return made

    def followed_by(self, dataset: Dataset, word: int, difference: Difference | None = None) -> Packed:
        """The next snapshot: a delta, or everything where nothing changed, or much, or where the delta would not
        be small any more.

        Args:
            difference: the dataset's to an earlier one; where that is not this snapshot's, it is looked for.
        """
        news: Sequence[Item] | None
        if difference is not None and difference.since is self._dataset:
            news = difference.items
        else:
            news = _differences(self._dataset, dataset)
        if news is None or not 0 < len(news) <= _MOST_TOLD:
            return Packed.of(dataset, word)
        changes = self._changes.and_then(news, word)
        made = self._delta(dataset, word, changes, news)
        made.news = news
        for item in news:
            made._put(item)
        return made if made._size <= made._room else Packed.of(dataset, word, changes)

    def parts(self, stamp: Stamp) -> list[bytes]:
        """The file, in pieces; once. The content of a whole environment is not kept for what follows."""
        parts = [self._head(stamp), *self._blobs]
        if not self.base:
            self._blobs, self._buckets = [], []
        return parts

    def _delta(self, dataset: Dataset, word: int, changes: Changes, news: Sequence[Item]) -> Packed:
        """What is new so far, on top of the same base or of this, which stands alone; the news are still to be put."""
        if not self.base:
            buckets = max(_buckets_for(_count(dataset) // _SHARE), _FEWEST_BUCKETS)
            room = max(self._size // _SHARE, _LEAST_ROOM)
            return Packed(dataset, word, changes, base=self.word, buckets=buckets, room=room)
        if self._waste > max(self._size // 2, _LEAST_WASTE):
            made = Packed(dataset, word, changes, base=self.base, buckets=len(self._buckets), room=self._room)
            replaced = {(item.kind, item.key) for item in news}
            for kind, key in self._entries:
                if (kind, key) not in replaced:
                    made._put((dataset.flags if kind == FLAG else dataset.segments)[key])
            return made
        made = Packed(dataset, word, changes, base=self.base, buckets=0, room=self._room)
        made._buckets, made._blobs = self._buckets.copy(), self._blobs.copy()
        made._entries, made._size, made._waste = self._entries.copy(), self._size, self._waste
        return made

    def _add(self, item: Item) -> tuple[int, bytes]:
        """Put an item's blob behind all others; its key hash, and its entry in the index."""
        key = item.key.encode("utf-8", "surrogatepass")
        found = index_entry(item, key, self._size)
        self._blobs += (key, item.blob)
        self._size += len(key) + len(item.blob)
        return found

    def _put(self, item: Item) -> None:
        """Add an item to a delta, in place of what it was there. Its former blob stays, which no entry refers to."""
        hashed, entry = self._add(item)
        number = hashed & (len(self._buckets) - 1)
        former = self._entries.get((item.kind, item.key))
        if former is not None:
            self._waste += sum(ENTRY.unpack(former)[4:6])  # the lengths of its key and of its blob
        body = self._buckets[number][BUCKET.size :]
        entries = (body[at : at + ENTRY.size] for at in range(0, len(body), ENTRY.size))
        self._buckets[number] = _bucket(number, b"".join((*(each for each in entries if each != former), entry)))
        self._entries[item.kind, item.key] = entry

    def _head(self, stamp: Stamp) -> bytes:
        """All that stands in front of the blobs."""
        log = b"".join((self._changes.since.to_bytes(8, "little"), *(change for _, change in self._changes.told)))
        log = crc32(log).to_bytes(4, "little") + log
        directory_at = HEADER.size + len(log)
        ends = list(accumulate(map(len, self._buckets), initial=0))
        blobs_at = directory_at + 4 * len(ends) + ends[-1]
        dataset = self._dataset
        head = HEADER.pack(
            *(MAGIC, LAYOUT, self.word, *stamp.identity, blobs_at + self._size, stamp.now_ms, max(dataset.cursor, 0)),
            *(len(dataset.flags), len(dataset.segments), self.base, len(self._buckets)),
            *(directory_at, blobs_at, SYNCED if stamp.synced else 0, 0),
        )
        head = head[:-8] + crc32(head[:-8]).to_bytes(8, "little")
        directory = struct.pack(f"<{len(ends)}I", *ends)
        return b"".join((head, log, directory, *self._buckets))


def pack(dataset: Dataset, word: int, identity: tuple[int, int], now_ms: int, *, synced: bool) -> list[bytes]:
    """The parts of a snapshot file that stands alone, in order."""
    return Packed.of(dataset, word).parts(Stamp(identity, now_ms, synced))


def _change(item: Item, word: int) -> bytes:
    key = item.key.encode("utf-8", "surrogatepass")
    return CHANGE.pack(word, item.kind, len(key)) + key


def _count(dataset: Dataset) -> int:
    return len(dataset.flags) + len(dataset.segments)


def _buckets_for(items: int) -> int:
    """A power of two that leaves so many items in each."""
    return 1 << max((items - 1) // _PER_BUCKET, 0).bit_length()


def _bucket(number: int, body: bytes) -> bytes:
    return BUCKET.pack(crc32(body, number), len(body) // ENTRY.size) + body


def _differences(before: Dataset, after: Dataset) -> Sequence[Item] | None:
    """The items that are other objects now, and new ones; None where that does not say all."""
    flags, segments = _changed(before.flags, after.flags), _changed(before.segments, after.segments)
    return None if flags is None or segments is None else flags + segments


def _changed(before: Mapping[str, Item], after: Mapping[str, Item]) -> list[Item] | None:
    """The items that are other objects now, and new ones; None where the former ones do not stand in their places.

    A patch leaves all others where they are, so their places tell without a look-up for each.
    """
    changed: list[Item] = []
    if len(after) < len(before):
        return None
    differ = map(is_not, before.values(), after.values())
    for old, new in compress(zip(before.values(), after.values(), strict=False), differ):
        if old.key != new.key:
            return None
        changed.append(new)
    return [*changed, *islice(after.values(), len(before), None)]
