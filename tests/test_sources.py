"""A file as a data source: one process, a real region, and no FeatBit."""

import json
import logging
import os
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fbshared import Config, ConfigError, FBClient, FileDataSource
from fbshared.shm.control import SyncError, SyncState
from fbshared.sources import FileWatch, Sink, Stop
from fbshared.status import read_regions
from fbshared.testing import FeatBitServer, bootstrap, flag, segment
from tests.waiting import eventually

USER = {"key": "ada", "name": "Ada"}
Make = Callable[..., FBClient]


def write(path: Path, *flags: Any, **more: Any) -> None:
    """Replace the file as deployments do."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(bootstrap(list(flags), **more)))
    fresh.replace(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flags.json"
    write(path, flag("on"), flag("other", "string", ["a", "b"]))
    return path


@pytest.fixture
def make(file: Path) -> Iterator[Make]:
    made: list[FBClient] = []

    def client(source: Any = None, start_wait: float = 10.0, **options: Any) -> FBClient:
        source = source or FileDataSource(file, interval=0.05)
        made.append(FBClient(Config(data_source=source, **options), start_wait))
        return made[-1]

    yield client
    for each in made:
        each.stop(5)


def state(client: FBClient) -> SyncState:
    return SyncState(client._member.region.control.sync_state)


def test_a_file_is_enough(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Without secret and URLs there is data, it is well, its age is that of the last look, and events go nowhere."""
    caplog.set_level(logging.INFO)
    client = make()
    client.track_metric(USER, "clicked")

    assert client.variation("on", USER) is True
    assert client.flush(0) is True
    assert eventually(lambda: state(client) == SyncState.OK)
    (region,) = read_regions()
    assert region.well
    assert (0, 0, 0) == (region.connections, region.rings[0].backlog_events, region.rings[0].dropped)
    before = client._member.region.control.data_current_at
    assert eventually(lambda: client._member.region.control.data_current_at > before)
    assert "in sync with its data source" in caplog.text


def test_changes_are_seen(make: Make, file: Path) -> None:
    """Each change of a flag or a segment, with an old time in it too; what is missing is gone; the rest is kept."""
    client = make()
    assert ["a", True] == [client.variation("other", USER), client.variation("on", USER)]
    kept = client._member.view.flags["other"]

    write(file, flag("on", serve=False), flag("other", "string", ["a", "b"]), segments=[segment("staff")])

    assert eventually(lambda: client.variation("on", USER) is False)
    assert client._member.view.flags["other"] is kept

    write(file, flag("other", "string", ["a", "b"], serve="b"))

    assert eventually(lambda: client.variation("other", USER) == "b")
    assert client.is_flag_known("on") is False


def test_nothing_is_published_without_a_change(make: Make, file: Path) -> None:
    """A file that is written again with the same content is no news."""
    client = make()
    published = client._member.region.control.publications
    watched = client._member.region.control.data_current_at
    write(file, flag("on"), flag("other", "string", ["a", "b"]))

    assert eventually(lambda: client._member.region.control.data_current_at > watched + 300)
    assert published == client._member.region.control.publications


