"""A snapshot gives back exactly what was packed, or refuses; never something else."""

from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core.model import EMPTY, FLAG, SEGMENT, Dataset, Item
from fbshared.errors import CorruptError
from fbshared.shm.packing import pack
from fbshared.shm.snapshot import Snapshot

WORD, IDENTITY, NOW = 5 << 40 | 7, (11, 12), 1_700_000_000_000
lawful = settings(deadline=None, derandomize=True, database=None, max_examples=80)

keys = st.text(st.characters(codec=None) | st.just("\ud800") | st.just("\0"), min_size=1, max_size=12)
blobs = st.binary(max_size=60) | st.just(bytes(40))
items = st.builds(
    lambda kind, key, version, archived, blob: Item(kind, key, version, archived, b"" if archived else blob),
    st.sampled_from((FLAG, SEGMENT)),
    keys,
    st.integers(0, 2**62) | st.integers(0, 3),
    st.booleans(),
    blobs,
)
datasets = st.lists(items, max_size=25).map(Dataset.of)


def packed(dataset: Dataset, *, synced: bool = True) -> bytes:
    return b"".join(pack(dataset, WORD, IDENTITY, NOW, synced=synced))


def opened(content: bytes) -> Snapshot:
    return Snapshot(content, WORD, IDENTITY)


def sealed(content: bytes, at: int, value: int) -> bytes:
    """A snapshot with another header word and the checksum that belongs to it."""
    head = content[: at * 8] + value.to_bytes(8, "little") + content[at * 8 + 8 : 120]
    return head + crc32(head).to_bytes(8, "little") + content[128:]


SMALL = Dataset.of(
    [Item(FLAG, "a", 1, False, b"one"), Item(SEGMENT, "a", 2, False, b"two"), Item(FLAG, "b", 3, True, b"")]
)


# Round trip


@lawful
@given(datasets, st.booleans())
def test_what_was_packed_is_found(dataset: Dataset, synced: bool) -> None:
    """Every item comes back as it was, tombstones and keys that no UTF-8 can carry included."""
    snapshot = opened(packed(dataset, synced=synced))

    for item in dataset.items():
        entry = snapshot.find(item.kind, item.key)
        assert entry is not None
        assert (item.version, item.kind, item.archived) == (entry.version, entry.kind, entry.archived)
        assert item.blob == entry.blob()
    assert (dataset.cursor, synced) == (snapshot.cursor, snapshot.synced)
    assert (len(dataset.flags), len(dataset.segments)) == (snapshot.flags, snapshot.segments)


@lawful
@given(datasets)
def test_the_next_leader_goes_on_from_it(dataset: Dataset) -> None:
    """All items together are the dataset again."""
    snapshot = opened(packed(dataset))

    assert dataset == Dataset({}, {}, snapshot.cursor).merge(snapshot.items())[0]


@lawful
@given(datasets)
def test_living_keys(dataset: Dataset) -> None:
    """The keys of a kind are those of its items without the tombstones."""
    snapshot = opened(packed(dataset))
    for kind, table in ((FLAG, dataset.flags), (SEGMENT, dataset.segments)):
        living = {key for key, item in table.items() if not item.archived}
        assert living == {key for key, _ in snapshot.keys(kind)}


@lawful
@given(datasets, st.sampled_from((FLAG, SEGMENT)), keys)
def test_what_was_not_packed_is_not_found(dataset: Dataset, kind: int, key: str) -> None:
    """An unknown key has no entry, whatever its bucket holds."""
    table = dataset.segments if kind else dataset.flags
    assert (key in table) == (opened(packed(dataset)).find(kind, key) is not None)


def test_an_empty_snapshot() -> None:
    """An environment without anything is an environment too."""
    snapshot = opened(packed(EMPTY))

    assert snapshot.find(FLAG, "a") is None
    assert [] == list(snapshot.items())


def test_content_is_told_by_its_stamp() -> None:
    """Equal content has an equal stamp in every snapshot, another version or other bytes do not."""
    stamps = []
    for item in (
        Item(FLAG, "a", 1, False, b"one"),
        Item(FLAG, "a", 2, False, b"one"),
        Item(FLAG, "a", 1, False, b"two"),
    ):
        entry = opened(packed(Dataset.of([item, Item(FLAG, "b" * item.version, 1, False, b"x")]))).find(FLAG, "a")
        assert entry is not None
        stamps.append(entry.stamp)

    assert 3 == len(set(stamps))
    again = opened(packed(Dataset.of([Item(FLAG, "a", 1, False, b"one")]))).find(FLAG, "a")
    assert again is not None
    assert stamps[0] == again.stamp


