"""Packing: the bytes of one snapshot after the other, of which each differs little from the one before.

A snapshot that follows on another one takes its blobs as they are, puts the new ones behind them, and has of the index
only those buckets made anew in which something changed: besides a copy of the bytes, the cost does not grow with the
environment. What nobody refers to any more goes when it is an eighth.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from itertools import accumulate, compress, islice, starmap
from operator import is_not
from typing import NamedTuple
from zlib import crc32

from fbshared.core.model import Dataset, Item
from fbshared.shm.control import LAYOUT
from fbshared.shm.snapshot import ARCHIVED, BUCKET, CHANGE, ENTRY, HEADER, MAGIC, SYNCED, key_hash

__all__ = ["Changes", "Packed", "Stamp", "pack"]

_PER_BUCKET = 4
_SMALLEST, _BIGGEST = -(2**63), 2**63 - 1
_MOST_TOLD = 64  # changes that a snapshot tells of
_WASTE = 8  # one part of so many of the blobs may be what nobody refers to


class Stamp(NamedTuple):
    """What tells one snapshot from another."""

    word: int
    identity: tuple[int, int]
    now_ms: int
    synced: bool


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
    """The content of one snapshot without the blobs that it takes over.

    Attributes:
        taken: bytes of blobs that it takes over from the snapshot before it, all of that one's or none.
    """

    __slots__ = ("_added", "_buckets", "_changes", "_dataset", "_live", "_size", "taken")

    def __init__(self, dataset: Dataset, changes: Changes, buckets: list[bytes], taken: int, live: int) -> None:
        self._dataset = dataset
        self._changes = changes
        self._buckets = buckets
        self._size = self.taken = taken
        self._live = live
        self._added: list[bytes] = []

    @classmethod
    def of(cls, dataset: Dataset, changes: Changes) -> Packed:
        """Everything anew, with nothing taken over from anywhere."""
        items = (*dataset.flags.values(), *dataset.segments.values())
        count = 1
        while count * _PER_BUCKET < len(items):
            count *= 2
        made = cls(dataset, changes, [], 0, 0)
        bodies: list[list[bytes]] = [[] for _ in range(count)]
        for item in items:
            hashed, entry = made._add(item)
            bodies[hashed & (count - 1)].append(entry)
        made._buckets = [_bucket(number, b"".join(body)) for number, body in enumerate(bodies)]
        return made

    def followed_by(self, dataset: Dataset, word: int) -> Packed:
        """What follows on this; it takes over nothing where nothing changed or much, or where that saves room."""
        flags = _changed(self._dataset.flags, dataset.flags)
        segments = _changed(self._dataset.segments, dataset.segments)
        if flags is None or segments is None or not 0 < len(flags) + len(segments) <= _MOST_TOLD:
            return Packed.of(dataset, Changes(word))
        items = flags + segments
        changes = self._changes.and_then(items, word)
        made = Packed(dataset, changes, self._buckets.copy(), self._size, self._live)
        known = (self._dataset.flags, self._dataset.segments)
        placed = [made._put(item, known=item.key in known[item.kind]) for item in items]
        crowded = len(dataset.flags) + len(dataset.segments) > 2 * _PER_BUCKET * len(made._buckets)
        if crowded or not all(placed) or (made._size - made._live) * _WASTE > made._size:
            return Packed.of(dataset, changes)
        return made

    def take(self) -> list[bytes]:
        """The blobs that stand behind those taken over. They are not kept."""
        added, self._added = self._added, []
        return added

    def _add(self, item: Item) -> tuple[int, bytes]:
        """Put an item's blob behind all others; its key hash, and its entry in the index."""
        key = item.key.encode("utf-8", "surrogatepass")
        blob = item.blob
        checksum = crc32(blob, crc32(key))
        hashed = key_hash(item.kind, key)
        version = min(max(item.version, _SMALLEST), _BIGGEST)
        tag = item.kind | (ARCHIVED if item.archived else 0)
        entry = ENTRY.pack(hashed, version, self._size, len(key), len(blob), checksum, tag)
        self._added += (key, blob)
        self._size += len(key) + len(blob)
        self._live += len(key) + len(blob)
        return hashed, entry

    def _put(self, item: Item, *, known: bool) -> bool:
        """Add an item in place of its former content; False where that is not found, for two keys have one hash."""
        hashed, entry = self._add(item)
        number = hashed & (len(self._buckets) - 1)
        entries = [*ENTRY.iter_unpack(self._buckets[number][BUCKET.size :])]
        former = [each for each in entries if (each[0], each[6] & 0xFF) == (hashed, item.kind)]
        others = (each for each in entries if each not in former)
        self._live -= sum(each[3] + each[4] for each in former)
        self._buckets[number] = _bucket(number, b"".join((*starmap(ENTRY.pack, others), entry)))
        return len(former) == known

    def head(self, stamp: Stamp) -> bytes:
        """All that stands in front of the blobs."""
        log = b"".join((self._changes.since.to_bytes(8, "little"), *(change for _, change in self._changes.told)))
        log = crc32(log).to_bytes(4, "little") + log
        directory_at = HEADER.size + len(log)
        ends = list(accumulate(map(len, self._buckets), initial=0))
        blobs_at = directory_at + 4 * len(ends) + ends[-1]
        dataset = self._dataset
        flags, segments, count = len(dataset.flags), len(dataset.segments), len(self._buckets)
        head = HEADER.pack(
            *(MAGIC, LAYOUT, stamp.word, *stamp.identity, blobs_at + self._size, stamp.now_ms, max(dataset.cursor, 0)),
            *(flags, segments, flags + segments, count),
            *(directory_at, blobs_at, SYNCED if stamp.synced else 0, 0),
        )
        head = head[:-8] + crc32(head[:-8]).to_bytes(8, "little")
        directory = struct.pack(f"<{len(ends)}I", *ends)
        return b"".join((head, log, directory, *self._buckets))


def pack(dataset: Dataset, word: int, identity: tuple[int, int], now_ms: int, *, synced: bool) -> list[bytes]:
    """The parts of a snapshot file, in order."""
    packed = Packed.of(dataset, Changes(word))
    return [packed.head(Stamp(word, identity, now_ms, synced)), *packed.take()]


def _change(item: Item, word: int) -> bytes:
    key = item.key.encode("utf-8", "surrogatepass")
    return CHANGE.pack(word, item.kind, len(key)) + key


def _bucket(number: int, body: bytes) -> bytes:
    return BUCKET.pack(crc32(body, number), len(body) // ENTRY.size) + body


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
