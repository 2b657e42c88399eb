"""However a snapshot was made, from its forerunner or anew, it gives the same answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core.model import EMPTY, FLAG, SEGMENT, Dataset, Item
from fbshared.errors import CorruptError
from fbshared.shm import packing
from fbshared.shm.packing import Changes, Difference, Packed, Stamp, pack
from fbshared.shm.snapshot import CHANGE, HEADER, Snapshot
from tests.chain import IDENTITY, Chain

lawful = settings(deadline=None, derandomize=True, database=None, max_examples=80)

keys = st.sampled_from(["a", "b", "\ud800", "Ümlaut", *(f"key-{number}" for number in range(12))])
updates = st.lists(
    st.tuples(st.sampled_from((FLAG, SEGMENT)), keys, st.booleans(), st.binary(max_size=60)), min_size=1, max_size=6
)


def item(key: str, version: int = 1, blob: bytes = b"x", kind: int = FLAG) -> Item:
    return Item(kind, key, version, False, blob)


def contents(snapshot: Snapshot, items: Any) -> list[tuple[int, bytes] | None]:
    found = []
    for each in items:
        entry = snapshot.find(each.kind, each.key)
        found.append(None if entry is None else (entry.version, entry.blob()))
    return found


@lawful
@given(st.lists(updates, min_size=1, max_size=12))
def test_one_after_the_other(steps: list[Any]) -> None:
    """After any patches each item is found as it is, all items together are the dataset, and what changed is told."""
    dataset = EMPTY
    chain = Chain(dataset)
    history = [dataset]
    for number, step in enumerate(steps):
        news = [
            Item(kind, key, number * 10 + at + 1, archived, b"" if archived else blob)
            for at, (kind, key, archived, blob) in enumerate(step)
        ]
        dataset, _ = dataset.merge(news)
        history.append(dataset)
        snapshot = chain.follow(dataset)

        assert sorted(dataset.items(), key=repr) == sorted(snapshot.items(), key=repr)
        assert [(each.version, each.blob) for each in dataset.items()] == contents(snapshot, dataset.items())
        for past, before in enumerate(history):
            told = snapshot.changed_since(past + 1)
            if told is not None:
                known = {(each.kind, each.key): each for each in before.items()}
                differ = {
                    (each.kind, each.key) for each in dataset.items() if known.get((each.kind, each.key)) is not each
                }
                assert differ == told


def many(count: int) -> Dataset:
    return Dataset.of([item(f"flag-{number}", 1, b"x" * 100) for number in range(count)])


def test_a_delta_has_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of a patch has the flag of that patch and those of the patches before, and leads to the base for all
    the rest; a reader of before is told what changed."""
    monkeypatch.setattr(packing, "_LEAST_ROOM", 1000)
    chain = Chain(many(100))
    base = len(chain.content)
    for number in (7, 8):
        dataset, _ = chain.dataset.merge([item(f"flag-{number}", 2, b"new")])
        snapshot = chain.follow(dataset)
    alone = Snapshot(chain.content, 3, IDENTITY)

    assert (0, 1, 1) == (chain.open(1).base_word, chain.open(2).base_word, snapshot.base_word)
    assert {"flag-7", "flag-8"} == {key for key, _ in alone._in_file()}
    assert len(chain.content) < base / 10
    assert {(FLAG, "flag-8")} == snapshot.changed_since(2)
    assert {(FLAG, "flag-7"), (FLAG, "flag-8")} == snapshot.changed_since(1)
    assert set() == snapshot.changed_since(3)
    assert snapshot.changed_since(0) is None
    with pytest.raises(CorruptError, match="base"):
        alone.find(FLAG, "flag-1")


def test_what_is_in_a_delta_is_looked_up_there() -> None:
    """The base is opened for what only it can have, and once."""
    chain = Chain(many(100))
    chain.follow(chain.dataset.merge([item("flag-7", 2, b"new")])[0])
    snapshot = chain.snapshot
    snapshot.find(FLAG, "flag-7")
    assert [] == chain.opened
    for key in ("flag-8", "unknown"):
        snapshot.find(FLAG, key)

    assert [1] == chain.opened


