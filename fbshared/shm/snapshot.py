"""A snapshot: all flags and segments of one generation, in one immutable file or in two.

One that stands alone has everything in its file. A delta has only what is new since its base, an earlier snapshot
that stands alone, and everything else is there: a patch costs a file of its own size, and whoever looks only at what
changed opens that one alone.

Layout of both, little-endian; offsets are from the file's start::

    header     16 words: magic, layout, publication word, identity (2), file size, birth ms, cursor ms,
               flags, segments (both with those of the base), publication word of the base (0: stands alone),
               buckets, directory offset, blobs offset, flags word (bit 0: a full sync is in it), CRC-32 of the
               15 words before
    changes    CRC-32 (4), a publication word (8), and what changed after that, newest first: publication word (8),
               kind (4), length of the key (4), key in UTF-8
    directory  buckets + 1 offsets of 4 bytes, relative to the directory's end
    buckets    each: CRC-32 (seeded with the bucket's number), count; then count entries of 36 bytes:
               key hash (4): CRC-32 of the key, seeded with the kind; kind and archived bit (4), version ms (8,
               signed), offset from the first blob (8), key length (4), blob length (4), CRC-32 of the blob,
               seeded with the key hash (4)
    blobs      each: key in UTF-8, then the item in msgpack (nothing for a tombstone); among them what no
               entry refers to any more

Whoever looks a key up checks the bucket it is in and the blob it finds, nothing else: the cost does not grow with
the environment, and no damaged byte is ever believed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple
from zlib import crc32

from fbshared.core.model import Item
from fbshared.errors import CorruptError
from fbshared.shm.control import LAYOUT
from fbshared.shm.words import Buffer

__all__ = ["BaseCorruptError", "Entry", "Snapshot", "Stamp"]

MAGIC = int.from_bytes(b"fbsharS1", "little")
HEADER = struct.Struct("<15QQ")
BUCKET = struct.Struct("<II")
ENTRY = struct.Struct("<IIqQIII")
CHANGE = struct.Struct("<QII")
_SMALLEST, _BIGGEST = -(2**63), 2**63 - 1
ARCHIVED = 0x100
SYNCED = 1


Stamp = tuple[int, int, int]


class Entry(NamedTuple):
    """Where an item is, and what tells one content of it from another."""

    version: int
    offset: int
    key_length: int
    length: int
    checksum: int
    kind: int
    archived: bool
    buffer: Buffer  # of the file that it is in

    @property
    def stamp(self) -> Stamp:
        """Equal for equal content."""
        return self.version, self.length, self.checksum

    def blob(self) -> bytes:
        """The item in msgpack, checked; ``CorruptError`` where it is not what was packed."""
        start = self.offset + self.key_length
        blob = self.buffer[start : start + self.length]
        if len(blob) != self.length or crc32(blob, key_hash(self.kind, key_of(self))) != self.checksum:
            raise CorruptError("an item of a snapshot is damaged")
        return bytes(blob)


def key_hash(kind: int, key: bytes) -> int:
    """What the index sorts an item by."""
    return crc32(key, kind)


def index_entry(item: Item, key: bytes, offset: int) -> tuple[int, bytes]:
    """The key hash of an item with this encoded key, and its entry in the index."""
    hashed = key_hash(item.kind, key)
    tag = item.kind | (ARCHIVED if item.archived else 0)
    version, length, checksum = stamp_of(item, hashed)
    return hashed, ENTRY.pack(hashed, tag, version, offset, len(key), length, checksum)


def stamp_of(item: Item, hashed: int) -> Stamp:
    """The stamp that an item with this key hash has in an entry."""
    return min(max(item.version, _SMALLEST), _BIGGEST), len(item.blob), crc32(item.blob, hashed)


def entry_of(raw: tuple[int, ...], blobs_at: int, buffer: Buffer) -> Entry:
    """The entry that was packed as ``raw``; its offset counts from there."""
    _, tag, version, offset, key_length, length, checksum = raw
    return Entry(version, blobs_at + offset, key_length, length, checksum, tag & 0xFF, bool(tag & ARCHIVED), buffer)


def key_of(entry: Entry) -> bytes:
    """The encoded key of an item, not checked."""
    return bytes(entry.buffer[entry.offset : entry.offset + entry.key_length])


class BaseCorruptError(CorruptError):
    """Nothing of a delta can be believed, whichever item was asked for: it has no base."""


class Snapshot:
    """Looks items up in the bytes of a snapshot file, and of its base where it has one.

    The base is opened when something is looked for that may be in it; all that looks may raise what ``open_base``
    raises.

    Args:
        word: the publication, which is in the file, too.
        identity: the region's.
        open_base: gives the snapshot of a publication; ``FileNotFoundError`` where it is gone.

    Raises:
        CorruptError: the bytes are cut off, damaged, or of another region, layout or publication.
    """

    __slots__ = (
        "_base",
        "_buckets",
        "_buckets_at",
        "_directory_at",
        "_mask",
        "_open_base",
        "base_word",
        "blobs_at",
        "born_at",
        "buffer",
        "cursor",
        "flags",
        "segments",
        "synced",
    )

    def __init__(
        self,
        buffer: Buffer,
        word: int,
        identity: tuple[int, int],
        open_base: Callable[[int], Snapshot] | None = None,
    ) -> None:
        if len(buffer) < HEADER.size:
            raise CorruptError("a snapshot is shorter than its header")
        head = HEADER.unpack_from(buffer)
        if head[0] != MAGIC or head[1] != LAYOUT:
            raise CorruptError("a snapshot is of another layout")
        if crc32(buffer[: HEADER.size - 8]) != head[15]:
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
        self.base_word: int = head[10]
        self.synced = bool(head[14] & SYNCED)
        self._buckets: int = head[11]
        self._mask = self._buckets - 1
        self._directory_at: int = head[12]
        self._buckets_at: int = self._directory_at + 4 * (self._buckets + 1)
        self.blobs_at: int = head[13]
        self._open_base = open_base
        self._base: Snapshot | None = None

    def base(self) -> Snapshot | None:
        """The snapshot with everything that is not in this one's file; None where this one stands alone."""
        if self._base is None and self.base_word:
            if self._open_base is None:
                raise BaseCorruptError("a snapshot cannot stand without its base")
            try:
                base = self._open_base(self.base_word)
            except CorruptError as error:
                raise BaseCorruptError(f"the base: {error}") from error
            if base.base_word:
                raise BaseCorruptError("a snapshot's base does not stand alone")
            self._base = base
        return self._base

    def changed_since(self, word: int) -> set[tuple[int, str]] | None:
        """Kind and key of every item that changed after an earlier publication; None where that is not known any
        more."""
        log = self._log()
        if word < int.from_bytes(log[4:12], "little"):
            return None
        changed = set()
        at = 12
        while at < len(log):
            published, kind, length = CHANGE.unpack_from(log, at)
            if published <= word:
                break
            at += CHANGE.size + length
            changed.add((kind, log[at - length : at].decode("utf-8", "surrogatepass")))
        return changed

    def _log(self) -> bytes:
        log = bytes(self.buffer[HEADER.size : self._directory_at])
        if len(log) < 12 or crc32(log[4:]) != int.from_bytes(log[:4], "little"):
            raise CorruptError("a snapshot's changes are damaged")
        return log

    def find(self, kind: int, key: str) -> Entry | None:
        """The entry of an item, tombstones included; None where the snapshot has no such item."""
        encoded = key.encode("utf-8", "surrogatepass")
        hashed = key_hash(kind, encoded)
        found = self._find(kind, encoded, hashed)
        if found is None and (base := self.base()) is not None:
            found = base._find(kind, encoded, hashed)
        return found

    def keys(self, kind: int) -> Iterator[tuple[str, Entry]]:
        """All items of a kind, tombstones left out."""
        return ((key, entry) for key, entry in self._entries() if entry.kind == kind and not entry.archived)

    def items(self) -> Iterator[Item]:
        """Everything, tombstones included, as the leader needs it to go on from here."""
        self._log()
        for key, entry in self._entries():
            yield Item(entry.kind, key, entry.version, entry.archived, entry.blob())

    def _entries(self) -> Iterator[tuple[str, Entry]]:
        base = self.base()
        if base is None:
            yield from self._in_file()
            return
        newer = {(entry.kind, key): entry for key, entry in self._in_file()}
        for key, entry in base._in_file():
            yield key, newer.pop((entry.kind, key), entry)
        for (_, key), entry in newer.items():
            yield key, entry

    def _in_file(self) -> Iterator[tuple[str, Entry]]:
        for number in range(self._buckets):
            for raw in self._bucket(number):
                entry = entry_of(raw, self.blobs_at, self.buffer)
                key = key_of(entry)
                if key_hash(entry.kind, key) != raw[0]:
                    raise CorruptError("a key of a snapshot is damaged")
                yield key.decode("utf-8", "surrogatepass"), entry

    def _find(self, kind: int, encoded: bytes, hashed: int) -> Entry | None:
        """As ``find``, in this file alone."""
        for entry in self._bucket(hashed & self._mask):
            if entry[0] == hashed and entry[1] & 0xFF == kind:
                found = entry_of(entry, self.blobs_at, self.buffer)
                if key_of(found) == encoded:
                    return found
                found.blob()  # raises for a damaged key; else two keys have one hash
        return None

    def _bucket(self, number: int) -> Iterator[tuple[int, ...]]:
        try:
            start, end = struct.unpack_from("<II", self.buffer, self._directory_at + 4 * number)
            checksum, count = BUCKET.unpack_from(self.buffer, self._buckets_at + start)
        except struct.error:
            raise CorruptError("a snapshot's index is damaged") from None
        if not start + BUCKET.size <= end <= self.blobs_at - self._buckets_at:
            raise CorruptError("a snapshot's directory is damaged")
        body = self.buffer[self._buckets_at + start + BUCKET.size : self._buckets_at + end]
        if len(body) != count * ENTRY.size or crc32(body, number) != checksum:
            raise CorruptError("a snapshot's index is damaged")
        return ENTRY.iter_unpack(body)
