"""Items as values, and datasets that come out the same whatever order patches arrive in."""

import random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core.model import EMPTY, FLAG, SEGMENT, Dataset, Item, unpack
from fbshared.errors import MessageError


def flag(key: str, version: int, *, archived: bool = False) -> Item:
    return Item(FLAG, key, version, archived, b"" if archived else b"%d" % version)


def segment(key: str, version: int) -> Item:
    return Item(SEGMENT, key, version, False, b"%d" % version)


@pytest.mark.parametrize(
    "blob", [b"", b"\xc1", b"\x80\x80", b"\x81\x90\x00", msgpack.packb([]), b"\x91" * 5000, b"\xa1\xff"]
)
def test_broken_blobs(blob: bytes) -> None:
    """Bytes that are no item are refused."""
    with pytest.raises(MessageError):
        unpack(blob)


def test_newer_items_win() -> None:
    """Of an item the strictly newer version stays, whatever versions other items have."""
    data, _ = EMPTY.merge([flag("a", 10), flag("b", 20)])
    merged, changed = data.merge([flag("a", 11), flag("b", 20), flag("b", 19), segment("a", 5)])

    assert (flag("a", 11), segment("a", 5)) == changed
    assert {"a": flag("a", 11), "b": flag("b", 20)} == merged.flags
    assert {"a": segment("a", 5)} == merged.segments
    assert {"a": flag("a", 10), "b": flag("b", 20)} == data.flags


def test_an_item_that_changes_twice_is_told_once() -> None:
    """The changed items are the ones that stay."""
    _, changed = EMPTY.merge([flag("a", 1), flag("a", 3), flag("a", 2)])

    assert (flag("a", 3),) == changed


def test_tombstones_are_kept() -> None:
    """An archived item hides older versions that come late, until a newer one restores it."""
    data = Dataset.of([flag("a", 10, archived=True)])

    assert data.merge([flag("a", 9)]) == (data, ())
    assert {"a": flag("a", 11)} == data.merge([flag("a", 11)])[0].flags


def test_the_cursor_is_the_newest_version_received() -> None:
    """Archived items move the cursor, and so do items that change nothing."""
    data = Dataset.of([flag("a", 10), flag("b", 30, archived=True), segment("s", 20)])

    assert 30 == data.cursor
    assert 0 == EMPTY.cursor
    assert 10 == Dataset.of([flag("a", 10)]).cursor


def test_nothing_new_is_the_same_dataset() -> None:
    """Without a change there is nothing to publish."""
    data = Dataset.of([flag("a", 10)])

    assert data.merge([flag("a", 10)])[0] is data
    assert data.merge([])[0] is data


def test_items() -> None:
    """Every item can be listed, flags first."""
    data = Dataset.of([segment("s", 1), flag("a", 1)])

    assert [flag("a", 1), segment("s", 1)] == list(data.items())


ITEMS = st.builds(
    lambda make, key, version: make(key, version),
    st.sampled_from([flag, segment]),
    st.sampled_from("abc"),
    st.integers(0, 5),
)


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(st.lists(ITEMS, max_size=4), max_size=5), st.integers(0, 1000))
def test_patches_commute(patches: list[list[Item]], seed: int) -> None:
    """Patches in any order give the dataset of the newest version of each item."""
    shuffled = random.Random(seed).sample(patches, len(patches))
    data = EMPTY
    for patch in shuffled:
        data, _ = data.merge(patch)
    newest: dict[tuple[int, str], Item] = {}
    for item in (item for patch in patches for item in patch):
        newest[item.kind, item.key] = max(newest.get((item.kind, item.key), item), item, key=lambda i: i.version)

    assert newest == {(item.kind, item.key): item for item in data.items()}
    assert max((item.version for item in newest.values()), default=0) == data.cursor
