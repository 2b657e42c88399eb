"""A snapshot: one immutable file with all flags and segments of one generation.

Layout, little-endian; offsets are from the file's start::

    header     16 words: magic, layout, publication word, identity (2), file size, birth ms, cursor ms,
               flags, segments, items, buckets, directory offset, blobs offset, flags word (bit 0: a full
               sync is in it), CRC-32 of the 15 words before
    directory  buckets + 1 offsets of 4 bytes, relative to the directory's end
    buckets    each: CRC-32 (seeded with the bucket's number), count; then count entries of 40 bytes:
               key hash (8), version ms (8, signed), blob offset (8), key length (4), blob length (4),
               CRC-32 of key and blob (4), kind and archived bit (4)
    blobs      each: key in UTF-8, then the item in msgpack (nothing for a tombstone)

Whoever looks a key up checks the bucket it is in and the blob it finds, nothing else: the cost does not grow with
the environment, and no damaged byte is ever believed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import blake2b
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from fbshared.core.model import Dataset, Item
from fbshared.errors import CorruptError
from fbshared.shm.control import LAYOUT
from fbshared.shm.words import Buffer

__all__ = ["Entry", "Snapshot", "pack"]

_MAGIC = int.from_bytes(b"fbsharS1", "little")
_HEADER = struct.Struct("<15QQ")
_BUCKET = struct.Struct("<II")
_ENTRY = struct.Struct("<QqQIIII")
_PER_BUCKET = 4
_ARCHIVED = 0x100
_SYNCED = 1
_SMALLEST, _BIGGEST = -(2**63), 2**63 - 1


class Entry(NamedTuple):
    """Where an item is, and what tells one content of it from another."""

    version: int
    offset: int
    key_length: int
    length: int
    checksum: int
    kind: int
    archived: bool

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Equal for equal content."""
        return self.version, self.length, self.checksum


def key_hash(kind: int, key: bytes) -> int:
    """The 8-byte hash that the index sorts an item by."""
    return int.from_bytes(blake2b(key, digest_size=8, salt=bytes((kind,))).digest(), "little")


