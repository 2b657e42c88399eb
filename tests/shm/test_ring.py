"""A ring against a queue: over byte arrays, with any sizes, damage, and exceptions at any line."""

import errno
import sys
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.errors import CorruptError
from fbshared.shm import ring as ring_module
from fbshared.shm.ring import CHUNK, HEADER, MOST_CHUNKS, SLOTS, Ring, birth, chunks_for

LARGEST = CHUNK - 16
lawful = settings(deadline=None, derandomize=True, database=None, max_examples=150)


class Memory:
    """A ring's bytes, with room for some chunks."""

    def __init__(self, chunks: int = 3, room: int = MOST_CHUNKS) -> None:
        self.page = bytearray(birth((1, 2), (3, 4), chunks))
        self.chunks: list[bytearray] = []
        self.room = room

    def add(self, number: int) -> bytearray:
        if number >= self.room:
            raise OSError(errno.ENOSPC, "no room")
        if number == len(self.chunks):
            self.chunks.append(bytearray(CHUNK))
        return self.chunks[number]

    def owner(self) -> Ring:
        return Ring(self.page, self.chunks.__getitem__, self.add)

    def reader(self) -> Ring:
        return Ring(memoryview(bytes(self.page)), self.chunk)

    def chunk(self, number: int) -> bytes:
        if number >= len(self.chunks):
            raise CorruptError("no such chunk")
        return bytes(self.chunks[number])


def drained(ring: Ring) -> list[bytes]:
    """All records that a reader finds, several reads long."""
    found, position = [], ring.tail
    while position < ring.head:
        records, position, corrupt = ring.read(position, 7)
        assert 0 == corrupt
        found += [record for record, _ in records]
    return found


# Birth


def test_a_new_ring_knows_where_it_belongs() -> None:
    """Identity and owner are those of its birth, and it holds nothing."""
    ring = Memory().owner()

    assert ((1, 2), (3, 4)) == (ring.identity, ring.owner)
    assert (0, 0, 0) == (ring.head, ring.tail, ring.backlog())


@pytest.mark.parametrize("page", [b"", bytes(HEADER), birth((1, 2), (3, 4), 2)[:-8]])
def test_other_bytes_are_no_ring(page: bytes) -> None:
    """What is too short or begins otherwise is refused."""
    with pytest.raises(CorruptError):
        Ring(page, Memory().add)


def test_another_layout_is_refused() -> None:
    """A ring of another version of the package is left alone."""
    memory = Memory()
    memory.page[8] += 1

    with pytest.raises(CorruptError):
        memory.reader()


@pytest.mark.parametrize(("events", "chunks"), [(1, 2), (1025, 3), (10_000, 20), (10**9, MOST_CHUNKS)])
def test_room_for_typical_events(events: int, chunks: int) -> None:
    """There is room for this many events, in two chunks at least and not more than the page can name."""
    assert chunks == chunks_for(events)
    assert SLOTS > MOST_CHUNKS


# Push, read, advance


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 300)),
        st.tuples(st.just("push"), st.integers(LARGEST - 17, LARGEST)),
        st.tuples(st.just("push"), st.integers(CHUNK // 3, CHUNK // 2)),
        st.tuples(st.just("read"), st.integers(1, 6)),
    ),
    max_size=60,
)


