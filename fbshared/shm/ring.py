"""A ring: one process's own events, one writer and one reader, no lock between them.

The first page holds words; chunks follow, as many as the backlog needed so far. A position counts bytes since the
ring's birth; ``position // CHUNK`` is a sequence number, and the slot table says which chunk holds a sequence.
Records do not cross chunks.

===== ================= ====================================================================================
word  writer            content
===== ================= ====================================================================================
0     birth             magic
1     birth             layout
2-3   birth             identity of the region
4     birth             chunks that it may have
5-6   birth             owner: process id and start time, a hint for people (the owner lock is the truth)
7     birth             the owner's settings: role in the two low bits (0 unknown, ``MAY_LEAD``, ``FOLLOWER``), above
                        them a digest of what shapes how the region is led; for people, nobody acts on it
8     owner             head: the position behind the newest record
9     owner             records dropped because the ring was full
10    owner             records dropped because they were too large
11    owner             evaluations of this process that failed (threads may lose a count)
16-19 leader of epoch   tail: the position up to which events are delivered; the leader of epoch e writes word
                        16 + e % 4, and the largest of the four is the truth, so that a leader that was stopped and
                        wakes up cannot turn it back
20    leader            events delivered
21    leader            retired: the leader takes the owner for dead; an owner that is not takes a new ring
64-   owner             slot table: sequence << 16 | chunk, for ``sequence % SLOTS``
===== ================= ====================================================================================

A record is its length and the length of its first part, four bytes each, its checksum, eight bytes; then its own
bytes, and a gap up to a multiple of eight. A length of ``SKIP`` leads to the next chunk. The record is written before
the head moves over it, so a killed owner leaves either the whole record or none.

The checksum is ``crc32(first) ^ crc32(middle) ^ last``, where ``last`` are the last eight bytes as a number. A prepared
user and what an event says about it are the same as in earlier events, and so are their checksums, which nobody
computes again; the time is new every time, and stands in the checksum as it is (see ``core.events``). Where nothing is
known beforehand there is no first part.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from zlib import crc32

from fbshared.errors import CorruptError
from fbshared.shm.control import LAYOUT
from fbshared.shm.words import LARGEST, Buffer, Word, WordPage, words_of

__all__ = [
    "CHUNK",
    "FOLLOWER",
    "HEAD",
    "HEADER",
    "MAY_LEAD",
    "MOST_CHUNKS",
    "RECORD",
    "RETIRED",
    "Ring",
    "birth",
    "check_of",
    "chunks_for",
    "make_writer",
    "writers",
]

HEADER = 4096
CHUNK = 128 * 1024
MOST_CHUNKS = 400
SLOTS = 448
SKIP = 0xFFFF_FFFF
TYPICAL_EVENT = 256  # bytes
_MAGIC = int.from_bytes(b"fbsharR1", "little")
HEAD = 8
RETIRED = 21
MAY_LEAD, FOLLOWER = 1, 2  # the role in the word of settings
_SLOT = 64
_HEADER = Struct("<IIQ")
_LAST = 8
RECORD = _HEADER.size + _LAST  # bytes of a record besides its parts
_MOST_WRITERS = 1024

# Each writes a record whose parts, all before its last eight bytes, have one length: (buffer, offset, length, first,
# check, parts, last). That takes half the time of putting it together before. ``struct`` clears the place, and nobody
# reads there yet.
writers: dict[int, Callable[..., None]] = {}


def chunks_for(events: int) -> int:
    """How many chunks hold this many typical events."""
    return min(max(-(-events * TYPICAL_EVENT // CHUNK), 2), MOST_CHUNKS)


def make_writer(size: int) -> None:
    """Have a writer for parts of this size from now on, unless there are many writers."""
    if size not in writers and len(writers) < _MOST_WRITERS:
        writers[size] = Struct(f"{_HEADER.format}{size}sQ").pack_into


def check_of(payload: bytes, first: int) -> int:
    """The checksum of a record whose first part has so many bytes."""
    last = max(len(payload) - _LAST, first)
    return crc32(payload[:first]) ^ crc32(payload[first:last]) ^ int.from_bytes(payload[last:], "little")


def birth(identity: tuple[int, int], owner: tuple[int, int], chunks: int, settings: int = 0) -> bytes:
    """The first page of a new ring."""
    page = bytearray(HEADER)
    words = words_of(page, HEADER)
    words[0], words[1], words[2], words[3] = _MAGIC, LAYOUT, *identity
    words[4], words[5], words[6], words[7] = chunks, *owner, settings
    return bytes(page)


class Ring(WordPage):
    """One ring over its first page and a function that gives a chunk's bytes.

    Args:
        page: the first ``HEADER`` bytes.
        chunk: the bytes of an existing chunk, by number.
        add_chunk: makes one more chunk; raises ``OSError`` where there is no room. Only the owner has it.
    """

    __slots__ = ("_add_chunk", "_chunk", "_sequences", "current", "limit", "most", "start")

    head = Word(HEAD)
    dropped = Word(9)
    oversized = Word(10)
    failures = Word(11)
    delivered = Word(20)
    retired = Word(RETIRED)

    def __init__(
        self,
        page: Buffer,
        chunk: Callable[[int], Buffer],
        add_chunk: Callable[[int], Buffer] | None = None,
    ) -> None:
        if len(page) < HEADER:
            raise CorruptError("a ring is shorter than its first page")
        super().__init__(words_of(page, HEADER))
        if self.words[0] != _MAGIC or self.words[1] != LAYOUT:
            raise CorruptError("a ring is of another layout")
        self.most = min(self.words[4], MOST_CHUNKS)
        self._chunk = chunk
        self._add_chunk = add_chunk
        self._sequences: list[int] = []  # of each chunk that exists; the owner's memory
        self.current: Buffer = b""
        self.start = 0  # the owner's memory too: the positions where the current chunk begins and ends
        self.limit = 0

    @property
    def identity(self) -> tuple[int, int]:
        """The identity of the region that it was born in."""
        return self.words[2], self.words[3]

    @property
    def owner(self) -> tuple[int, int]:
        """Process id and start time of the owner."""
        return self.words[5], self.words[6]

    @property
    def may_lead(self) -> bool:
        """Whether its owner stands for the lead, as far as that is known."""
        return self.settings & 3 != FOLLOWER

    @property
    def settings(self) -> int:
        """What the owner was configured with, 0 where that is unknown."""
        settings: int = self.words[7]
        return settings

    @property
    def tail(self) -> int:
        """The position up to which events are delivered."""
        return max(self.words[16:20])

    def advance(self, epoch: int, position: int) -> None:
        """Note as the leader of ``epoch`` that everything before ``position`` is delivered."""
        self.words[16 + epoch % 4] = position

    def push(self, payload: bytes) -> bool:
        """Append a record, which is not empty, as the owner; False, and counted, where there is no room.

        Safe against an exception at any point: before the head moves nothing has happened.
        """
        words = self.words
        head: int = words[HEAD]
        length = len(payload)
        end = head + _HEADER.size + length + 7 & -8  # the head is a multiple of eight
        if end > self.limit or head < self.start:
            moved = self._enter_chunk(head, end - head)
            if moved is None:
                return False
            head, end = moved, moved + end - head
        offset = head - self.start
        # What stands in the gap behind it nobody reads.
        self.current[offset : offset + _HEADER.size + length] = _HEADER.pack(length, 0, check_of(payload, 0)) + payload  # type: ignore[index]
        words[HEAD] = end
        return True

    def _enter_chunk(self, head: int, size: int) -> int | None:
        """Where a record of ``size`` bytes goes when the current chunk has no room for it."""
        if size > CHUNK:
            self.oversized += 1
            return None
        sequence = -(-head // CHUNK)
        number = self._free_chunk(sequence)
        if number is None:
            self.dropped += 1
            return None
        try:
            chunk = self._chunk(number)
        except OSError:
            return None  # the ring was given up meanwhile; who puts looks at that next
        if head < self.limit:
            # Nobody reads behind the head yet, so the mark may be written before it moves.
            self.current[head % CHUNK : head % CHUNK + 8] = SKIP.to_bytes(8, "little")  # type: ignore[index]
        former = self._sequences[number]
        slot = _SLOT + former % SLOTS
        if former != sequence and self.words[slot] >> 16 == former:
            # Who still comes with an old tail must not take the new records for the old ones.
            self.words[slot] = LARGEST
        self._sequences[number] = sequence
        self.words[_SLOT + sequence % SLOTS] = sequence << 16 | number
        # The start first: until all is done, it leads the next push here again.
        self.start = sequence * CHUNK
        self.current = chunk
        self.limit = self.start + CHUNK
        return self.start

    def _free_chunk(self, sequence: int) -> int | None:
        """A chunk whose records are delivered, the one of an earlier try that was cut off, or a new one."""
        tail = self.tail
        for number, its in enumerate(self._sequences):
            if its >= sequence or (its + 1) * CHUNK <= tail:
                return number
        number = len(self._sequences)
        if number >= self.most or self._add_chunk is None:
            return None
        try:
            self._add_chunk(number)
        except OSError:
            return None
        self._sequences.append(-1)
        return number

    def read(self, tail: int, most: int) -> tuple[list[tuple[bytes, int]], int, int]:
        """Up to ``most`` records behind ``tail``, none of them behind a damaged one.

        A read that begins with damage passes over it, and nothing else: so each is counted once, however often
        the records before it are read.

        Returns:
            The records, each with the position behind it; the position behind all that was read; and how many
            damaged ones were passed over.
        """
        head = self.head
        records: list[tuple[bytes, int]] = []
        if head - tail > (self.most + 1) * CHUNK:
            return records, head, 1
        while tail < head and len(records) < most:
            end = min((tail // CHUNK + 1) * CHUNK, head)
            try:
                record, behind = self._record(tail, end)
            except CorruptError:
                # A damaged length hides where the next record begins; the next chunk is the next safe place.
                record, behind = None, end
            if record is None:
                return (records, tail, 0) if records else (records, behind, 1)
            if record:
                records.append((record, behind))
            tail = behind
        return records, tail, 0

    def _record(self, tail: int, end: int) -> tuple[bytes | None, int]:
        """The record at ``tail``, empty for a mark, None when damaged; and the position behind it."""
        sequence, offset = divmod(tail, CHUNK)
        slot: int = self.words[_SLOT + sequence % SLOTS]
        if slot >> 16 != sequence or slot & 0xFFFF >= self.most:
            raise CorruptError("a ring's slot table is damaged")
        chunk = self._chunk(slot & 0xFFFF)
        if int.from_bytes(chunk[offset : offset + 8], "little") == SKIP and end % CHUNK == 0:
            return b"", end
        begin = offset + _HEADER.size
        length, first, check = _HEADER.unpack_from(chunk, offset) if tail + _HEADER.size <= end else (0, 0, 0)
        position = tail + _HEADER.size + length + 7 & -8
        # No writer puts an empty record, so zeros are none.
        if tail % 8 or length == 0 or position > end:
            raise CorruptError("a ring's record is damaged")
        payload = bytes(chunk[begin : begin + length])
        return (payload if check_of(payload, first) == check else None), position

    def backlog(self) -> int:
        """Bytes that wait for delivery."""
        return max(self.head - self.tail, 0)
