"""Listeners for flags: a live server, one process."""

import errno
import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fbshared import Config, FBClient, FlagChangedListener, FlagChangedNotice, flag_change_notification
from fbshared.core.items import parse_item
from fbshared.core.model import FLAG, Dataset
from fbshared.errors import CorruptError
from fbshared.flag_change_notification import FLAG_CHANGE_NOTICE_TYPE, FlagTracker, FlagValueMaybeChangedListener
from fbshared.interfaces import Notice
from fbshared.shm.packing import pack
from fbshared.shm.snapshot import Snapshot
from fbshared.testing import FeatBitServer, bootstrap, flag, in_segment, rule, segment
from fbshared.view import View
from tests.chain import IDENTITY, Chain
from tests.waiting import eventually

USER = {"key": "ada", "name": "Ada"}
DATA = bootstrap(
    [
        flag("text", "string", ["a", "b", "c"]),
        flag("other"),
        flag("staff", rules=[rule(True, in_segment("outer"))], serve=False),
    ],
    [segment("outer", rules=[[in_segment("inner")]]), segment("inner")],
)


class Notices(FlagChangedListener):
    """Keeps the keys of all notices."""

    def __init__(self, does: Callable[[str], object] = len) -> None:
        self.keys: list[str] = []
        self._does = does

    def on_flag_change(self, notice: FlagChangedNotice) -> None:
        self.keys.append(notice.flag_key)
        self._does(notice.flag_key)


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(DATA) as server:
        yield server


Make = Callable[..., FBClient]


@pytest.fixture
def make(server: FeatBitServer) -> Iterator[Make]:
    made: list[FBClient] = []

    def client(start_wait: float = 10.0, **options: Any) -> FBClient:
        options = {"events_flush_interval": 0.02, "streaming_first_retry_delay": 0.05} | options
        made.append(FBClient(Config(server.secret, server.event_url, server.streaming_url, **options), start_wait))
        return made[-1]

    yield client
    for each in made:
        each.stop(5)


@pytest.fixture
def client(make: Make) -> FBClient:
    return make()


def serve(server: FeatBitServer, value: str) -> None:
    server.put_flag(flag("text", "string", ["a", "b", "c"], serve=value))


def test_a_value_that_changes(client: FBClient, server: FeatBitServer) -> None:
    """A value's listener is called with key, former and new value, once for each change and for nothing else."""
    calls: list[tuple[str, Any, Any]] = []
    client.flag_tracker.add_flag_value_changed_listener("text", USER, lambda *call: calls.append(call))
    everything = Notices()
    client.flag_tracker.add_flag_changed_listener(everything)
    serve(server, "b")
    # The value may be told a look earlier: it is the present one, whichever publication a look is at.
    assert eventually(lambda: (len(calls), len(everything.keys)) == (1, 1))
    server.put_flag(flag("text", "string", ["a", "b", "c"], serve="b", name="Renamed"))
    assert eventually(lambda: len(everything.keys) == 2)
    serve(server, "c")
    assert eventually(lambda: len(calls) == 2)
    server.archive_flag("text")

    assert eventually(lambda: len(calls) == 3)
    assert [("text", "a", "b"), ("text", "b", "c"), ("text", "c", None)] == calls


def test_a_value_that_may_have_changed(client: FBClient, server: FeatBitServer) -> None:
    """A flag's listener is called with key and value when the flag is different, though the value is the same."""
    calls: list[tuple[str, Any]] = []
    client.flag_tracker.add_flag_value_maybe_changed_listener("text", USER, lambda *call: calls.append(call))
    serve(server, "a")
    assert eventually(lambda: len(calls) == 1)
    server.update_flag("other", name="Renamed")
    serve(server, "b")

    assert eventually(lambda: len(calls) == 2)
    assert [("text", "a"), ("text", "b")] == calls


def test_every_flag(client: FBClient, server: FeatBitServer) -> None:
    """A general listener is told of flags that were changed, added and archived, and of no other."""
    everything = Notices()
    client.flag_tracker.add_flag_changed_listener(everything)
    for number, change in enumerate(
        [lambda: serve(server, "b"), lambda: server.put_flag(flag("new")), lambda: server.archive_flag("new")], 1
    ):
        change()
        assert eventually(lambda number=number: len(everything.keys) == number)

    assert ["text", "new", "new"] == everything.keys