@lawful
@given(STEPS, st.integers(1, 4), st.integers(0, 4))
def test_a_ring_is_a_queue(steps: list[tuple[str, int]], chunks: int, room: int) -> None:
    """Records come out whole and in order; what found no room is dropped and counted, and nothing else is."""
    memory = Memory(chunks, room)
    ring, queue, dropped = memory.owner(), deque[bytes](), 0
    for number, (what, size) in enumerate(steps):
        if what == "push":
            record = (number.to_bytes(2, "little") * (size // 2 + 1))[:size]
            if ring.push(record):
                queue.append(record)
            else:
                dropped += 1
        else:
            records, _, corrupt = memory.reader().read(ring.tail, size)
            assert (0, min(size, len(queue))) == (corrupt, len(records))
            for record, position in records:
                assert queue.popleft() == record
                ring.advance(5, position)

    assert dropped == ring.dropped
    assert list(queue) == drained(memory.reader())
    assert len(memory.chunks) <= min(chunks, room)


def test_an_empty_ring_takes_all_sizes_again_and_again() -> None:
    """Delivered chunks are used again without end."""
    memory = Memory(chunks=2)
    ring = memory.owner()
    for number in range(1000):
        record = bytes([number % 251 + 1]) * (1 + number * 7919 % LARGEST)
        assert ring.push(record)
        assert [record] == drained(memory.reader())
        ring.advance(1, ring.head)

    assert 2 == len(memory.chunks)


def test_too_large_for_a_chunk() -> None:
    """What fits in no chunk is dropped and counted by itself; the ring goes on."""
    ring = Memory().owner()

    assert not ring.push(bytes(LARGEST + 1))
    assert ring.push(bytes([7]) * LARGEST)
    assert (1, 0) == (ring.oversized, ring.dropped)


def test_a_ring_that_is_full_takes_again_what_is_delivered() -> None:
    """The newest is dropped, never an old one, and a delivery makes room."""
    memory = Memory(chunks=2)
    ring = memory.owner()
    first, second, third = (bytes([mark]) * LARGEST for mark in b"abc")
    assert ring.push(first)
    assert ring.push(second)

    assert not ring.push(third)
    assert [first, second] == drained(memory.reader())
    ring.advance(1, CHUNK)
    assert ring.push(third)
    assert [second, third] == drained(memory.reader())


def test_no_room_for_another_chunk() -> None:
    """A full disk is a full ring, and room that appears later is used."""
    memory = Memory(chunks=3, room=1)
    ring = memory.owner()
    assert ring.push(b"a" * LARGEST)

    assert not ring.push(b"b")
    memory.room = 2
    assert ring.push(b"c")
    assert [b"a" * LARGEST, b"c"] == drained(memory.reader())
    assert 1 == ring.dropped


def test_a_reader_adds_no_chunks() -> None:
    """Only the owner can make a ring grow."""
    memory = Memory()

    assert not Ring(memory.page, memory.add).push(b"a")
    assert [] == memory.chunks


# The tail


def test_the_largest_tail_is_the_truth() -> None:
    """A leader that was stopped and wakes up cannot turn the tail back: it writes a word of its own."""
    ring = Memory().owner()
    ring.push(b"a" * 100)
    ring.push(b"b" * 100)
    ring.advance(7, ring.head)
    ring.advance(6, 120)

    assert ring.head == ring.tail


@lawful
@given(st.lists(st.integers(1, LARGEST), min_size=1, max_size=12), st.data())
def test_a_tail_turned_back_gives_no_strange_record(sizes: list[int], data: st.DataObject) -> None:
    """A leader of four epochs ago shares the word: its reader sees records of the ring or damage, in a bounded time,
    and never a later record in the place of an earlier one."""
    memory = Memory(chunks=2)
    ring, pushed = memory.owner(), {}
    for number, size in enumerate(sizes):
        record = (number + 1).to_bytes(2, "big") * (size // 2 + 1)
        assert ring.push(record[:size])
        pushed[ring.head] = record[:size]
        ring.advance(9, ring.head)
    position, reader = data.draw(st.sampled_from([0, *pushed])), memory.reader()
    while position < ring.head:
        records, after, _ = reader.read(position, 100)

        assert position < after
        assert all(pushed[behind] == record for record, behind in records)
        position = after


# Damage


def some_records(count: int = 40) -> tuple[Memory, list[bytes]]:
    memory = Memory(chunks=3)
    ring = memory.owner()
    records = [bytes([1 + number]) * (1000 + number * 211) for number in range(count)]
    assert all(map(ring.push, records))
    return memory, records


@lawful
@given(st.integers(0, 2 * CHUNK - 1), st.integers(1, 255))
def test_a_damaged_byte_is_never_believed(place: int, bits: int) -> None:
    """Whatever byte of the records is wrong, others are read as they were and the wrong one is counted."""
    memory, records = some_records()
    assert 2 == len(memory.chunks)
    memory.chunks[place // CHUNK][place % CHUNK] ^= bits
    reader, found, damaged, position = memory.reader(), list[bytes](), 0, 0
    while position < reader.head:
        read, after, corrupt = reader.read(position, 9)
        assert position < after
        found, damaged, position = found + [record for record, _ in read], damaged + corrupt, after

    assert set(found) <= set(records)
    assert sorted(found, key=records.index) == found
    assert bool(damaged) or found == records


@lawful
@given(
    st.integers(64, 66) | st.integers(64, 511),
    st.integers(0, 2**64 - 1) | st.builds(lambda high, low: high << 16 | low, st.integers(0, 2), st.integers(0, 500)),
)
def test_a_damaged_slot_is_never_believed(slot: int, value: int) -> None:
    """A wrong entry of the slot table costs at most its own chunk."""
    memory, records = some_records()
    page = bytes(memory.page)
    memory.page[slot * 8 : slot * 8 + 8] = value.to_bytes(8, "little")
    reader, found, position = memory.reader(), list[bytes](), 0
    while position < reader.head:
        read, after, _ = reader.read(position, 100)
        assert position < after
        found, position = found + [record for record, _ in read], after

    assert set(found) <= set(records)
    assert (found == records) == (slot > 65 or page == memory.page)


def test_zeros_are_damage() -> None:
    """Bytes that nobody wrote are no records: one is counted, and the next chunk goes on."""
    memory, records = some_records()
    memory.chunks[0][:] = bytes(CHUNK)
    reader, found, damaged, position = memory.reader(), list[bytes](), 0, 0
    while position < reader.head:
        read, position, corrupt = reader.read(position, 100)
        found, damaged = found + [record for record, _ in read], damaged + corrupt

    assert 1 == damaged
    assert found
    assert found == records[-len(found) :]


def test_a_tail_between_two_words() -> None:
    """A position that no record can begin at leads to the next chunk."""
    memory, _ = some_records()

    assert ([], CHUNK, 1) == memory.reader().read(3, 10)


def test_a_head_beyond_reason() -> None:
    """A damaged head is passed over at once, not searched for records."""
    memory, _ = some_records()
    memory.page[8 * 8 : 8 * 8 + 8] = b"\xff" * 8

    assert ([], 2**64 - 1, 1) == memory.reader().read(0, 10)


def test_a_missing_chunk_is_damage() -> None:
    """A file that is shorter than its ring says costs the records in what is missing, and no more."""
    memory, _ = some_records()

    def cut(number: int) -> bytes:
        if number:
            raise CorruptError("too short")
        return bytes(memory.chunks[number])

    reader = Ring(memory.page, cut)
    records, end, _ = reader.read(0, 1000)

    assert records
    assert ([], reader.head, 1) == reader.read(end, 1000)


def test_a_read_ends_before_damage() -> None:
    """What is good is given first, and damage is counted once: by the read that begins with it."""
    memory, records = some_records(5)
    reader = memory.reader()
    ends = [position for _, position in reader.read(0, 10)[0]]
    memory.chunks[0][ends[1] + 20] ^= 1
    reader = memory.reader()

    assert ([(records[0], ends[0]), (records[1], ends[1])], ends[1], 0) == reader.read(0, 10)
    assert ([], ends[2], 1) == reader.read(ends[1], 10)
    assert records[3:] == [record for record, _ in reader.read(ends[2], 10)[0]]


# Exceptions


class Stroke(BaseException):
    """Strikes between any two lines, as a signal handler's exception does."""


def struck(call: Callable[[], Any], line: int, files: tuple[str, ...] = (ring_module.__file__,)) -> bool:
    """Whether the call was cut off: an exception strikes it before the n-th line of these files."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            count += 1
            if count == line:
                raise Stroke
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Stroke:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("filled", [0, 1000, CHUNK - 16 - 1000, LARGEST])
@pytest.mark.parametrize("size", [1, 900, 5000, LARGEST])
@pytest.mark.parametrize("after", [10, 900, 5000])
def test_an_exception_at_any_line_of_a_push(filled: int, size: int, after: int) -> None:
    """Earlier records stay, the struck one is there as a whole or not at all, and the ring goes on."""
    line, cut_off = 1, True
    while cut_off:
        memory = Memory(chunks=2)
        ring = memory.owner()
        before = [b"x" * filled] if filled and ring.push(b"x" * filled) else []
        cut_off = struck(lambda: ring.push(b"y" * size), line)  # noqa: B023
        there = drained(memory.reader())
        assert there in (before, [*before, b"y" * size])
        if ring.push(b"z" * after):
            there.append(b"z" * after)
        assert there == drained(memory.reader())
        ring.advance(1, ring.head)
        assert ring.push(b"w" * LARGEST)
        assert [b"w" * LARGEST] == drained(memory.reader())
        line += 1

    assert line > 5


def test_exceptions_use_up_no_chunks() -> None:
    """However often a push that enters a chunk is cut off, the ring keeps its room."""
    memory = Memory(chunks=2)
    ring = memory.owner()
    assert ring.push(b"a" * (LARGEST - 100))
    lines = 0
    while struck(lambda: ring.push(b"b" * 200), lines + 1):
        lines += 1

    # The last stroke fell behind the head's move.
    assert [b"a" * (LARGEST - 100), b"b" * 200, b"b" * 200] == drained(memory.reader())
    assert 0 == ring.dropped
    assert lines > 15
