"""A publication is a whole file, then a larger word."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core.model import EMPTY, FLAG, Dataset, Item
from fbshared.shm import files, packing
from fbshared.shm.control import RETIRED
from fbshared.shm.journal import Journal
from fbshared.shm.publisher import Publisher
from fbshared.shm.region import Region, snapshot_name, word_of

ONE = Dataset.of([Item(FLAG, "a", 1000, False, b"one")])
TWO = Dataset.of([Item(FLAG, "a", 2000, False, b"two")])


def published(region: Region) -> bytes:
    snapshot = region.snapshot(region.control.publication)
    entry = snapshot.find(FLAG, "a")
    assert entry is not None
    return entry.blob()


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**64 - 2))
def test_a_word_is_a_name(word: int) -> None:
    """Every publication has a file name, and the name leads back to it."""
    assert word == word_of(snapshot_name(word))


@pytest.mark.parametrize(
    "name", ["snapshot", "snapshot.1", "snapshot.1.x", "ring.1.2", "snapshot.1.2.3", "snapshot.-1.2"]
)
def test_other_names(name: str) -> None:
    """What is no snapshot has no word."""
    assert word_of(name) is None


def test_publishing(region: Region) -> None:
    """The word names the file, which is there before it, and the figures are shown."""
    publisher = Publisher(region, 3)
    first = publisher.publish(ONE, synced=True)
    seen = published(region)
    second = publisher.publish(TWO, synced=True)

    assert (3 << 40 | 1, 3 << 40 | 2) == (first, second)
    assert (b"one", b"two") == (seen, published(region))
    control = region.control
    assert (second, 2000, 2) == (control.publication, control.data_version, control.publications)
    assert control.published_at > 0


def test_the_last_two_files_stay(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of the word before finds its file; older ones take no room, and each is removed once."""
    publisher = Publisher(region, 1)
    removed: list[str] = []
    remove = files.remove

    def noted(path: str) -> None:
        removed.append(os.path.basename(path))
        remove(path)

    monkeypatch.setattr(files, "remove", noted)
    words = [publisher.publish(ONE, synced=True) for _ in range(5)]

    assert {snapshot_name(word) for word in words[3:]} == set(region.names("snapshot."))
    assert [snapshot_name(word) for word in words[:3]] == removed