@pytest.mark.parametrize("key", ["outer", "inner"])
def test_a_segment_is_part_of_the_flags_that_use_it(client: FBClient, server: FeatBitServer, key: str) -> None:
    """A changed segment, nested or not, is a change of the flags that can reach it, and of no other one."""
    everything, calls = Notices(), []
    client.flag_tracker.add_flag_changed_listener(everything)
    client.flag_tracker.add_flag_value_changed_listener("staff", USER, lambda *call: calls.append(call))
    server.put_segment(segment(key, included=["ada"]))

    assert eventually(lambda: calls and everything.keys)
    assert [("staff", False, True)] == calls
    assert ["staff"] == everything.keys


def test_what_a_listener_evaluates_is_the_change(client: FBClient, server: FeatBitServer) -> None:
    """A listener that evaluates sees what it is told of, or something newer, with events like any other call."""
    seen: list[Any] = []
    client.flag_tracker.add_flag_changed_listener(Notices(lambda key: seen.append(client.variation(key, USER))))
    serve(server, "b")

    assert eventually(lambda: seen)
    assert ["b"] == seen


def test_listeners_send_no_events(client: FBClient, server: FeatBitServer) -> None:
    """What listeners evaluate is no evaluation of the application: FeatBit is told nothing."""
    calls: list[Any] = []
    client.flag_tracker.add_flag_value_changed_listener("text", USER, lambda *call: calls.append(call))
    client.flag_tracker.add_flag_value_maybe_changed_listener("text", USER, lambda *call: calls.append(call))
    serve(server, "b")
    assert eventually(lambda: len(calls) == 2)
    client.variation("other", USER)
    assert client.flush(10)

    assert ["other"] == [event.payload["featureFlagKey"] for event in server.events]


def test_before_there_is_data(make: Make, server: FeatBitServer) -> None:
    """To a listener that was there first, the first data is a change of everything."""
    server.mute_data_sync()
    client = make(start_wait=0, defaults={"text": "x"})
    everything, calls = Notices(), []
    client.flag_tracker.add_flag_changed_listener(everything)
    client.flag_tracker.add_flag_value_changed_listener("text", USER, lambda *call: calls.append(call))
    server.mute_data_sync(False)
    server.drop_connections()

    assert eventually(lambda: calls)
    assert [("text", "x", "a")] == calls
    assert ["other", "staff", "text"] == everything.keys


@pytest.mark.parametrize(
    ("key", "user", "function", "names"),
    [
        ("", USER, print, "flag_key"),
        (5, USER, print, "flag_key"),
        ("text", {"key": "ada"}, print, "user"),
        ("text", None, print, "user"),
        ("text", USER, "print", "changed_fn"),
    ],
)
def test_what_is_refused(client: FBClient, key: Any, user: Any, function: Any, names: str) -> None:
    """A listener that could never be called is refused, with the argument's name."""
    for add in (
        client.flag_tracker.add_flag_value_changed_listener,
        client.flag_tracker.add_flag_value_maybe_changed_listener,
    ):
        with pytest.raises(ValueError, match=names):
            add(key, user, function)
    with pytest.raises(ValueError, match="on_flag_change"):
        client.flag_tracker.add_flag_changed_listener(print)  # type: ignore[arg-type]  # that is the point


def test_removing(client: FBClient, server: FeatBitServer) -> None:
    """A removed listener is told no more, also one that removes itself; no thread is left without listeners."""
    calls: list[Any] = []
    tracker = client.flag_tracker
    removed = tracker.add_flag_value_changed_listener("text", USER, lambda *call: calls.append(call))
    twice = Notices()
    tracker.add_flag_changed_listener(twice)
    tracker.add_flag_changed_listener(twice)
    itself = Notices(lambda key: tracker.remove_flag_change_notifier(itself))
    tracker.add_flag_changed_listener(itself)
    tracker.remove_flag_change_notifier(removed)
    tracker.remove_flag_change_notifier(twice)
    serve(server, "b")
    assert eventually(lambda: twice.keys and itself.keys)
    serve(server, "c")
    assert eventually(lambda: len(twice.keys) == 2)
    tracker.remove_flag_change_notifier(twice)

    assert ["text", "text"] == twice.keys
    assert ["text"] == itself.keys
    assert [] == calls
    assert eventually(lambda: "fbshared-watcher" not in {thread.name for thread in threading.enumerate()})


def test_one_that_raises(client: FBClient, server: FeatBitServer, caplog: pytest.LogCaptureFixture) -> None:
    """A listener that raises is told again, the ones after it are told too, and it is logged once."""
    bad, good = Notices(lambda key: 1 / 0), Notices()
    client.flag_tracker.add_flag_changed_listener(bad)
    client.flag_tracker.add_flag_changed_listener(good)
    for number, value in enumerate("bc", 1):
        serve(server, value)
        assert eventually(lambda number=number: len(good.keys) == number)

    assert good.keys == bad.keys
    raised = [record for record in caplog.records if "ZeroDivisionError" in record.getMessage()]
    assert [logging.WARNING] == [record.levelno for record in raised]


