"""What a process sees of a region: whatever others publish, damage or remove, it reads on."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fbshared.core.items import parse_item
from fbshared.core.model import FLAG, SEGMENT, Dataset, Item
from fbshared.reader import Reader
from fbshared.shm.control import PUBLICATION, RETIRED, Control
from fbshared.shm.journal import JOURNAL_SIZE
from fbshared.shm.publisher import Publisher
from fbshared.shm.region import Region, snapshot_name
from fbshared.testing import flag, in_segment, rule, segment
from fbshared.view import Damaged, View
from tests.waiting import eventually

USER = {"key": "ada", "name": "Ada"}


def data(*keys: str, enabled: bool = True) -> Dataset:
    return Dataset.of(parse_item(FLAG, flag(key, enabled=enabled)) for key in keys)


@pytest.fixture
def reader(shared_directory: Path) -> Iterator[Reader]:
    region = Region(str(shared_directory), "digest")
    yield Reader(region, View())
    region.close()


@pytest.fixture
def publisher(reader: Reader) -> Publisher:
    return Publisher(reader.region, 1)


def value(found: object) -> object:
    assert not isinstance(found, Damaged)
    assert found is not None
    return found.evaluate("ada", USER).value()  # type: ignore[attr-defined]


def test_publications(reader: Reader, publisher: Publisher) -> None:
    """The newest is adopted, with one look each; a word that goes back is not."""
    assert not reader.refresh().ready
    word = publisher.publish(data("a"), synced=True)
    view = reader.refresh()
    assert (word, True) == (view.word, view.ready)
    assert view is reader.refresh()
    assert value(reader.load("a")) is True
    newer = publisher.publish(data("a", enabled=False), synced=True)
    assert value(reader.refresh().flags["a"]) is False

    reader.region.control.publication = word
    assert newer == reader.refresh().word


def forget(region: Region) -> None:
    """Let nobody find anything in the journal."""
    region.journal._room[:] = bytes(JOURNAL_SIZE)


def test_a_file_that_is_gone(reader: Reader, publisher: Publisher) -> None:
    """A publication without a file is reported once, and the former state stays until there is another."""
    publisher.publish(data("a"), synced=True)
    reader.load("a")
    word = publisher.publish(data("a", enabled=False), synced=True)
    forget(reader.region)
    os.unlink(reader.region.join(snapshot_name(word)))
    for _ in range(5):
        assert value(reader.refresh().flags["a"]) is True
    assert (word, 1) == (reader.region.control.damaged, reader.region.control.items_broken)
    assert not publisher.heal()
    publisher.publish(data("a", enabled=False), synced=True)

    assert value(reader.refresh().flags["a"]) is False


def test_a_damaged_file(reader: Reader, publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    """It is never adopted, and reported and said once."""
    publisher.publish(data("a"), synced=True)
    reader.load("a")
    word = publisher.publish(data("a", enabled=False), synced=True)
    forget(reader.region)
    path = Path(reader.region.join(snapshot_name(word)))
    path.unlink()
    path.write_bytes(b"damaged" * 100)
    for _ in range(5):
        assert value(reader.refresh().flags["a"]) is True

    assert word == reader.region.control.damaged
    assert 1 == len(caplog.records)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """What this process has open stays open, and nothing can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_without_a_descriptor(reader: Reader, publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    """It goes on with what it has and says so once; nobody has to publish anything for it, and it looks again."""
    control = reader.region.control
    former = publisher.publish(data("a"), synced=True)
    reader.load("a")
    word = publisher.publish(data("a", "b", enabled=False), synced=True)
    forget(reader.region)
    with no_descriptor_left():
        for _ in range(3):
            assert (former, True) == (reader.refresh().word, value(reader.load("a")))
            assert isinstance(reader.load("b"), Damaged)
            flags, whole = reader.all_flags()
            assert ({"a"}, False) == (set(flags), whole)
    assert (0, 0, True) == (control.damaged, control.items_broken, publisher.heal())
    assert 1 == len(caplog.records)

    assert eventually(lambda: reader.refresh().word == word)
    assert (False, False) == (value(reader.load("a")), value(reader.load("b")))


def test_a_patch_without_a_descriptor(reader: Reader, publisher: Publisher) -> None:
    """A patch from the journal needs none, also right after a flag could not be looked up."""
    dataset = data("a", "b")
    publisher.publish(dataset, synced=True)
    reader.load("a")
    dataset, _ = dataset.merge([parse_item(FLAG, flag("a", enabled=False, updated_at="2027-01-01T00:00:00Z"))])
    with no_descriptor_left():
        assert isinstance(reader.load("b"), Damaged)
        word = publisher.word
    publisher.publish(dataset, synced=True)
    with no_descriptor_left():
        view = reader.refresh()

    assert view.word > word
    assert value(view.flags["a"]) is False


def test_a_file_that_goes_while_it_is_used(reader: Reader, publisher: Publisher) -> None:
    """A flag that is used for the first time after its snapshot was removed comes from the next one, or is damaged
    where there is none."""
    word = publisher.publish(data("a", "b"), synced=True)
    reader.refresh()
    os.unlink(reader.region.join(snapshot_name(word)))
    assert isinstance(reader.load("a"), Damaged)
    assert ({}, False) == reader.all_flags()
    assert word == reader.region.control.damaged
    publisher.publish(data("a", "b"), synced=True)

    assert value(reader.load("b")) is True
    flags, whole = reader.all_flags()
    assert ({"a", "b"}, True) == (set(flags), whole)


def test_a_patch_from_the_journal(reader: Reader, publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has seen what is before it opens no file; one patch or several, also where one of several is gone."""
    dataset = data("a", "b")
    publisher.publish(dataset, synced=True)
    reader.load("a")

    def opened(word: int) -> object:
        raise AssertionError("a file was opened")

    for number, patches in enumerate((1, 1, 5)):
        for patch in range(patches):
            raw = flag("a", enabled=patch % 2 == 1, updated_at=f"2027-01-0{number + 1}T00:00:0{patch}Z")
            dataset, _ = dataset.merge([parse_item(FLAG, raw)])
            word = publisher.publish(dataset, synced=True)
        with monkeypatch.context() as patched:
            patched.setattr(reader.region, "snapshot", opened)
            view = reader.refresh()

        assert (word, False) == (view.word, value(view.flags["a"]))
        dataset, _ = dataset.merge([parse_item(FLAG, flag("a", updated_at=f"2027-01-0{number + 1}T00:01:00Z"))])
        publisher.publish(dataset, synced=True)
        assert value(reader.refresh().flags["a"]) is True
    assert value(reader.load("b")) is True


def test_a_segment_from_the_journal(reader: Reader, publisher: Publisher) -> None:
    """A flag whose segment is patched is what it is with the new one, and a flag that is archived is gone."""
    raw = flag("lab", rules=[rule(False, in_segment("staff"))])
    dataset = Dataset.of(
        [
            parse_item(FLAG, raw),
            parse_item(FLAG, flag("old")),
            parse_item(SEGMENT, segment("staff", included=["bob"])),
        ]
    )
    publisher.publish(dataset, synced=True)
    assert (True, True) == (value(reader.load("lab")), value(reader.load("old")))
    news = [
        parse_item(SEGMENT, segment("staff", included=["bob", "ada"], updated_at="2027-01-01T00:00:00Z")),
        parse_item(FLAG, flag("old", archived=True, updated_at="2027-01-01T00:00:00Z")),
    ]
    dataset, _ = dataset.merge(news)
    publisher.publish(dataset, synced=True)
    view = reader.refresh()

    assert value(view.flags["lab"]) is False
    assert view.flags["old"] is None


class Interrupted(Control):
    """A control page on which something happens right before the next publication is stored."""

    __slots__ = ("_meanwhile",)

    def __init__(self, words: memoryview, meanwhile: Callable[[], None]) -> None:
        super().__init__(words)
        self._meanwhile = meanwhile

    @property
    def publication(self) -> int:  # type: ignore[override]
        word: int = self.words[PUBLICATION]
        return word

    @publication.setter
    def publication(self, word: int) -> None:
        self._meanwhile()
        self.words[PUBLICATION] = word


def test_a_leader_that_is_superseded_right_before_its_word(reader: Reader, publisher: Publisher) -> None:
    """Its successor began without what it wrote: nobody adopts that from the journal, and goes back with the next."""
    region, dataset = reader.region, data("a")
    control = region.control
    control.epoch = 1
    publisher.publish(dataset, synced=True)
    reader.load("a")
    successor = Publisher(region, 2)

    def takeover() -> None:
        region.control = control
        control.epoch = 2
        successor.publish(dataset, synced=True)

    news, _ = dataset.merge([parse_item(FLAG, flag("a", enabled=False, updated_at="2027-01-01T00:00:00Z"))])
    region.control = Interrupted(control.words, takeover)
    late = publisher.publish(news, synced=True)
    assert late == control.publication
    before = reader.refresh()
    assert (True, False) == (value(before.flags["a"]), before.word == late)
    assert successor.heal()

    assert (successor.word, True) == (reader.refresh().word, value(reader.load("a")))


def test_a_broken_file_behind_the_journal(
    reader: Reader, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    """The patch is adopted, for it was read whole; what only the file has is its default, reported once, until the
    leader has published again."""
    dataset = data("a", "b")
    publisher.publish(dataset, synced=True)
    reader.load("a")
    dataset, _ = dataset.merge([parse_item(FLAG, flag("a", enabled=False, updated_at="2027-01-01T00:00:00Z"))])
    word = publisher.publish(dataset, synced=True)
    path = Path(reader.region.join(snapshot_name(word)))
    path.unlink()
    path.write_bytes(b"damaged" * 100)

    assert (word, False) == (reader.refresh().word, value(reader.load("a")))
    assert 0 == reader.region.control.damaged
    for _ in range(3):
        assert isinstance(reader.load("b"), Damaged)
    assert (word, 1, 1) == (reader.region.control.damaged, reader.region.control.items_broken, len(caplog.records))
    assert not publisher.heal()
    publisher.publish(dataset, synced=True)
    assert (True, False) == (value(reader.load("b")), value(reader.load("a")))


def test_two_threads_refresh(reader: Reader, publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds another one at it goes on with the former view and does not wait."""
    publisher.publish(data("a"), synced=True)
    before = reader.view
    seen: list[View] = []
    real = reader.region.snapshot

    def slow(word: int) -> object:
        seen.append(reader.refresh())
        return real(word)

    with monkeypatch.context() as patched:
        patched.setattr(reader.region, "snapshot", slow)
        after = reader.refresh()

    assert [before] == seen
    assert before is not after


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_base_that_cannot_be_read(reader: Reader, publisher: Publisher, how: str) -> None:
    """A patch on it is not adopted; it is reported, the former state stays, and what the leader makes of that is."""
    dataset = data("a", "b")
    former = publisher.publish(dataset, synced=True)
    reader.load("a")
    base = publisher.publish(dataset, synced=True)
    dataset, _ = dataset.merge([parse_item(FLAG, flag("a", enabled=False, updated_at="2027-01-01T00:00:00Z"))])
    word = publisher.publish(dataset, synced=True)
    path = reader.region.join(snapshot_name(base))
    if how == "gone":
        os.unlink(path)
    else:
        with open(path, "r+b") as file:
            file.write(b"damage")
    control = reader.region.control

    assert (former, True) == (reader.refresh().word, value(reader.load("a")))
    assert (word, 1) == (control.damaged, control.items_broken)
    assert not publisher.heal()
    assert publisher.publish(dataset, synced=True) == reader.refresh().word
    assert value(reader.load("a")) is False


def damage(reader: Reader, word: int, text: bytes) -> None:
    """Turn a bit behind the last such text in the file of a publication."""
    with open(reader.region.join(snapshot_name(word)), "r+b") as file:
        content = file.read()
        place = content.rindex(text) + len(text) + 5
        file.seek(place)
        file.write(bytes([content[place] ^ 1]))


def test_damage_that_shows_in_a_later_publication(reader: Reader, publisher: Publisher) -> None:
    """A flag whose segment is patched is compiled anew, and what is damaged in the base by now is reported."""
    raw = flag("lab", rules=[rule(False, in_segment("staff"))])
    first = segment("staff", included=["bob"])
    dataset = Dataset.of([parse_item(FLAG, raw), parse_item(SEGMENT, first)])
    base = publisher.publish(dataset, synced=True)
    assert value(reader.load("lab")) is True
    damage(reader, base, b"lab")
    changed = segment("staff", included=["bob", "ada"], updated_at="2027-01-01T00:00:00Z")
    dataset, _ = dataset.merge([parse_item(SEGMENT, changed)])
    word = publisher.publish(dataset, synced=True)

    assert isinstance(reader.refresh().flags["lab"], Damaged)
    assert (word, 1) == (reader.region.control.damaged, reader.region.control.items_broken)
    assert not publisher.heal()
    publisher.publish(dataset, synced=True)
    assert value(reader.refresh().flags["lab"]) is False


@pytest.mark.parametrize("how", ["header", "cut", "empty"])
def test_a_base_that_breaks_later(reader: Reader, publisher: Publisher, how: str) -> None:
    """What stands on it is not adopted any more, where something is looked for in it: the former state stays, which
    is reported, and what the leader makes of that is adopted."""
    raw = flag("lab", rules=[rule(False, in_segment("staff"))])
    dataset = Dataset.of([parse_item(FLAG, raw), parse_item(SEGMENT, segment("staff", included=["bob"]))])
    base = publisher.publish(dataset, synced=True)
    assert value(reader.load("lab")) is True
    path = Path(reader.region.join(snapshot_name(base)))
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.unlink()
    path.write_bytes({"header": content, "cut": content[:-1], "empty": b""}[how])
    changed = segment("staff", included=["bob", "ada"], updated_at="2027-01-01T00:00:00Z")
    dataset, _ = dataset.merge([parse_item(SEGMENT, changed)])
    word = publisher.publish(dataset, synced=True)
    view = reader.refresh()

    assert (base, True) == (view.word, value(view.flags["lab"]))
    assert (word, 1) == (reader.region.control.damaged, reader.region.control.items_broken)
    assert not publisher.heal()
    publisher.publish(dataset, synced=True)
    assert value(reader.refresh().flags["lab"]) is False


def test_a_report_that_came_too_late(reader: Reader, publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the leader has published on meanwhile, the damage is reported with what is adopted next."""
    dataset = data("a", "b")
    base = publisher.publish(dataset, synced=True)
    reader.refresh()
    damage(reader, base, b"\xa1a")
    load = View.load
    dataset, _ = dataset.merge([parse_item(FLAG, flag("b", updated_at="2027-01-01T00:00:00Z"))])

    def meanwhile(view: View, key: str) -> object:
        found = load(view, key)
        publisher.publish(dataset, synced=True)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(View, "load", meanwhile)
        assert isinstance(reader.load("a"), Damaged)
    assert (0, True) == (reader.region.control.damaged, publisher.heal())
    reader.refresh()

    assert publisher.word == reader.region.control.damaged
    assert not publisher.heal()


def test_damage_that_no_publication_heals(reader: Reader, publisher: Publisher) -> None:
    """It is reported some times, and then no more: the leader does not publish everything for ever."""
    broken = Item(FLAG, "a", 1, False, b"\xc1")
    publisher.publish(Dataset.of([broken]), synced=True)
    assert isinstance(reader.load("a"), Damaged)
    reports = 0
    for _ in range(20):
        word = publisher.publish(Dataset.of([broken]), synced=True)
        reader.refresh()
        reports += reader.region.control.damaged == word

    assert 0 < reports < 10


def test_a_base_that_goes_later(reader: Reader, publisher: Publisher) -> None:
    """What was used before answers on; what was not is reported, and there with the next publication."""
    dataset = data("a", "b")
    publisher.publish(dataset, synced=True)
    reader.load("a")
    dataset, _ = dataset.merge([parse_item(FLAG, flag("c"))])
    word = publisher.publish(dataset, synced=True)
    assert word == reader.refresh().word
    for name in reader.region.names("snapshot."):
        if name != snapshot_name(word):
            os.unlink(reader.region.join(name))

    assert (True, True) == (value(reader.load("a")), value(reader.load("c")))
    assert isinstance(reader.load("b"), Damaged)
    assert word == reader.region.control.damaged
    publisher.publish(dataset, synced=True)
    assert value(reader.load("b")) is True


def test_a_new_flag_while_another_thread_refreshes(reader: Reader, publisher: Publisher) -> None:
    """A thread that finds another one adopting, and the former file gone, looks into the newest publication itself."""
    publisher.publish(data("first"), synced=True)
    former = reader.refresh()
    both = data("first", "second")
    for _ in range(3):
        publisher.publish(both, synced=True)
    assert snapshot_name(former.word) not in reader.region.names("snapshot.")
    turn = reader._turns.pop()
    found, (every, _) = reader.load("second"), reader.all_flags()
    reader._turns.append(turn)

    assert value(found) is True
    assert {"first", "second"} == every.keys()
    assert former is reader.view


def test_what_was_seen_is_not_taken_back(reader: Reader, publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looked for a flag, found its file gone and looked into a newer one goes on from there, also where nobody
    can read what comes next."""
    publisher.publish(data("a", "b"), synced=True)
    reader.load("a")
    load, newer = View.load, data("a", "b", enabled=False)

    def meanwhile(view: View, key: str) -> object:
        monkeypatch.setattr(View, "load", load)
        for _ in range(4):
            publisher.publish(newer, synced=True)
        return load(view, key)

    monkeypatch.setattr(View, "load", meanwhile)
    assert value(reader.load("b")) is False
    word = publisher.publish(newer, synced=True)
    path = reader.region.join(snapshot_name(word))
    os.unlink(path)
    Path(path).write_bytes(b"no snapshot")

    assert value(reader.refresh().flags["a"]) is False


def test_a_region_that_is_given_up(reader: Reader, publisher: Publisher) -> None:
    """What was seen last is evaluated on."""
    publisher.publish(data("a"), synced=True)
    reader.load("a")
    reader.region.control.retire()

    assert value(reader.refresh().flags["a"]) is True
    assert RETIRED == reader.region.control.publication