def test_a_publication_that_was_broken_off(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens between its file and its word, the file takes no room for long."""
    publisher = Publisher(region, 1)
    dataset = many()
    publisher.publish(dataset, synced=True)

    def fails(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "write", fails)
        for version in (2000, 2001):
            with pytest.raises(MemoryError):
                publisher.publish(patch(dataset, version), synced=True)
    words = [publisher.publish(ONE, synced=True) for _ in range(2)]

    assert {snapshot_name(word) for word in words} == set(region.names("snapshot."))


def test_a_larger_word_is_never_touched(region: Region) -> None:
    """A superseded leader that wakes up neither takes the word back nor removes what is newer."""
    late, leader = Publisher(region, 1), Publisher(region, 2)
    late.publish(ONE, synced=True)
    word = leader.publish(TWO, synced=True)
    for _ in range(3):
        late.publish(ONE, synced=True)

    assert word == region.control.publication
    assert b"two" == published(region)


def test_a_leader_that_is_superseded_while_it_writes(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sees what it wrote: its successor began with less, and would lead whoever saw it back in time."""
    control = region.control
    control.epoch = 1
    late = Publisher(region, 1)
    seen = late.publish(ONE, synced=True)
    replace = files.replace

    def stopped_behind(directory: str, name: str, parts: list[bytes | memoryview]) -> None:
        replace(directory, name, parts)
        control.epoch = 2

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", stopped_behind)

        assert seen == late.publish(TWO, synced=True)

    assert (seen, 1000, 1) == (control.publication, control.data_version, control.publications)
    assert b"one" == published(region)

    word = Publisher(region, 2).publish(ONE, synced=True)

    assert [snapshot_name(word)] == region.names("snapshot.")


def test_what_a_superseded_leader_leaves(region: Region) -> None:
    """A file that comes when the next leader has published already takes no room for long."""
    Publisher(region, 1).publish(ONE, synced=True)
    leader = Publisher(region, 2)
    words = [leader.publish(each, synced=True) for each in (ONE, TWO)]
    files.replace(region.path, snapshot_name(1 << 40 | 7), [b"late"])
    files.replace(region.path, snapshot_name(3 << 40 | 1), [b"newer"])

    assert leader.heal()
    assert {snapshot_name(each) for each in (*words, 3 << 40 | 1)} == set(region.names("snapshot."))


def test_a_directory_in_the_place_of_a_file(region: Region) -> None:
    """Whoever made it: publications go past it."""
    for word in (2 << 40 | 7, 3 << 40 | 2):
        os.mkdir(region.join(snapshot_name(word)))
    publisher = Publisher(region, 3)
    publisher.publish(ONE, synced=True)
    with pytest.raises(IsADirectoryError):
        publisher.publish(TWO, synced=True)
    assert b"one" == published(region)

    assert 3 << 40 | 3 == publisher.publish(TWO, synced=True)
    assert b"two" == published(region)
    publisher.publish(ONE, synced=True)
    assert publisher.heal()


def test_a_retired_region_stays_retired(region: Region) -> None:
    """Nobody is led back into a region that was given up."""
    publisher = Publisher(region, 1)
    publisher.publish(ONE, synced=True)
    region.control.retire()
    publisher.publish(TWO, synced=True)

    assert publisher.heal()
    assert RETIRED == region.control.publication


def test_no_room(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room the former publication stays as it was, and the next try succeeds."""
    publisher = Publisher(region, 1)
    word = publisher.publish(ONE, synced=True)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patched:
        patched.setattr(files, "write_all", full)
        with pytest.raises(OSError, match="no room"):
            publisher.publish(TWO, synced=True)

    assert (word, b"one") == (region.control.publication, published(region))
    assert [snapshot_name(word)] == region.names("snapshot.")
    assert word < publisher.publish(TWO, synced=True)
    assert b"two" == published(region)


def many() -> Dataset:
    return Dataset.of([Item(FLAG, f"flag-{number}", 1000, False, b"1000" * 20) for number in range(100)])


def patch(dataset: Dataset, version: int, key: str = "flag-7") -> Dataset:
    return dataset.merge([Item(FLAG, key, version, False, b"%d" % version * 20)])[0]


def test_a_patch_writes_what_is_new(region: Region) -> None:
    """What did not change stays in the file of the base, and the next leader reads the same data in both."""
    publisher = Publisher(region, 1)
    dataset = many()
    first = publisher.publish(dataset, synced=True)
    for version in range(1001, 1020):
        dataset = patch(dataset, version)
        word = publisher.publish(dataset, synced=True)
    snapshot = region.snapshot(word)

    assert first == snapshot.base_word
    assert {snapshot_name(each) for each in (first, word - 1, word)} == set(region.names("snapshot."))
    assert os.path.getsize(region.join(snapshot_name(word))) < os.path.getsize(region.join(snapshot_name(first)))
    assert {(FLAG, "flag-7")} == snapshot.changed_since(first)
    assert sorted(dataset.items(), key=repr) == sorted(snapshot.items(), key=repr)


def test_the_region_holds_two_bases_at_most(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base goes with the last two snapshots that stand on it; whoever reads the one before still finds its own."""
    monkeypatch.setattr(packing, "_LEAST_ROOM", 0)
    publisher = Publisher(region, 1)
    dataset = many()
    bases = set()
    before = publisher.publish(dataset, synced=True)
    for version in range(1001, 1100):
        dataset = patch(dataset, version)
        word = publisher.publish(dataset, synced=True)
        for each in (before, word):
            assert region.snapshot(each).find(FLAG, "flag-3") is not None
        names = {snapshot_name(each) for each in (before, word)}
        standing = {snapshot_name(base) for each in (before, word) if (base := region.snapshot(each).base_word)}
        bases |= standing
        assert names | standing == set(region.names("snapshot."))
        before = word

    assert len(bases) > 3


@pytest.mark.parametrize("how", ["damaged", "damaged before", "removed", "removed just now", "again"])
def test_a_base_that_is_not_to_be_built_on(region: Region, how: str) -> None:
    """After a report, about the newest snapshot or an earlier one on the same base, without the file, and whenever
    the same is published again, all bytes come from the leader."""
    publisher = Publisher(region, 1)
    dataset = many()
    first = publisher.publish(dataset, synced=True)
    dataset = patch(dataset, 1500)
    second = publisher.publish(dataset, synced=True)
    path = region.join(snapshot_name(first))
    if how.startswith("removed"):
        os.unlink(path)
    else:
        with open(path, "r+b") as file:
            file.seek(-30, os.SEEK_END)
            file.write(b"damage")
    if how.startswith("damaged"):
        region.control.damaged = second if how == "damaged" else first
    if how != "removed just now":
        assert publisher.heal() is (how == "again")
    if how != "again":
        dataset = patch(dataset, 2000)
    snapshot = region.snapshot(publisher.publish(dataset, synced=True))

    assert publisher.heal()
    assert sorted(dataset.items(), key=repr) == sorted(snapshot.items(), key=repr)
    assert snapshot.changed_since(second) is None


# Healing


def test_nothing_to_heal(region: Region) -> None:
    """Before the first publication, and while all is well, nothing is repaired."""
    publisher = Publisher(region, 1)
    assert publisher.heal()
    publisher.publish(EMPTY, synced=False)

    assert publisher.heal()


def test_a_word_turned_back_is_repaired(region: Region) -> None:
    """The word of a superseded leader does not last."""
    publisher = Publisher(region, 2)
    word = publisher.publish(TWO, synced=True)
    region.control.publication = 1 << 40 | 9

    assert publisher.heal()
    assert word == region.control.publication


def test_what_somebody_could_not_read_is_published_again(region: Region) -> None:
    """A report about the present publication asks for another one; one about an earlier publication does not."""
    publisher = Publisher(region, 1)
    first = publisher.publish(ONE, synced=True)
    second = publisher.publish(ONE, synced=True)
    region.control.damaged = first
    assert publisher.heal()

    region.control.damaged = second
    assert not publisher.heal()
    publisher.publish(ONE, synced=True)
    assert publisher.heal()


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_was_removed(region: Region, which: int) -> None:
    """A publication without its file, or without that of its base, has to be made again."""
    publisher = Publisher(region, 1)
    dataset = many()
    words = [publisher.publish(each, synced=True) for each in (dataset, patch(dataset, 1500))]
    os.unlink(region.join(snapshot_name(words[which])))

    assert not publisher.heal()