def test_stopping_the_client(client: FBClient, server: FeatBitServer) -> None:
    """A listener may stop the client; nobody is called afterwards, and adding more is no error."""
    stopped = threading.Event()

    def stop(key: str) -> None:
        client.stop()
        stopped.set()

    first, second = Notices(stop), Notices()
    client.flag_tracker.add_flag_changed_listener(first)
    client.flag_tracker.add_flag_changed_listener(second)
    serve(server, "b")
    assert stopped.wait(10)
    client.flag_tracker.add_flag_changed_listener(second)

    assert eventually(lambda: "fbshared-watcher" not in {thread.name for thread in threading.enumerate()})
    assert (["text"], []) == (first.keys, second.keys)


def test_a_lost_region(client: FBClient, server: FeatBitServer) -> None:
    """When all meet again in a new region, what is the same there is no news, and what changes later is."""
    everything = Notices()
    client.flag_tracker.add_flag_changed_listener(everything)
    before = client._member.region.identity
    client._member.region.control.retire()
    assert eventually(lambda: client._member.region.identity != before and client._member.view.word)
    serve(server, "b")

    assert eventually(lambda: everything.keys)
    assert ["text"] == everything.keys


class Source:
    """What a tracker needs of a member, with snapshots that the test makes."""

    def __init__(self) -> None:
        self.view = View()
        self.reported: list[int] = []

    def refresh(self) -> View:
        return self.view

    def report(self, word: int, error: CorruptError | OSError) -> None:
        self.reported.append(word)

    def publish(self, *flags: Any, damage: bool = False, gone: bool = False) -> None:
        word = self.view.word + 1
        data = b"".join(pack(Dataset.of([parse_item(FLAG, raw) for raw in flags]), word, IDENTITY, 1, synced=True))
        self.show(data, word, damage=damage, gone=gone)

    def follow(self, chain: Chain, *, damage: bool = False) -> None:
        """Show the newest snapshot of a leader."""
        self.show(chain.content, chain.word, damage=damage, open_base=chain._base)

    def show(
        self,
        content: bytes,
        word: int,
        *,
        damage: bool = False,
        gone: bool = False,
        open_base: Callable[[int], Snapshot] | None = None,
    ) -> None:
        data = bytearray(content)
        if damage:
            data[-1] ^= 1

        def open_it() -> Snapshot:
            if gone:
                raise FileNotFoundError
            return Snapshot(bytes(data), word, IDENTITY, open_base)

        self.view = View(word, IDENTITY, open_it)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def tracker(source: Source) -> Iterator[FlagTracker]:
    made = FlagTracker(lambda: source, lambda key, user, default: default)  # type: ignore[arg-type, return-value]
    yield made
    made.close(time.monotonic() + 5)


def never() -> bool:
    return False


def test_a_look_that_is_halted(source: Source, tracker: FlagTracker) -> None:
    """What a look did not come to is told in the next one, and nothing is told twice."""
    source.publish()
    halts = iter([False, True])
    everything = Notices()
    registered = tracker._listeners
    registered._registered[0] = flag_change_notification._Follower(everything)
    source.publish(flag("a"), flag("b"))
    tracker._look(lambda: next(halts))

    assert ["a"] == everything.keys

    tracker._look(never)
    tracker._look(never)

    assert ["a", "b"] == everything.keys


def test_damage(source: Source, tracker: FlagTracker) -> None:
    """A damaged publication is reported once, tells nobody anything, and the next one is compared as usual."""
    source.publish(flag("a", updated_at=1))
    everything = Notices()
    tracker.add_flag_changed_listener(everything)
    source.publish(flag("a", updated_at=2), damage=True)
    assert eventually(lambda: source.reported)
    tracker._look(never)

    assert ([2], []) == (source.reported, everything.keys)

    source.publish(flag("a", updated_at=2))

    assert eventually(lambda: everything.keys)
    assert (["a"], [2]) == (everything.keys, source.reported)


def observed(tracker: FlagTracker) -> Notices:
    """A listener for everything, which only the test lets look."""
    everything = Notices()
    follower = flag_change_notification._Follower(everything)
    tracker._begin(follower)
    tracker._listeners._registered[0] = follower
    return everything


