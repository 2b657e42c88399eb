"""A feed: what a data source gives is published, and what is wrong with it is shown."""

import errno
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fbshared.core.model import EMPTY, FLAG, Dataset, Item
from fbshared.core.wire import parse
from fbshared.errors import MessageError
from fbshared.leader import feed
from fbshared.leader.feed import Feed
from fbshared.leader.settings import ConnectionSettings, SyncSettings
from fbshared.leader.wake import Wake
from fbshared.shm.control import Control, SyncError, SyncState, birth
from fbshared.shm.packing import Difference
from fbshared.sources import Sink, Stop
from fbshared.testing import bootstrap, flag
from fbshared.testing.environment import message
from tests.leader.publications import Publications

Eventually = Callable[..., bool]
Run = Callable[[Sink, Stop], None]
FULL = json.dumps(bootstrap([flag("on", updated_at=1000)]))


class Source:
    """Runs the functions that a test gives, one for each run, then waits."""

    name = "test"

    def __init__(self, *runs: Run) -> None:
        self.runs = list(runs)
        self.begun = 0

    def run(self, sink: Sink, stop: Stop) -> None:
        self.begun += 1
        if self.runs:
            self.runs.pop(0)(sink, stop)
        else:
            while not stop.wait(60):
                pass


class Line:
    """A feed and its thread."""

    def __init__(self, halt: Wake, source: Source, dataset: Dataset = EMPTY, **known: bool) -> None:
        self.halt, self.source = halt, source
        self.control = Control.over(bytearray(birth((1, 2), 3)))
        self.published = Publications()
        self.failing = 0
        self.holds = True
        settings = SyncSettings(
            url="", secret="", connection=ConnectionSettings(user_agent=""), first_retry=0.05, source=source
        )
        self.feed = Feed(
            settings, dataset, self._publish, self.control, lambda: self.holds, **{"synced": False, **known}
        )
        self.thread = threading.Thread(target=self.feed.run, args=(halt,))

    def _publish(self, dataset: Dataset, synced: bool, difference: Difference | None) -> None:
        if self.failing:
            self.failing -= 1
            raise OSError(errno.ENOSPC, "no room")
        self.published.add(dataset, difference)

    @property
    def state(self) -> tuple[SyncState, SyncError]:
        return SyncState(self.control.sync_state), SyncError(self.control.sync_error)


Make = Callable[..., Line]
WELL = SyncState.OK, SyncError.NONE
WITHOUT = SyncState.INTERRUPTED, SyncError.SOURCE


@pytest.fixture
def make(halt: Wake) -> Iterator[Make]:
    made: list[Line] = []

    def line(*runs: Run, **options: Any) -> Line:
        made.append(Line(halt, Source(*runs), **options))
        made[-1].thread.start()
        return made[-1]

    yield line
    halt.set()
    for each in made:
        each.thread.join(10)
        assert not each.thread.is_alive()


def test_a_source_that_has_said_all(make: Make, eventually: Eventually) -> None:
    """One that returns is not run again; its data is current, and it counts as alive."""
    line = make(lambda sink, stop: sink.receive(FULL))

    assert eventually(lambda: line.state == WELL)
    assert eventually(lambda: line.feed.healthy_until > time.monotonic() + feed.STUCK_AFTER - 1)
    assert (["on"], 1) == (list(line.published[-1].flags), line.source.begun)
    at = line.control.data_current_at
    assert eventually(lambda: line.control.data_current_at > at > 0)  # or it would count as old after a while


def test_data_that_is_older_than_what_all_have(make: Make, eventually: Eventually) -> None:
    """It is published when the source stands by it, and not before."""
    dataset = Dataset.of([Item(FLAG, "old", 1, False, b"")])
    asked, answer = threading.Event(), threading.Event()

    def wait(sink: Sink, stop: Stop) -> None:
        while not answer.is_set() and not stop.wait(0.01):
            asked.set()
        sink.confirm()

    line = make(wait, dataset=dataset, synced=True, behind=True)
    assert asked.wait(10)
    line.feed.republish()
    for _ in range(3):  # looks, each of which would publish
        asked.clear()
        assert asked.wait(10)
    assert [] == line.published
    answer.set()

    assert eventually(lambda: line.published == [dataset] and line.state == WELL)


