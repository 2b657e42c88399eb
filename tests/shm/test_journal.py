"""The journal tells what a snapshot tells, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core.model import EMPTY, FLAG, SEGMENT, Dataset, Item, pack_part
from fbshared.shm.control import CONTROL_SIZE, JOURNAL
from fbshared.shm.journal import JOURNAL_SIZE, Journal, Recent
from fbshared.shm.snapshot import Snapshot
from tests.chain import Chain

BASE = 1
WORDS = CONTROL_SIZE // 8


def no_file(word: int) -> Snapshot:
    raise AssertionError("a file was opened")


def journal() -> Journal:
    return Journal(memoryview(bytearray(CONTROL_SIZE)).cast("Q"), memoryview(bytearray(JOURNAL_SIZE)))


def item(key: str, version: int = 1, blob: bytes = b"x", kind: int = FLAG) -> Item:
    return Item(kind, key, version, False, blob)


def seen(recent: Recent | None, *keys: str, kind: int = FLAG) -> list[tuple[int, bytes]]:
    assert recent is not None
    entries = [recent.find(kind, key) for key in keys]
    return [(entry.stamp[0], entry.blob()) for entry in entries if entry is not None]


def written(count: int, size: int = 1) -> Journal:
    """A journal with publications 2 to 1 + count on the base 1; each has flag "a" and one of its own."""
    made = journal()
    for word in range(2, 2 + count):
        blob = b"%d" % word * size
        made.write(word, word - 1, BASE, [item("a", word, blob), item(f"flag-{word}", word, blob)])
    return made


def test_the_next_publication() -> None:
    """What changed is at hand, and nothing has to be opened for it."""
    recent = written(1).recent(2, 1, BASE, no_file)

    assert [(2, b"2"), (2, b"2")] == seen(recent, "a", "flag-2")
    assert recent is not None
    assert BASE == recent.base_word
    assert {(FLAG, "a"), (FLAG, "flag-2")} == recent.changed_since(1)
    assert recent.changed_since(0) is None


def test_several_publications() -> None:
    """Of each item the newest content counts."""
    recent = written(5).recent(6, 2, BASE, no_file)

    assert [(6, b"6"), (3, b"3"), (6, b"6")] == seen(recent, "a", "flag-3", "flag-6")
    assert recent is not None
    assert {(FLAG, "a"), *((FLAG, f"flag-{word}") for word in range(3, 7))} == recent.changed_since(2)


def test_a_newer_publication_meanwhile() -> None:
    """Whoever looked at the word a moment before finds what he looked for."""
    assert [(4, b"4")] == seen(written(5).recent(4, 3, BASE, no_file), "a")


@pytest.mark.parametrize(
    ("word", "since", "base"),
    [
        (7, 6, BASE),  # not written
        (6, 0, BASE),  # before the first one
        (6, 5, 5),  # the reader's view stands on another base
        (6, 6, BASE),
        (5, 6, BASE),
    ],
)
def test_what_is_not_told(word: int, since: int, base: int) -> None:
    """Whoever asks for anything else opens the file."""
    assert written(5).recent(word, since, base, no_file) is None


def test_nothing_was_written() -> None:
    """An empty journal tells nothing."""
    assert journal().recent(2, 1, BASE, no_file) is None


def test_another_base_meanwhile() -> None:
    """A publication of everything is not in the journal, and ends what can be told."""
    made = written(2)
    made.write(5, 4, 4, [item("a", 5, b"5")])

    assert made.recent(5, 3, BASE, no_file) is None
    assert made.recent(5, 3, 4, no_file) is None
    assert [(5, b"5")] == seen(made.recent(5, 4, 4, no_file), "a")


def test_what_is_not_in_it() -> None:
    """For all else the file of the publication is opened, once."""
    dataset = Dataset.of([item("a"), item("b"), item("s", kind=SEGMENT)])
    chain = Chain(dataset)
    dataset, news = dataset.merge([item("a", 2, b"y")])
    chain.follow(dataset)
    made = journal()
    made.write(2, 1, BASE, news)
    opened: list[int] = []

    def snapshot(word: int) -> Snapshot:
        opened.append(word)
        return chain.open(word)

    recent = made.recent(2, 1, BASE, snapshot)

    assert recent is not None
    assert [(2, b"y")] == seen(recent, "a")
    assert [] == opened
    assert [(1, b"x")] == seen(recent, "b")
    assert [(1, b"x")] == seen(recent, "s", kind=SEGMENT)
    assert recent.find(SEGMENT, "a") is None
    assert recent.base() is not None
    assert [2] == opened


def test_round_and_round() -> None:
    """The newest publications can be told, however many there were; the oldest make room."""
    made = written(1000, size=100)
    told = [since for since in range(1, 1001) if made.recent(1001, since, BASE, no_file) is not None]

    assert list(range(told[0], 1001)) == told
    assert 20 < len(told) <= 64
    assert [(1001, b"1001" * 100)] == seen(made.recent(1001, told[0], BASE, no_file), "a")


@pytest.mark.parametrize(("size", "told"), [(JOURNAL_SIZE // 4 - 200, True), (JOURNAL_SIZE // 4, False)])
def test_large_changes(size: int, told: bool) -> None:
    """What would take much of the room is left out, and what comes next does not join it."""
    made = written(2)
    made.write(4, 3, BASE, [item("a", 4, b"x" * size)])

    assert told == (made.recent(4, 3, BASE, no_file) is not None)
    made.write(5, 4, BASE, [item("a", 5)])
    assert made.recent(5, 4, BASE, no_file) is not None
    for since in (1, 2, 3):
        assert told == (made.recent(5, since, BASE, no_file) is not None)


def each_byte(break_: Callable[[memoryview, int], None]) -> None:
    """Break each byte of three records; the middle one is the publication before."""
    whole = written(3)
    end = whole._end
    expected = seen(whole.recent(4, 1, BASE, no_file), "a", "flag-2", "flag-3", "flag-4")
    for place in range(end):
        broken = written(3)
        break_(broken._room, place)
        recent = broken.recent(4, 1, BASE, no_file)
        assert recent is None or expected == seen(recent, "a", "flag-2", "flag-3", "flag-4")


@pytest.mark.parametrize("mask", [1, 0x80, 0xFF])
def test_a_wrong_byte(mask: int) -> None:
    """Nothing is told from a record with any wrong bit."""

    def flip(room: memoryview, place: int) -> None:
        room[place] ^= mask

    each_byte(flip)


def test_a_record_that_is_being_overwritten() -> None:
    """A copy of the old beginning and the new end, or the other way round, is no record."""
    for cut in range(1, 200):
        made = written(3)
        former = bytes(made._room)
        superseded = journal()
        superseded._room[:] = former
        for word in range(9, 12):
            superseded.write(word, word - 1, BASE, [item("a", word, b"new")])
        made._room[:cut] = superseded._room[:cut]

        assert made.recent(4, 1, BASE, no_file) is None or bytes(made._room) == former


@pytest.mark.parametrize("at", [0, 1, 40, JOURNAL_SIZE - 1, JOURNAL_SIZE, 2**31, 2**63, 2**64 - 1])
def test_a_wrong_place(at: int) -> None:
    """The page may point anywhere."""
    made = written(2)
    right = made._words[JOURNAL]
    made._words[JOURNAL] = at

    assert at == right or made.recent(3, 2, BASE, no_file) is None


@pytest.mark.parametrize(
    "content",
    [
        None,
        7,
        {},
        "text",
        [],
        [0, 2, 1, BASE],
        [0, 2, 1, BASE, [], 0],
        [0, "2", 1, BASE, []],
        [0, 2, "1", BASE, []],
        [0, 2, 1, BASE, 5],
        [0, 2, 1, BASE, [5]],
        [0, 2, 1, BASE, [[0, "a", [1, 1], False, b"x"]]],
        [0, 2, 1, BASE, [[0, "a", 1, False, b"x"]]],
        [0, 2, 1, BASE, [[0, ["a"], [1, 1, 1], False, b"x"]]],
        ["0", 2, 1, BASE, []],
        [-1, 3, 1, BASE, []],
        [2**63, 3, 1, BASE, []],
    ],
    ids=repr,
)
def test_sound_records_without_sense(content: object) -> None:
    """What nobody of ours wrote raises nothing, even with the right checksum."""
    made = journal()
    put(made, pack_part(content))

    recent = made.recent(2, 1, BASE, no_file)
    assert recent is None or recent.changed_since(1) == set()


def test_a_sound_record_that_is_none() -> None:
    """Nor do bytes that are no msgpack, none at all, or more than one value."""
    for content in (b"", b"\xc1", pack_part([0, 2, 1, BASE, []]) * 2, b"\x91" * 5000):
        made = journal()
        put(made, content)

        assert made.recent(2, 1, BASE, no_file) is None


def put(made: Journal, content: bytes) -> None:
    """Make these bytes the newest record."""
    record = content + crc32(content).to_bytes(4, "little")
    made._room[: len(record)] = record
    made._words[JOURNAL] = len(record)


def test_records_in_a_circle() -> None:
    """Bytes that lead back to themselves come to an end."""
    made = journal()
    put(made, pack_part([10, 9, 8, BASE, []]))

    assert 10 == made._words[JOURNAL]  # the place in it is its own
    assert made.recent(5, 1, BASE, no_file) is None


def test_a_superseded_leader_writes_on() -> None:
    """Its records overwrite those of its successor: nobody is told of them, until the successor writes the next."""
    words, room = memoryview(bytearray(CONTROL_SIZE)).cast("Q"), memoryview(bytearray(JOURNAL_SIZE))
    late, leader = Journal(words, room), Journal(words, room)
    late.write(2, 1, BASE, [item("a", 2)])
    leader.write(101, 100, 100, [item("a", 3)])
    late.write(3, 2, BASE, [item("a", 9)])

    assert leader.recent(101, 100, 100, no_file) is None
    leader.write(102, 101, 100, [item("a", 4)])
    assert [(4, b"x")] == seen(leader.recent(102, 101, 100, no_file), "a")


keys = st.sampled_from(["a", "b", "\ud800", "Ümlaut", *(f"key-{number}" for number in range(6))])
updates = st.lists(
    st.tuples(st.sampled_from((FLAG, SEGMENT)), keys, st.booleans(), st.binary(max_size=60)), min_size=1, max_size=4
)


@settings(deadline=None, derandomize=True, database=None, max_examples=80)
@given(st.lists(updates, min_size=1, max_size=10))
def test_as_the_file(steps: list[Any]) -> None:
    """From any publication to any later one, each item is what it is in the file of the later one."""
    dataset = EMPTY
    chain = Chain(dataset)
    made = journal()
    for number, step in enumerate(steps):
        items = [
            Item(kind, key, number * 10 + at + 1, archived, b"" if archived else blob)
            for at, (kind, key, archived, blob) in enumerate(step)
        ]
        dataset, _ = dataset.merge(items)
        snapshot = chain.follow(dataset)
        assert chain.packed.base
        made.write(chain.word, chain.word - 1, chain.packed.base, chain.packed.news)
        for since in range(1, chain.word):
            recent = made.recent(chain.word, since, chain.packed.base, no_file)
            assert recent is not None
            assert snapshot.changed_since(since) == recent.changed_since(since)
            for kind, key in recent.changed_since(since) or ():
                told, filed = recent.find(kind, key), snapshot.find(kind, key)
                assert told is not None
                assert filed is not None
                assert (filed.stamp, filed.archived) == (told.stamp, told.archived)
                assert filed.blob() == told.blob()