def test_a_version_beyond_all_bounds() -> None:
    """What no clock shows is kept as the largest version instead of failing everybody's publication."""
    snapshot = opened(packed(Dataset({"a": Item(FLAG, "a", 2**80, False, b"x")}, {}, -5)))
    entry = snapshot.find(FLAG, "a")

    assert entry is not None
    assert (2**63 - 1, 0) == (entry.version, snapshot.cursor)


# Damage


@lawful
@given(datasets, st.data())
def test_any_cut_is_refused(dataset: Dataset, data: st.DataObject) -> None:
    """A part of a snapshot is none, and neither is one with something behind it."""
    content = packed(dataset)
    size = data.draw(st.integers(0, len(content) - 1))
    for broken in (content[:size], content + b"\0"):
        with pytest.raises(CorruptError):
            opened(broken)


def answers(content: bytes, dataset: Dataset) -> list[bytes | str | None]:
    """What each item's reader gets: bytes, None for "no such item", or that it noticed the damage."""
    try:
        snapshot = opened(content)
    except CorruptError:
        return ["refused"] * (len(dataset.flags) + len(dataset.segments))
    found: list[bytes | str | None] = []
    for item in dataset.items():
        try:
            entry = snapshot.find(item.kind, item.key)
            found.append(entry.blob() if entry is not None else None)
            if entry is not None:
                assert (item.version, item.archived) == (entry.version, entry.archived)
        except CorruptError:
            found.append("noticed")
    return found


def judge(broken: bytes, dataset: Dataset) -> None:
    got = answers(broken, dataset)
    for item, answer in zip(dataset.items(), got, strict=True):
        assert answer in (item.blob, "noticed", "refused")
    try:
        all_items = list(opened(broken).items())
        living = {key for key, _ in opened(broken).keys(FLAG)}
    except CorruptError:
        return
    assert sorted(dataset.items(), key=repr) == sorted(all_items, key=repr)
    assert {key for key, item in dataset.flags.items() if not item.archived} == living


@settings(lawful, max_examples=150)
@given(datasets.filter(lambda dataset: dataset.cursor > 0), st.data(), st.integers(1, 255))
def test_any_wrong_byte_is_noticed(dataset: Dataset, data: st.DataObject, bits: int) -> None:
    """One wrong byte anywhere is refused, or noticed by whoever reads what it belongs to, and by nobody else."""
    content = bytearray(packed(dataset))
    content[data.draw(st.integers(0, len(content) - 1))] ^= bits

    judge(bytes(content), dataset)


def test_every_wrong_byte_is_noticed() -> None:
    """All bytes of one small snapshot, with zeros in all the places that a wrong index could lead to."""
    dataset = Dataset.of(
        [Item(FLAG, "a", 1, False, bytes(64)), Item(FLAG, "\0" * 40, 2, True, b""), Item(SEGMENT, "b", 3, False, b"\0")]
    )
    content = packed(dataset)
    for place in range(len(content)):
        for bits in (1, 8, 16, 64, 128, 255):
            broken = bytearray(content)
            broken[place] ^= bits
            judge(bytes(broken), dataset)


@lawful
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(content: bytes) -> None:
    """What is no snapshot is never taken for one."""
    with pytest.raises(CorruptError):
        opened(content)


@pytest.mark.parametrize(
    ("word", "identity"), [(WORD + 1, IDENTITY), (WORD - 1, IDENTITY), (WORD, (11, 13)), (WORD, (0, 12))]
)
def test_a_foreign_snapshot_is_refused(word: int, identity: tuple[int, int]) -> None:
    """A whole snapshot of another publication or another region is not this one."""
    with pytest.raises(CorruptError):
        Snapshot(packed(SMALL), word, identity)


def test_another_layout_is_refused() -> None:
    """A snapshot of another version of the package is left alone, also when it is whole."""
    content = packed(SMALL)
    assert opened(sealed(content, 5, len(content))).flags == 2

    with pytest.raises(CorruptError, match="layout"):
        opened(sealed(content, 1, 99))
    with pytest.raises(CorruptError, match="layout"):
        opened(sealed(content, 0, 99))


def test_an_index_that_leads_outside() -> None:
    """A header whose numbers are wrong, though sealed, leads to no wrong answer."""
    content = packed(SMALL)
    for at, value in ((11, 2**40), (11, 64), (13, 0), (13, 2**40)):
        try:
            found = opened(sealed(content, at, value)).find(FLAG, "a")
        except CorruptError:
            continue
        assert found is not None
        assert b"one" == found.blob()