def test_a_patch_on_what_is_older_than_what_all_have(make: Make, eventually: Eventually) -> None:
    """It does not make that current: the source is asked for a full, and nobody goes back in time."""
    dataset = Dataset.of([Item(FLAG, "old", 1, False, b"")])
    patch = message("patch", [flag("new", updated_at=2000)])
    cursors: list[int] = []

    def hasty(sink: Sink, stop: Stop) -> None:
        cursors.append(sink.cursor)
        sink.receive(patch)

    def thorough(sink: Sink, stop: Stop) -> None:
        for text in (FULL, patch):
            sink.receive(text)
            cursors.append(sink.cursor)

    line = make(hasty, thorough, dataset=dataset, synced=True, behind=True)
    line.feed.republish()

    assert eventually(lambda: line.state == WELL)
    assert [0, 1000, 2000] == cursors
    assert [{"on"}, {"on", "new"}] == [set(each.flags) for each in line.published]


def test_a_source_with_threads(make: Make, monkeypatch: pytest.MonkeyPatch, eventually: Eventually) -> None:
    """What they hand over at once is taken one after the other, and nothing is left unpublished."""
    many, each = 4, 25
    add = Publications.add
    inside: list[int] = []
    together: set[int] = set()
    over = threading.Event()

    def slowly(published: Publications, dataset: Dataset, difference: Difference | None) -> None:
        inside.append(1)
        together.add(len(inside))
        time.sleep(0.001)  # so that others run meanwhile
        add(published, dataset, difference)
        inside.pop()

    def hand_over(sink: Sink, thread: int) -> None:
        for number in range(each):
            sink.receive(message("patch", [flag(f"{thread}-{number}", updated_at=2000)]))

    def stand_by(sink: Sink, stop: Stop) -> None:
        while not over.is_set():
            stop.wait(0.001)
            sink.confirm()

    def run(sink: Sink, stop: Stop) -> None:
        sink.receive(FULL)
        threads = [threading.Thread(target=hand_over, args=(sink, number)) for number in range(many)]
        helper = threading.Thread(target=stand_by, args=(sink, stop))
        for thread in (helper, *threads):
            thread.start()
        for thread in threads:
            thread.join(10)
        over.set()
        helper.join(10)

    monkeypatch.setattr(Publications, "add", slowly)
    line = make(run)

    assert eventually(lambda: line.published and len(line.published[-1].flags) == 1 + many * each)
    assert eventually(lambda: line.state == WELL)
    assert {1} == together


def test_a_source_that_raises(make: Make, eventually: Eventually, caplog: pytest.LogCaptureFixture) -> None:
    """It is run again after a while; the log names what it was and where, without its text."""

    def fail(sink: Sink, stop: Stop) -> None:
        raise LookupError("the password is hush")

    line = make(fail, fail, lambda sink, stop: sink.receive(FULL))

    assert eventually(lambda: line.state == WITHOUT)
    assert eventually(lambda: line.state == WELL)
    assert 3 == line.source.begun
    assert 1 == caplog.text.count("LookupError (test_feed.py, line")
    assert "hush" not in caplog.text


def test_what_a_source_gets_wrong(make: Make, eventually: Eventually) -> None:
    """A message that is not understood raises in the source, and changes nothing."""
    raised: list[str] = []
    bad = ["{", "[]", '{"messageType":"pong"}', FULL.replace('"full"', '"patch"'), FULL.replace("full", "empty")]

    def run(sink: Sink, stop: Stop) -> None:
        for text in bad:
            try:
                sink.receive(text)
            except MessageError as error:
                raised.append(str(error))
        raised.append(str(sink.cursor))
        sink.confirm()  # there is nothing to confirm
        sink.interrupted("nothing works")

    line = make(run)

    assert eventually(lambda: line.state == WITHOUT)
    assert len(bad) + 1 == len(raised)
    assert ("a patch where a full is needed", "0") == (raised[3], raised[-1])
    assert ([], 0) == (line.published, line.control.data_current_at)