def test_a_patch_is_compared_alone(source: Source, tracker: FlagTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener for everything looks at the patched flags, those of patched segments, and at no others; and what
    it missed is told all the same."""
    chain = Chain.of(DATA["data"]["featureFlags"], DATA["data"]["segments"])
    source.follow(chain)
    everything = observed(tracker)
    monkeypatch.setattr(Snapshot, "keys", None)
    chain.patch(flag("other", enabled=False))
    source.follow(chain)
    tracker._look(never)
    assert ["other"] == everything.keys
    chain.patch(segments=[segment("inner", included=["ada"])])
    chain.patch(flag("new"), flag("text", archived=True))
    source.follow(chain)
    tracker._look(never)

    assert ["other", "new", "staff", "text"] == everything.keys


def test_a_patch_of_another_flag(source: Source, tracker: FlagTracker) -> None:
    """A listener for one flag opens no base for it, and is told when its flag, or a segment of it, is patched."""
    chain = Chain.of(DATA["data"]["featureFlags"], DATA["data"]["segments"])
    source.follow(chain)
    told: list[str] = []
    listener = FlagValueMaybeChangedListener("staff", USER, lambda *_: None, lambda key, _: told.append(key))
    follower = flag_change_notification._Follower(listener)
    tracker._begin(follower)
    tracker._listeners._registered[0] = follower
    chain.opened.clear()
    for raw in ("other", "text", "new"):
        chain.patch(flag(raw, enabled=False))
        source.follow(chain)
        tracker._look(never)
    assert ([], []) == (told, chain.opened)
    chain.patch(segments=[segment("inner", included=["ada"])])
    source.follow(chain)
    tracker._look(never)
    assert ["staff"] == told
    chain.patch(flag("staff", archived=True))
    source.follow(chain)
    tracker._look(never)

    assert ["staff", "staff"] == told


def test_a_patch_that_cannot_be_read_now(source: Source, tracker: FlagTracker) -> None:
    """Where this process has no descriptor left, it is told as soon as it has one again."""
    chain = Chain.of([flag("a"), flag("b")])
    source.follow(chain)
    everything = observed(tracker)
    chain.patch(flag("b", enabled=False))
    source.follow(chain)
    readable = source.view

    def exhausted() -> Snapshot:
        raise OSError(errno.EMFILE, "too many open files")

    source.view = View(chain.word, IDENTITY, exhausted)
    tracker._look(never)
    assert ([2], []) == (source.reported, everything.keys)
    source.view = readable
    tracker._look(never)

    assert ["b"] == everything.keys


def test_a_patch_that_was_damaged(source: Source, tracker: FlagTracker) -> None:
    """What changed in a publication that nobody could read is told with the next one."""
    chain = Chain.of([flag("a"), flag("b")])
    source.follow(chain)
    everything = observed(tracker)
    chain.patch(flag("b", enabled=False))
    source.follow(chain, damage=True)
    tracker._look(never)
    assert ([2], []) == (source.reported, everything.keys)
    chain.patch(flag("a", enabled=False))
    source.follow(chain)
    tracker._look(never)

    assert ["a", "b"] == everything.keys


def test_a_publication_that_is_gone(source: Source, tracker: FlagTracker) -> None:
    """A publication that is replaced before it could be read is no trouble: the one after it is read."""
    source.publish(gone=True)
    everything = Notices()
    tracker.add_flag_changed_listener(everything)
    source.publish(flag("a"))

    assert eventually(lambda: everything.keys)
    assert (["a"], []) == (everything.keys, source.reported)


def test_a_notice() -> None:
    """A notice has the type of its kind, and the flag's key."""
    notice = FlagChangedNotice("text")

    assert isinstance(notice, Notice)
    assert (FLAG_CHANGE_NOTICE_TYPE, "text") == (notice.notice_type, notice.flag_key)
    assert "FlagChangedNotice('text')" == repr(notice)


def test_the_names_are_the_references() -> None:
    """Classes, methods and the names of their arguments are those of fb-python-sdk."""
    reference = pytest.importorskip("fbclient.flag_change_notification")
    for name in flag_change_notification.__all__:
        ours, theirs = getattr(flag_change_notification, name), getattr(reference, name)
        if not inspect.isclass(theirs):
            assert theirs == ours
            continue
        for method, function in vars(theirs).items():
            if inspect.isfunction(function) and not (name == "FlagTracker" and method == "__init__"):
                expected = list(inspect.signature(function).parameters)

                assert expected == list(inspect.signature(getattr(ours, method)).parameters), (name, method)


def test_a_listener_made_by_hand() -> None:
    """The classes can be used as in the reference: with any function that evaluates, and told by anybody."""
    values, calls = iter(["a", "a", "b"]), []
    listener = flag_change_notification.FlagValueChangedListener(
        "text", USER, lambda key, user, default: next(values), lambda *call: calls.append(call)
    )
    for key in ("other", "text", "text"):
        listener.on_flag_change(FlagChangedNotice(key))

    assert [("text", "a", "b")] == calls