def test_a_delta_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is patched how often, it is an eighth of its base at most; who was there before the next base is told
    of the changes all the same."""
    monkeypatch.setattr(packing, "_LEAST_ROOM", 0)
    chain = Chain(many(400))
    base = len(chain.content)
    bases = 0
    for word in range(2, 240):
        dataset, _ = chain.dataset.merge([item(f"flag-{word}", word, b"y" * 100)])
        snapshot = chain.follow(dataset)
        bases += not snapshot.base_word
        assert {(FLAG, f"flag-{word}")} == snapshot.changed_since(word - 1)
        if snapshot.base_word:
            assert len(chain.content) < base / 8 + 64 * (CHANGE.size + 10)

    assert 3 < bases < 6


def test_a_small_environment_is_not_written_all_the_time() -> None:
    """A delta may have some flags, however few there are."""
    chain = Chain(many(3))
    for word in range(2, 50):
        snapshot = chain.follow(chain.dataset.merge([item("flag-1", word, b"y" * 100)])[0])

        assert 1 == snapshot.base_word


def test_one_large_segment() -> None:
    """What is too large for a delta is written with everything else."""
    chain = Chain(many(3))
    snapshot = chain.follow(chain.dataset.merge([item("large", 2, b"x" * 100_000, SEGMENT)])[0])

    assert 0 == snapshot.base_word
    assert {(SEGMENT, "large")} == snapshot.changed_since(1)


def test_a_full_synchronisation_begins_anew() -> None:
    """What is not known to stand in its former place, or is much, is no patch: everybody looks everything up."""
    before = many(100)
    cases = [
        before,
        Dataset.of(reversed(list(before.items()))),
        Dataset.of(list(before.items())[1:]),
        Dataset.of([*list(before.items())[1:], item("other")]),
        before.merge([item(f"flag-{number}", 2) for number in range(65)])[0],
    ]
    for dataset in cases:
        chain = Chain(before)
        snapshot = chain.follow(dataset)

        assert snapshot.base_word == 0
        assert snapshot.changed_since(1) is None
        assert sorted(dataset.items(), key=repr) == sorted(snapshot.items(), key=repr)


def test_the_index_grows_with_the_environment() -> None:
    """New flags, one after the other, do not fill few buckets more and more."""
    dataset = many(1)
    chain = Chain(dataset)
    most = 0
    for word in range(2, 300):
        dataset, _ = dataset.merge([item(f"more-{word}", blob=b"x" * 1000)])
        snapshot = chain.follow(dataset)
        assert {(FLAG, f"more-{word}")} == snapshot.changed_since(word - 1)
        most = max(most, *(len(list(snapshot._bucket(number))) for number in range(snapshot._buckets)))

    assert 5 < most < 20
    assert [(each.version, each.blob) for each in dataset.items()] == contents(snapshot, dataset.items())


def test_changes_are_told_by_whole_publications() -> None:
    """Where there is no room for all changes, the oldest publications are left out as a whole."""
    changes = Changes(1)
    for word in range(2, 32):
        changes = changes.and_then([item(f"{word}-{number}") for number in range(3)], word)
    told = {word: [each for each, _ in changes.told].count(word) for word, _ in changes.told}

    assert set(range(changes.since + 1, 32)) == set(told)
    assert {3} == set(told.values())
    assert 60 < len(changes.told) <= 64


def test_two_keys_with_one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are two flags all the same, whichever of them is patched or comes later, in a delta or in its base."""
    monkeypatch.setattr("fbshared.shm.snapshot.key_hash", lambda kind, key: 7)
    dataset = Dataset.of([item("a"), item("a", kind=SEGMENT)])
    chain = Chain(dataset)
    for news in (item("b"), item("a", 2, b"y"), item("b", 2, b"z")):
        dataset, _ = dataset.merge([news])
        snapshot = chain.follow(dataset)

        assert [(each.version, each.blob) for each in dataset.items()] == contents(snapshot, dataset.items())


def test_damaged_changes_are_noticed() -> None:
    """Any wrong byte among them is."""
    dataset, _ = many(3).merge([item("flag-1", 2)])
    chain = Chain(many(3))
    snapshot = chain.follow(dataset)
    for place in range(HEADER.size, snapshot._directory_at):
        broken = bytearray(chain.content)
        broken[place] ^= 1
        with pytest.raises(CorruptError, match="changes"):
            chain.read(bytes(broken), 2).changed_since(1)
        with pytest.raises(CorruptError):
            list(chain.read(bytes(broken), 2).items())


def test_packed_at_once() -> None:
    """A snapshot that stands alone tells of no change."""
    snapshot = Snapshot(b"".join(pack(many(3), 5, IDENTITY, 1, synced=True)), 5, IDENTITY)

    assert (None, set()) == (snapshot.changed_since(4), snapshot.changed_since(5))


def test_a_difference_that_is_told() -> None:
    """It is not looked for; what is the difference to something else is not believed."""
    before = Dataset.of([item("a", 1), item("b", 1)])
    between, _ = before.merge([item("a", 2)])
    after, news = between.merge([item("b", 3)])
    packed = Packed.of(before, 1)
    stamp = Stamp(IDENTITY, 1, True)
    found = packed.followed_by(after, 2)

    told = packed.followed_by(after, 2, Difference(before, tuple(found.news)))
    other = packed.followed_by(after, 2, Difference(between, news))

    assert ["a", "b"] == sorted(each.key for each in found.news)
    assert found.parts(stamp) == told.parts(stamp) == other.parts(stamp)


def test_what_was_replaced_takes_no_room_for_long() -> None:
    """One flag that is patched again and again leaves the delta small, and what else is in it stays."""
    dataset = Dataset.of([item(f"flag-{number}", blob=b"x" * 2000) for number in range(300)])
    chain = Chain(dataset)
    dataset, _ = dataset.merge([item("flag-9", 2, b"once"), item("flag-9", 2, b"once", SEGMENT)])
    chain.follow(dataset)
    for version in range(2, 500):
        dataset, _ = dataset.merge([item("flag-7", version, b"%4d" % version * 300)])
        snapshot = chain.follow(dataset)

        assert snapshot.base_word == 1
        assert len(chain.content) < 12_000
    assert sorted(dataset.items(), key=repr) == sorted(snapshot.items(), key=repr)
