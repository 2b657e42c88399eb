"""The journal: the newest patches once more, in memory that every member has mapped already.

What is new in a publication is in its file, but to open a file costs a process more than all else that it does with
a patch. So the leader writes it here, too, record behind record, and begins anew where the room ends. Who has seen
the publication before goes on from here without a system call. Who comes too late, for a change too large, or upon
bytes that are not what they should be, opens the file: nothing depends on the journal.

It lies behind the control page, in the same file. The page tells where the newest record begins. Layout of a record,
little-endian::

    head       size of the record (4), where the record of the publication before begins (4), publication word (8),
               the one before (8), that of the base (8), entries (4)
    entries    as in the index of a snapshot
    blobs      as in a snapshot
    checksum   CRC-32 of all that stands before it (4)

The leader alone writes. One that was superseded in the middle may write into what its successor wrote, and a reader
may be overtaken while it copies a record; both show in the checksum, or in a word that was not looked for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from zlib import crc32

from fbshared.core.model import Item
from fbshared.shm.control import JOURNAL
from fbshared.shm.snapshot import ENTRY, Entry, Snapshot, blob_of, entry_of, index_entry

__all__ = ["JOURNAL_SIZE", "Journal", "Recent"]

JOURNAL_SIZE = 1 << 16
_HEAD = struct.Struct("<IIQQQI")
_SOUND = crc32(b"fbshared" + crc32(b"fbshared").to_bytes(4, "little"))  # of anything followed by its checksum
_LARGEST = JOURNAL_SIZE // 4  # of one record
_MOST = 64  # records that are gone through at most

# Raw entry, where the blobs begin, and the record. Few of what changes is used in this process.
Entries = dict[tuple[int, str], tuple[tuple[int, ...], int, bytes]]


class Journal:
    """Reads and writes the records of one region.

    Args:
        words: the control page's.
        room: the bytes behind it.
    """

    __slots__ = ("_at", "_end", "_room", "_words")

    def __init__(self, words: memoryview, room: memoryview) -> None:
        self._words = words
        self._room = room
        self._at = self._end = 0  # of the newest record that was written here

    def write(self, word: int, before: int, base: int, items: Sequence[Item]) -> None:
        """Add what is new in a publication, before its word is stored; what is too large is left out."""
        if sum(len(item.key) * 4 + len(item.blob) + ENTRY.size for item in items) > _LARGEST - _HEAD.size - 4:
            return
        entries: list[bytes] = []
        blobs: list[bytes] = []
        size = 0
        for item in items:
            key = item.key.encode("utf-8", "surrogatepass")
            entries.append(index_entry(item, key, size)[1])
            blobs += (key, item.blob)
            size += len(key) + len(item.blob)
        size += _HEAD.size + ENTRY.size * len(items) + 4
        record = b"".join((_HEAD.pack(size, self._at, word, before, base, len(items)), *entries, *blobs))
        at = self._end if self._end + size <= len(self._room) else 0
        self._room[at : at + size] = record + crc32(record).to_bytes(4, "little")
        self._at, self._end = at, at + size
        self._words[JOURNAL] = at

    def recent(self, word: int, since: int, base: int, open_snapshot: Callable[[int], Snapshot]) -> Recent | None:
        """A publication as one sees it who knows an earlier one on the same base; None where that is not told here."""
        try:
            entries = self._since(word, since, base)
        except (struct.error, UnicodeDecodeError):  # written by nobody of ours, or one damage in four thousand million
            return None
        return None if entries is None else Recent(word, since, base, entries, open_snapshot)

    def _since(self, word: int, since: int, base: int) -> Entries | None:
        found: Entries = {}
        at, wanted = self._words[JOURNAL], word
        for _ in range(_MOST):
            record = self._record(at)
            if record is None:
                return None
            _, at, own, before, on, count = _HEAD.unpack_from(record)
            if own > word:
                continue  # a newer one; the publication was looked at a moment earlier
            if own != wanted or on != base:
                return None
            blobs_at = _HEAD.size + count * ENTRY.size
            for raw in ENTRY.iter_unpack(record[_HEAD.size : blobs_at]):
                key_at = blobs_at + raw[3]
                key = record[key_at : key_at + raw[4]].decode("utf-8", "surrogatepass")
                found.setdefault((raw[1] & 0xFF, key), (raw, blobs_at, record))
            if before == since:
                return found
            if before < since:
                return None
            wanted = before
        return None

    def _record(self, at: int) -> bytes | None:
        """A copy of a record; None where there is none that can be believed."""
        size = int.from_bytes(self._room[at : at + 4], "little")
        record = bytes(self._room[at : at + min(size, _LARGEST)])
        return record if len(record) == size > _HEAD.size and crc32(record) == _SOUND else None


class Recent:
    """A publication as one sees it who knows an earlier one: what changed since is at hand, for all else its file is
    opened. Raises what ``Snapshot`` does.

    Attributes:
        base_word: the base's publication word.
    """

    __slots__ = ("_entries", "_open", "_since", "_snapshot", "_word", "base_word")

    def __init__(
        self, word: int, since: int, base_word: int, entries: Entries, open_snapshot: Callable[[int], Snapshot]
    ) -> None:
        self.base_word = base_word
        self._word = word
        self._since = since
        self._entries = entries
        self._open = open_snapshot
        self._snapshot: Snapshot | None = None

    def changed_since(self, word: int) -> set[tuple[int, str]] | None:
        """As ``Snapshot.changed_since``."""
        return set(self._entries) if word >= self._since else None

    def find(self, kind: int, key: str) -> Entry | None:
        """As ``Snapshot.find``."""
        known = self._entries.get((kind, key))
        return entry_of(*known) if known is not None else self._file().find(kind, key)

    def blob(self, entry: Entry) -> bytes:
        """As ``Snapshot.blob``."""
        return blob_of(entry)

    def base(self) -> Snapshot | None:
        """As ``Snapshot.base``."""
        return self._file().base()

    def _file(self) -> Snapshot:
        if self._snapshot is None:
            self._snapshot = self._open(self._word)
        return self._snapshot
