"""However a snapshot was made, from its forerunner or anew, it gives the same answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core.model import EMPTY, FLAG, SEGMENT, Dataset, Item
from fbshared.errors import CorruptError
from fbshared.shm import packing
from fbshared.shm.packing import Changes, pack
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
        found.append(None if entry is None else (entry.version, snapshot.blob(entry)))
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


def test_only_what_changed_is_added() -> None:
    """A patch of one flag adds its key and content, and takes over all the rest; a reader of before is told of it."""
    dataset = many(100)
    chain = Chain(dataset)
    dataset, _ = dataset.merge([item("flag-7", 2, b"new")])
    first = chain.packed
    packed = first.followed_by(dataset, 2)

    assert first.taken == 0
    assert [b"flag-7", b"new"] == packed.take()
    assert packed.taken == sum(len(each.key) + 100 for each in many(100).items())
    snapshot = chain.follow(dataset)
    assert {(FLAG, "flag-7")} == snapshot.changed_since(1)
    assert set() == snapshot.changed_since(2)
    assert snapshot.changed_since(0) is None


def test_the_waste_is_bounded() -> None:
    """Whatever is patched how often, a snapshot is never more than an eighth larger than it must be, and who was
    there before it was tidied up is told of the changes all the same."""
    dataset = many(100)
    chain = Chain(dataset)
    smallest = len(chain.content)
    anew = 0
    for word in range(2, 120):
        dataset, _ = dataset.merge([item(f"flag-{word % 3}", word, b"y" * 100)])
        snapshot = chain.follow(dataset)
        anew += chain.packed.taken == 0
        assert {(FLAG, f"flag-{word % 3}")} == snapshot.changed_since(word - 1)
        assert len(chain.content) < smallest * 9 / 8 + 64 * (CHANGE.size + 10)

    assert 2 < anew < 15


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

        assert chain.packed.taken == 0
        assert snapshot.changed_since(1) is None
        assert sorted(dataset.items(), key=repr) == sorted(snapshot.items(), key=repr)


def test_the_index_grows_with_the_environment() -> None:
    """New flags, one after the other, do not fill few buckets more and more."""
    dataset = many(1)
    chain = Chain(dataset)
    for word in range(2, 66):
        dataset, _ = dataset.merge([item(f"more-{word}")])
        snapshot = chain.follow(dataset)
        assert {(FLAG, f"more-{word}")} == snapshot.changed_since(word - 1)

    assert snapshot._buckets >= 8
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
    """They are two flags all the same, whichever of them is patched or comes later."""
    monkeypatch.setattr(packing, "key_hash", lambda kind, key: 7)
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
            Snapshot(bytes(broken), 2, IDENTITY).changed_since(1)
        with pytest.raises(CorruptError):
            list(Snapshot(bytes(broken), 2, IDENTITY).items())


def test_packed_at_once() -> None:
    """A snapshot that stands alone tells of no change."""
    snapshot = Snapshot(b"".join(pack(many(3), 5, IDENTITY, 1, synced=True)), 5, IDENTITY)

    assert (None, set()) == (snapshot.changed_since(4), snapshot.changed_since(5))