def test_the_cursor_and_patches(make: Make, eventually: Eventually) -> None:
    """A source can ask its service for what is newer than what is known; a full replaces all that is."""
    cursors: list[int] = []

    def run(sink: Sink, stop: Stop) -> None:
        for text in (FULL, message("patch", [flag("new", updated_at=2000)]), FULL):
            sink.receive(text)
            cursors.append(sink.cursor)

    line = make(run)

    assert eventually(lambda: len(cursors) == 3)
    assert [1000, 2000, 1000] == cursors
    assert [{"on"}, {"on", "new"}, {"on"}] == [set(each.flags) for each in line.published]
    assert 1 == line.published.told  # of the patch


def test_what_is_known_is_not_published_again(make: Make, eventually: Eventually) -> None:
    """A new leader that finds what its source has is well at once; told to, it publishes all the same."""
    full = parse(FULL)
    assert full is not None
    line = make(lambda sink, stop: sink.receive(FULL), dataset=Dataset.of(full.items), synced=True)

    assert eventually(lambda: line.state == WELL)
    assert [] == line.published

    line.feed.republish()
    assert eventually(lambda: line.published)


def test_no_room(make: Make, halt: Wake, eventually: Eventually) -> None:
    """A publication that failed is tried again while the source waits; until then it is not well."""
    begin = threading.Event()

    def run(sink: Sink, stop: Stop) -> None:
        begin.wait(10)
        sink.receive(FULL)
        while not stop.wait(60):
            pass

    line = make(run)
    line.failing = 1
    begin.set()

    assert eventually(lambda: line.state == (SyncState.INTERRUPTED, SyncError.STORAGE))
    assert eventually(lambda: line.published and line.state == WELL)


def test_a_source_that_is_stuck(make: Make, monkeypatch: pytest.MonkeyPatch, eventually: Eventually) -> None:
    """One that waits for its stop is alive however long; one that hangs in anything else is not, after a while."""
    monkeypatch.setattr(feed, "STUCK_AFTER", 0.2)
    monkeypatch.setattr(feed, "_LOOK", 0.01)
    hang, go_on = threading.Event(), threading.Event()

    def run(sink: Sink, stop: Stop) -> None:
        while not hang.is_set():
            stop.wait(0.5)
        go_on.wait(10)

    line = make(run)
    begun = line.feed.healthy_until

    assert eventually(lambda: line.feed.healthy_until > begun + 1.0)
    hang.set()
    assert eventually(lambda: line.feed.healthy_until < time.monotonic() - 0.1)
    go_on.set()


def test_after_the_lead_is_lost(make: Make, eventually: Eventually) -> None:
    """The source is told to stop; what it hands over late is neither published nor shown."""
    begun, over = threading.Event(), threading.Event()

    def run(sink: Sink, stop: Stop) -> None:
        begun.set()
        stop.wait(60)
        over.set()
        sink.receive(FULL)
        sink.interrupted("too late")

    line = make(run)
    assert begun.wait(10)
    line.holds = False

    assert over.wait(10)
    line.thread.join(10)
    assert ([], SyncState.STARTING) == (line.published, line.control.sync_state)
    assert (EMPTY, False) == (line.feed.dataset, line.feed.synced)


def test_a_pause(make: Make, halt: Wake, eventually: Eventually) -> None:
    """A source that was told to stop is run again when the feed is."""
    line = make()
    assert eventually(lambda: line.source.begun == 1)
    halt.set()
    line.thread.join(10)
    halt.clear()
    line.thread = threading.Thread(target=line.feed.run, args=(halt,))
    line.thread.start()

    assert eventually(lambda: line.source.begun == 2)