def test_a_broken_file(make: Make, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last good data stays; the state says interrupted and the log why, once; it is well when the file is."""
    client = make()
    assert client.variation("on", USER) is True
    good = file.read_bytes()

    for content, reason in ((b"{", "not JSON"), (b"{}", "not a full"), (None, "No such file")):
        caplog.clear()
        if content is None:
            file.unlink()
        else:
            file.with_name("new").write_bytes(content)
            file.with_name("new").replace(file)  # at once, or it might be read half written

        assert eventually(lambda: state(client) == SyncState.INTERRUPTED)
        control = client._member.region.control
        assert (SyncError.SOURCE, True) == (control.sync_error, client.variation("on", USER))
        assert "data source" in read_regions()[0].why_stale()
        looked = time.monotonic()
        assert eventually(lambda since=looked: time.monotonic() > since + 0.3)
        assert 1 == caplog.text.count(reason)
        assert str(file) in caplog.text

        file.write_bytes(good)
        assert eventually(lambda: state(client) == SyncState.OK)
    assert client.variation("on", USER) is True


def test_one_broken_item(make: Make, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and logged, and takes no other with it."""
    write(file, flag("on"), flag("odd") | {"key": 5})
    client = make()

    assert client.variation("on", USER) is True
    assert 1 == client._member.region.control.items_broken
    assert "1 items of a message are not used" in caplog.text


def test_a_file_that_comes_later(make: Make, file: Path) -> None:
    """Until it is there evaluations answer their default."""
    file.unlink()
    client = make(start_wait=0)

    assert "client not ready" == client.variation_detail("on", USER).reason
    assert eventually(lambda: state(client) == SyncState.INTERRUPTED)
    write(file, flag("on"))
    assert eventually(lambda: client.variation("on", USER) is True)


def test_the_next_leader_begins_with_what_there_is(make: Make, file: Path) -> None:
    """Also when the file is broken by then."""
    first = make()
    epoch = first._member.region.control.epoch
    keeper = make(role="follower", events_max_in_queue=5)  # the same member
    file.write_text("broken")
    assert keeper._member is first._member
    first.stop()
    keeper.stop()
    client = make(start_wait=0)

    assert eventually(lambda: client._member.region.control.epoch > epoch and state(client) == SyncState.INTERRUPTED)
    assert client.variation("on", USER) is True


def test_events_are_delivered_where_there_is_an_address(make: Make) -> None:
    """FeatBit gets the events and is never asked for data."""
    with FeatBitServer() as server:
        client = make(env_secret=server.secret, event_url=server.event_url, events_flush_interval=0.02)
        client.variation("on", USER)
        delivered = client.flush(10)
        client.stop()

    assert delivered
    assert ["on"] == [event.payload["featureFlagKey"] for event in server.events]
    assert [] == server.connections


def test_other_files_are_other_regions(make: Make, tmp_path: Path) -> None:
    """Two sources in one process do not mix."""
    second = tmp_path / "second.json"
    write(second, flag("on", serve=False))

    assert [True, False] == [c.variation("on", USER) for c in (make(), make(FileDataSource(second)))]
    assert 2 == len(read_regions())


def test_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not depend on where a process is later; equal ones share a region, and it can be pickled."""
    monkeypatch.chdir(tmp_path)
    source = FileDataSource("flags.json")

    assert str(tmp_path / "flags.json") == source.path
    assert FileDataSource(tmp_path / "flags.json") == source
    assert source == pickle.loads(pickle.dumps(source))  # noqa: S301 - made here


@pytest.mark.parametrize(
    "arguments",
    [{"path": ""}, {"path": 5}, {"path": "a\0"}, {"path": "a", "interval": 0}, {"path": "a", "interval": "1"}],
)
def test_a_bad_file_source(arguments: Any) -> None:
    """It is refused at once."""
    with pytest.raises(ConfigError, match="FileDataSource"):
        FileDataSource(**arguments)


# A source of the application's


class Given:
    """Hands over what the test says."""

    name = "given"

    def __init__(self, *messages: Any) -> None:
        self.messages = list(messages)
        self.runs = 0

    def run(self, sink: Sink, stop: Stop) -> None:
        self.runs += 1
        while not stop.wait(0.01):
            while self.messages:
                sink.receive(json.dumps(self.messages.pop(0)))


def patch(*flags: Any) -> Any:
    message = bootstrap(list(flags))
    message["data"]["eventType"] = "patch"
    return message


def test_an_applications_source(make: Make) -> None:
    """A full replaces, a patch adds what is newer."""
    source = Given(bootstrap([flag("on", updated_at=5000), flag("other")]))
    client = make(source)
    assert client.variation("on", USER) is True

    source.messages.append(patch(flag("on", serve=False, updated_at=4000), flag("late")))
    assert eventually(lambda: client.is_flag_known("late"))
    assert client.variation("on", USER) is True

    source.messages.append(patch(flag("on", serve=False, updated_at=6000)))
    assert eventually(lambda: client.variation("on", USER) is False)
    assert client.is_flag_known("other")


def test_a_fork_of_the_leader(make: Make) -> None:
    """The source is stopped for it and run again in the parent; the child sees what it gives."""
    source = Given(bootstrap([flag("on")]))
    client = make(source)
    assert client.variation("on", USER) is True
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.close(theirs)
            os.read(ours, 1)
            code = 0 if eventually(lambda: client.variation("on", USER) is False) and source.runs == 1 else 1
        finally:
            os._exit(code)
    os.close(ours)
    assert eventually(lambda: source.runs == 2)
    source.messages.append(patch(flag("on", serve=False, updated_at=2_000_000_000_000)))
    assert eventually(lambda: client.variation("on", USER) is False)
    os.close(theirs)

    assert (child, 0) == os.waitpid(child, 0)


class WithoutName:
    def run(self, sink: Sink, stop: Stop) -> None: ...


@pytest.mark.parametrize("value", ["flags.json", 5, WithoutName(), type("Empty", (WithoutName,), {"name": ""})()])
def test_what_is_no_source(value: Any) -> None:
    """It is refused, and the field is named."""
    with pytest.raises(ConfigError, match="data_source"):
        Config(data_source=value)


# Watching


def test_watching_a_file(tmp_path: Path) -> None:
    """Only a change of the content counts, also within one tick of the clock and behind a link."""
    first, second, link = tmp_path / "1", tmp_path / "2", tmp_path / "link"
    first.write_text("one")
    second.write_text("two")
    link.symlink_to(first)
    watch = FileWatch(link)

    assert [b"one", None] == [watch.changed(), watch.changed()]
    stamp = first.stat()
    first.write_text("eno")
    os.utime(first, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert [b"eno", None] == [watch.changed(), watch.changed()]
    first.touch()
    assert watch.changed() is None
    link.unlink()
    link.symlink_to(second)
    assert [b"two", None] == [watch.changed(), watch.changed()]
    link.unlink()
    with pytest.raises(FileNotFoundError):
        watch.changed()
    link.symlink_to(second)
    assert b"two" == watch.changed()


def test_an_old_file_is_not_read_again(tmp_path: Path) -> None:
    """Where nothing about it has changed for long, a look costs one call and no reading."""
    file = tmp_path / "file"
    file.write_text("one")
    os.utime(file, (1, 1))
    watch = FileWatch(file)
    watch.changed()
    inode = file.stat().st_ino
    file.write_text("two")
    os.utime(file, (1, 1))

    assert inode == file.stat().st_ino
    assert watch.changed() is None