def pack(dataset: Dataset, word: int, identity: tuple[int, int], now_ms: int, *, synced: bool) -> list[bytes]:
    """The parts of a snapshot file, in order."""
    items = (*dataset.flags.values(), *dataset.segments.values())
    count = 1
    while count * _PER_BUCKET < len(items):
        count *= 2
    buckets: list[list[bytes]] = [[] for _ in range(count)]
    blobs: list[bytes] = []
    offset = _HEADER.size + 4 * (count + 1) + _BUCKET.size * count + _ENTRY.size * len(items)
    blobs_at = offset
    for item in items:
        key = item.key.encode("utf-8", "surrogatepass")
        checksum = crc32(item.blob, crc32(key))
        hashed = key_hash(item.kind, key)
        version = min(max(item.version, _SMALLEST), _BIGGEST)
        tag = item.kind | (_ARCHIVED if item.archived else 0)
        buckets[hashed & (count - 1)].append(
            _ENTRY.pack(hashed, version, offset, len(key), len(item.blob), checksum, tag)
        )
        blobs += (key, item.blob)
        offset += len(key) + len(item.blob)
    bodies = [b"".join(entries) for entries in buckets]
    ends = accumulate((_BUCKET.size + len(body) for body in bodies), initial=0)
    directory = struct.pack(f"<{count + 1}I", *ends)
    head = _HEADER.pack(
        *(_MAGIC, LAYOUT, word, *identity, offset, now_ms, max(dataset.cursor, 0)),
        *(len(dataset.flags), len(dataset.segments), len(items), count),
        *(_HEADER.size, blobs_at, _SYNCED if synced else 0, 0),
    )
    head = head[:-8] + crc32(head[:-8]).to_bytes(8, "little")
    parts = [head, directory]
    for number, body in enumerate(bodies):
        parts += (_BUCKET.pack(crc32(body, number), len(body) // _ENTRY.size), body)
    return [b"".join(parts), *blobs]


class Snapshot:
    """Looks items up in the bytes of one snapshot file.

    Raises:
        CorruptError: the bytes are cut off, damaged, or of another region, layout or publication.
    """

    __slots__ = (
        "_blobs_at",
        "_buckets",
        "_buckets_at",
        "_mask",
        "born_at",
        "buffer",
        "cursor",
        "flags",
        "segments",
        "synced",
    )

    def __init__(self, buffer: Buffer, word: int, identity: tuple[int, int]) -> None:
        if len(buffer) < _HEADER.size:
            raise CorruptError("a snapshot is shorter than its header")
        head = _HEADER.unpack_from(buffer)
        if head[0] != _MAGIC or head[1] != LAYOUT:
            raise CorruptError("a snapshot is of another layout")
        if crc32(buffer[: _HEADER.size - 8]) != head[15]:
            raise CorruptError("a snapshot's header is damaged")
        if head[2] != word or head[3:5] != identity:
            raise CorruptError("a snapshot belongs to another publication")
        if head[5] != len(buffer):
            raise CorruptError("a snapshot is cut off")
        self.buffer = buffer
        self.born_at: int = head[6]
        self.cursor: int = head[7]
        self.flags: int = head[8]
        self.segments: int = head[9]
        self.synced = bool(head[14] & _SYNCED)
        self._buckets: int = head[11]
        self._mask = self._buckets - 1
        self._buckets_at: int = _HEADER.size + 4 * (self._buckets + 1)
        self._blobs_at: int = head[13]

    def find(self, kind: int, key: str) -> Entry | None:
        """The entry of an item, tombstones included; None where the snapshot has no such item."""
        encoded = key.encode("utf-8", "surrogatepass")
        hashed = key_hash(kind, encoded)
        for entry in self._bucket(hashed & self._mask):
            if entry[0] == hashed and entry[6] & 0xFF == kind:
                found = _entry_of(entry)
                if self._key(found) == encoded:
                    return found
                self.blob(found)  # raises for a damaged key; else two keys have one hash
        return None

    def blob(self, entry: Entry) -> bytes:
        """The item in msgpack, checked."""
        key = self._key(entry)
        start = entry.offset + entry.key_length
        blob = self.buffer[start : start + entry.length]
        if len(blob) != entry.length or crc32(blob, crc32(key)) != entry.checksum:
            raise CorruptError("an item of a snapshot is damaged")
        return bytes(blob)

    def keys(self, kind: int) -> Iterator[tuple[str, Entry]]:
        """All items of a kind, tombstones left out."""
        return ((key, entry) for key, entry in self._entries() if entry.kind == kind and not entry.archived)

    def items(self) -> Iterator[Item]:
        """Everything, tombstones included, as the leader needs it to go on from here."""
        for key, entry in self._entries():
            yield Item(entry.kind, key, entry.version, entry.archived, self.blob(entry))

    def _entries(self) -> Iterator[tuple[str, Entry]]:
        for number in range(self._buckets):
            for raw in self._bucket(number):
                entry = _entry_of(raw)
                key = self._key(entry)
                if key_hash(entry.kind, key) != raw[0]:
                    raise CorruptError("a key of a snapshot is damaged")
                yield key.decode("utf-8", "surrogatepass"), entry

    def _key(self, entry: Entry) -> bytes:
        return bytes(self.buffer[entry.offset : entry.offset + entry.key_length])

    def _bucket(self, number: int) -> Iterator[tuple[int, ...]]:
        try:
            start, end = struct.unpack_from("<II", self.buffer, _HEADER.size + 4 * number)
            checksum, count = _BUCKET.unpack_from(self.buffer, self._buckets_at + start)
        except struct.error:
            raise CorruptError("a snapshot's index is damaged") from None
        if not start + _BUCKET.size <= end <= self._blobs_at - self._buckets_at:
            raise CorruptError("a snapshot's directory is damaged")
        body = self.buffer[self._buckets_at + start + _BUCKET.size : self._buckets_at + end]
        if len(body) != count * _ENTRY.size or crc32(body, number) != checksum:
            raise CorruptError("a snapshot's index is damaged")
        return _ENTRY.iter_unpack(body)


def _entry_of(raw: tuple[int, ...]) -> Entry:
    _, version, offset, key_length, length, checksum, tag = raw
    return Entry(version, offset, key_length, length, checksum, tag & 0xFF, bool(tag & _ARCHIVED))
