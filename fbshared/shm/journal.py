"""The journal: the newest patches once more, in memory that every member has mapped already.

What is new in a publication is in its file, but to open a file costs a process more than all else that it does with
a patch. So the leader writes it here, too, record behind record, and begins anew where the room ends. Who has seen
the publication before goes on from here without a system call. Who comes too late, for a change too large, or upon
bytes that are not what they should be, opens the file: nothing depends on the journal.

It lies behind the control page, in the same file. The page tells where the newest record is: its first byte, counted
from the page's end, in the upper half of the word, and its size in the lower half. A record is an array in msgpack,
and its CRC-32 in four bytes, the lowest first::

    [place of the record before, publication word, the one before, that of the base, items]

Each item is an array, too: kind, key, stamp, archived, and the item in msgpack, as it is in a snapshot.

The leader alone writes. One that was superseded in the middle may write into what its successor wrote, and a reader
may be overtaken while it copies a record; both show in the checksum, or in a word that was not looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from fbshared.core.model import Item, pack_part, unpack_part
from fbshared.errors import MessageError
from fbshared.shm.control import JOURNAL
from fbshared.shm.snapshot import Entry, Snapshot, Stamp, key_hash, stamp_of

__all__ = ["JOURNAL_SIZE", "Journal", "News", "Recent"]

JOURNAL_SIZE = 1 << 16
_CHECKSUM = 4
_SOUND = crc32(b"fbshared" + crc32(b"fbshared").to_bytes(_CHECKSUM, "little"))  # of anything and its checksum
_LARGEST = JOURNAL_SIZE // 4  # of one record
_MOST = 64  # records that are gone through at most
_HALF = 32


class News(NamedTuple):
    """An item of a record, which is as good as its entry in the file."""

    stamp: Stamp
    archived: bool
    content: bytes

    def blob(self) -> bytes:
        """As ``Entry.blob``; the record's checksum has covered it."""
        return self.content


Told = dict[tuple[int, str], News]


class Journal:
    """Reads and writes the records of one region.

    Args:
        words: the control page's.
        room: the bytes behind it.
    """

    __slots__ = ("_end", "_place", "_room", "_words")

    def __init__(self, words: memoryview, room: memoryview) -> None:
        self._words = words
        self._room = room
        self._place = self._end = 0  # of the newest record that was written here

    def write(self, word: int, before: int, base: int, items: Sequence[Item]) -> None:
        """Add what is new in a publication, before its word is stored; what is too large is left out."""
        if sum(len(item.blob) for item in items) > _LARGEST:
            return
        told = [(item.kind, item.key, _stamp(item), item.archived, item.blob) for item in items]
        packed = pack_part((self._place, word, before, base, told))
        size = len(packed) + _CHECKSUM
        if size > _LARGEST:
            return
        at = self._end if self._end + size <= len(self._room) else 0
        self._room[at : at + size] = packed + crc32(packed).to_bytes(_CHECKSUM, "little")
        self._place, self._end = at << _HALF | size, at + size
        self._words[JOURNAL] = self._place

    def recent(self, word: int, since: int, base: int, open_snapshot: Callable[[int], Snapshot]) -> Recent | None:
        """A publication as one sees it who knows an earlier one on the same base; None where that is not told here."""
        try:
            told = self._since(word, since, base)
        except (MessageError, TypeError, ValueError):  # written by nobody of ours, or one damage in 2 ** 32
            return None
        return None if told is None else Recent(word, since, base, told, open_snapshot)

    def _since(self, word: int, since: int, base: int) -> Told | None:
        told: Told = {}
        place, wanted = self._words[JOURNAL], word
        for _ in range(_MOST):
            record = self._record(place)
            if record is None:
                return None
            content: Any = unpack_part(record)
            place, own, before, on, items = content
            if own > word:
                continue  # a newer one; the publication was looked at a moment earlier
            if own != wanted or on != base:
                return None
            for kind, key, (version, length, checksum), archived, blob in items:
                if (kind, key) not in told:
                    told[kind, key] = News((version, length, checksum), archived, blob)
            if before == since:
                return told
            if before < since:
                return None
            wanted = before
        return None

    def _record(self, place: int) -> bytes | None:
        """A copy of a record; None where there is none that can be believed."""
        at, size = place >> _HALF, place & ((1 << _HALF) - 1)
        record = bytes(self._room[at : at + min(size, _LARGEST)])
        return record[:-_CHECKSUM] if len(record) == size and crc32(record) == _SOUND else None


class Recent:
    """A publication as one sees it who knows an earlier one: what changed since is at hand, for all else its file is
    opened. Raises what ``Snapshot`` does.

    Attributes:
        base_word: the base's publication word.
    """

    __slots__ = ("_open", "_since", "_snapshot", "_told", "_word", "base_word")

    def __init__(
        self, word: int, since: int, base_word: int, told: Told, open_snapshot: Callable[[int], Snapshot]
    ) -> None:
        self.base_word = base_word
        self._word = word
        self._since = since
        self._told = told
        self._open = open_snapshot
        self._snapshot: Snapshot | None = None

    def changed_since(self, word: int) -> set[tuple[int, str]] | None:
        """As ``Snapshot.changed_since``."""
        return set(self._told) if word >= self._since else None

    def find(self, kind: int, key: str) -> Entry | News | None:
        """As ``Snapshot.find``."""
        return self._told.get((kind, key)) or self._file().find(kind, key)

    def base(self) -> Snapshot | None:
        """As ``Snapshot.base``."""
        return self._file().base()

    def _file(self) -> Snapshot:
        if self._snapshot is None:
            self._snapshot = self._open(self._word)
        return self._snapshot


def _stamp(item: Item) -> Stamp:
    return stamp_of(item, key_hash(item.kind, item.key.encode("utf-8", "surrogatepass")))
