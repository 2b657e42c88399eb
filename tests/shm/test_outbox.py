"""An outbox: events go in from anywhere at any moment, and no put harms the next."""

import errno
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from fbshared.core import events
from fbshared.core.events import IDENTIFY_TAIL, payload
from fbshared.core.prepared import FBUser
from fbshared.shm import outbox as outbox_module
from fbshared.shm import ring as ring_module
from fbshared.shm.outbox import MOST_RINGS, Outbox, SilentOutbox
from fbshared.shm.region import OwnRing, Region
from fbshared.shm.ring import CHUNK

USER = {"key": "u1", "name": "Ada"}
TAIL = events.evaluation_tail("flag", "v1", "true", "flag off", False)


@pytest.fixture
def outbox(region: Region) -> Iterator[Outbox]:
    made = Outbox(lambda: region.new_ring(2))
    yield made
    made.close()


def names(outbox: Outbox) -> list[str]:
    """The users of all events in all rings, ring by ring."""
    found = []
    for ring in outbox.rings.values():
        position = ring.tail
        while position < ring.head:
            records, position, corrupt = ring.read(position, 1000)
            assert 0 == corrupt
            found += [payload(record)["user"]["keyId"] for record, _ in records]
    return found


def put(outbox: Outbox, name: str) -> bool:
    return outbox.put({"key": name, "name": name}, IDENTIFY_TAIL, 1)


def test_an_event_arrives(outbox: Outbox) -> None:
    """What was put is a record of the ring, with user, time and tail."""
    assert outbox.put(USER, TAIL, 1_234_999_999)
    (ring,) = outbox.rings.values()
    ((record, _),) = ring.read(0, 10)[0]

    assert events.record(events.pack_user(events.make_pack(), USER), TAIL, 1_234_999_999) == record
    assert 1234 == payload(record)["variations"][0]["timestamp"]


def test_a_prepared_user(outbox: Outbox) -> None:
    """Its event is a record that a reader finds whole, and FeatBit is told the same as of the dict."""
    raw = USER | {"plan": "pro"}
    for user in (FBUser.from_dict(raw), raw):
        assert outbox.put(user, TAIL, 1_000_000)
    (ring,) = outbox.rings.values()
    records, _, corrupt = ring.read(0, 10)

    assert (2, 0) == (len(records), corrupt)
    assert payload(records[0][0]) == payload(records[1][0])


@pytest.mark.parametrize("how", [dict, FBUser.from_dict])
def test_users_of_every_size(region: Region, how: Callable[[Any], Any]) -> None:
    """However long a user's record is, and whether or not there was one of that length before, it is read whole; a dict
    that holds more than anybody is told is reduced."""
    outbox = Outbox(lambda: region.new_ring(400))
    users = [{"key": f"u{size}", "name": "x" * size} for size in [*range(1, 9000, 7), 1, 2000, 8000]]
    huge = {"key": "huge", "name": "x", "cart": list(range(5000))} if how is dict else {"key": "huge", "name": "x"}
    for user in [*users, huge, huge]:
        assert outbox.put(how(user), TAIL, 1)

    assert [*(user["key"] for user in users), "huge", "huge"] == names(outbox)
    assert outbox.rings.popitem()[1].head < 10_000_000
    assert len(ring_module.writers) <= 1024
    outbox.close()


@pytest.mark.parametrize("user", [USER, FBUser.from_dict(USER)])
def test_a_damaged_event_is_noticed(outbox: Outbox, user: Any) -> None:
    """Whichever bit of an event is wrong, of its length, its checksum, its user, what it says or its time, it is not
    believed."""
    for _ in range(2):  # the second one is written as most are
        outbox.put(user, TAIL, 1_234_567_890_123_456_789)
    (ring,) = outbox.rings.values()
    begin, end, chunk = ring.head // 2, ring.head, ring.current
    assert ring.read(begin, 1)[0]
    for bit in range(begin * 8, end * 8):
        chunk[bit // 8] ^= 1 << bit % 8  # type: ignore[index]
        believed = ring.read(begin, 1)[0]
        chunk[bit // 8] ^= 1 << bit % 8  # type: ignore[index]

        assert [] == believed or bit // 8 >= begin + 16 + len(believed[0][0]), bit - begin * 8


def test_puts_lead_from_chunk_to_chunk(region: Region) -> None:
    """Records fill one chunk after the other; when all are full, the rest is counted as dropped."""
    outbox = Outbox(lambda: region.new_ring(2))
    users = [FBUser(f"u{number}", "x" * 300) for number in range(800)]
    put = [outbox.put(user, TAIL, 1_000_000) for user in users]
    (ring,) = outbox.rings.values()

    assert put == sorted(put, reverse=True)
    assert 0 < put.count(False) < 400
    assert (put.count(False), 2) == (ring.dropped, -(-ring.head // CHUNK))
    assert [user.key for user in users][: put.count(True)] == names(outbox)
    outbox.close()


def test_one_ring_is_enough_for_one_thread(outbox: Outbox) -> None:
    """Puts one after the other share a ring, the prepared one; a second preparation makes none."""
    outbox.prepare()
    outbox.prepare()
    prepared = list(outbox.rings)
    assert all(put(outbox, str(number)) for number in range(100))
    assert outbox.put_record(b"\x94whatever")

    assert prepared == list(outbox.rings)
    assert 1 == len(prepared)


def test_a_put_in_the_middle_of_a_put(outbox: Outbox) -> None:
    """A signal handler's put finds the ring in use and takes another one; both events arrive, and both rings
    serve again."""
    nested = []

    class Interrupting(dict[str, str]):
        def get(self, *args: Any) -> Any:
            if not nested:
                nested.append(None)
                nested.append(put(outbox, "inner"))
            return super().get(*args)

    assert outbox.put(Interrupting(key="outer", name="outer"), IDENTIFY_TAIL, 1)
    assert [None, True] == nested
    assert {"outer", "inner"} == set(names(outbox))
    assert all(put(outbox, str(number)) for number in range(10))
    assert 2 == len(outbox.rings)


def test_several_threads(outbox: Outbox) -> None:
    """Events of many threads arrive, each once, and there are no more rings than threads."""
    barrier, done = threading.Barrier(6), list[str]()

    def work(number: int) -> None:
        barrier.wait()
        for count in range(200):
            name = f"{number}-{count}"
            if put(outbox, name):
                done.append(name)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)

    assert 1200 == len(done)
    assert sorted(done) == sorted(names(outbox))
    assert len(outbox.rings) <= 6


# Exceptions


FILES = (outbox_module.__file__, ring_module.__file__)


class Stroke(BaseException):
    """Strikes between any two lines, as a signal handler's exception does."""


def struck(call: Callable[[], Any], line: int) -> bool:
    """Whether an exception struck the call, before its n-th line in the outbox or the ring."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            count += 1
            if count == line:
                raise Stroke
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Stroke:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize("how", ["put", "put_record"])
def test_an_exception_at_any_line_of_a_put(region: Region, prepared: bool, how: str) -> None:
    """The event is there as a whole or not at all, no earlier one is lost, and each ring serves on, a new one too."""
    record = events.record(events.pack_user(events.make_pack(), {"key": "x", "name": "x"}), IDENTIFY_TAIL, 1)
    line, cut_off = 1, True
    while cut_off:
        outbox = Outbox(lambda: region.new_ring(2))
        if prepared:
            assert put(outbox, "before")
        before = names(outbox)
        rings = len(outbox.rings)
        call = (lambda: put(outbox, "x")) if how == "put" else (lambda: outbox.put_record(record))  # noqa: B023
        cut_off = struck(call, line)
        there = names(outbox)
        assert there in (before, [*before, "x"])
        assert put(outbox, "after")
        assert sorted([*there, "after"]) == sorted(names(outbox))
        if prepared:
            assert rings == len(outbox.rings)
        assert outbox.rings.keys() == {turn.ring.name for turn in outbox._free}
        outbox.close()
        line += 1

    assert line > 10


def test_exceptions_by_a_signal(outbox: Outbox) -> None:
    """A handler that throws wherever it strikes costs no event whose put returned, and no ring for good."""
    strokes, number, done = 0, 0, list[str]()

    def strike(_: int, frame: FrameType | None) -> None:
        nonlocal strokes
        assert frame is not None
        if frame.f_code.co_filename in FILES and frame.f_code.co_name != "__del__":
            strokes += 1
            raise Stroke

    outbox.prepare()
    before = signal.signal(signal.SIGALRM, strike)
    try:
        while strokes < 30:
            signal.setitimer(signal.ITIMER_REAL, 0.0003 + number % 7 * 1e-5)
            try:
                for _ in range(1000):
                    number += 1
                    if put(outbox, str(number)):
                        done.append(str(number))
            except Stroke:
                pass
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert set(done) <= set(names(outbox))
            done.clear()
            for ring in outbox.rings.values():
                ring.advance(1, ring.head)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    gc.collect()

    assert len(outbox.rings) <= 3
    assert put(outbox, "after")


# Rings that go away


def test_a_retired_ring_is_renewed(outbox: Outbox) -> None:
    """Taken for dead by a leader, a process that lives goes on in a new ring, and its event is in it."""
    put(outbox, "before")
    (old,) = outbox.rings.values()
    old.retired = 1
    assert put(outbox, "after")
    (new,) = outbox.rings.values()

    assert old is not new
    assert ["after"] == names(outbox)
    new.retired = 1
    assert outbox.put_record(old.read(0, 1)[0][0][0])
    assert ["before"] == names(outbox)
    old.file.close()
    new.file.close()


@pytest.mark.parametrize("when", ["before the put", "before it pushes", "after it pushed"])
def test_a_put_in_the_middle_of_closing(
    region: Region, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Whenever the outbox is closed by another thread, the event of a put is in a ring, and the ring's lock is free
    as soon as the put is over."""
    put(outbox, "first")
    (old,) = outbox.rings.values()
    push = OwnRing.push
    old.start = old.limit  # the next put enters another chunk, which a put leaves to the ring

    def interrupted(ring: OwnRing, event: bytes) -> bool:
        monkeypatch.undo()
        if when == "before it pushes":
            outbox.close()
            assert old.file.fd >= 0, "a put is in the middle of it"
        done = push(ring, event)
        if when == "after it pushed":
            outbox.close()
            assert old.file.fd >= 0, "a put is in the middle of it"
        return done

    monkeypatch.setattr(OwnRing, "push", interrupted)
    if when == "before the put":
        monkeypatch.undo()
        outbox.close()
    assert put(outbox, "second")

    assert -1 == old.file.fd
    assert "second" in names(outbox)
    for ring in list(outbox.rings.values()):
        ring.file.close()


def test_a_retired_ring_cannot_be_renewed(region: Region) -> None:
    """Without room for a new ring the event is counted as lost, and a later put tries again."""
    room = [True]

    def new_ring() -> OwnRing:
        if not room[0]:
            raise OSError(errno.ENOSPC, "no room")
        return region.new_ring(2)

    outbox = Outbox(new_ring)
    assert put(outbox, "a")
    old = outbox.retire()
    room[0] = False
    assert not put(outbox, "b")
    assert 1 == outbox.lost
    room[0] = True
    assert not put(outbox, "b")
    outbox.try_again()
    assert put(outbox, "c")

    assert ["c"] == names(outbox)
    assert [1] == [ring.retired for ring in old]
    for ring in old:
        ring.file.close()
    outbox.close()


def test_no_ring_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events without a ring are counted, nothing waits and nothing raises; a ring is not tried for at every put."""
    tries, counted = [], []

    def full() -> OwnRing:
        tries.append(None)
        raise OSError(errno.ENOSPC, "no room")

    outbox = Outbox(full, lambda: counted.append(None))
    outbox.prepare()
    assert not put(outbox, "a")
    assert not outbox.put_record(b"a")
    assert (1, 2, 2) == (len(tries), outbox.lost, len(counted))

    monkeypatch.setattr(outbox_module, "RING_PAUSE", 0.0)
    outbox.try_again()
    assert not put(outbox, "a")
    assert not put(outbox, "a")
    assert (3, 4) == (len(tries), outbox.lost)


def test_no_more_rings_than_reason(outbox: Outbox) -> None:
    """However many puts meet, rings have an end: the rest is counted as lost."""
    depth = 0

    class Deep(dict[str, str]):
        def get(self, *args: Any) -> Any:
            nonlocal depth
            depth += 1
            if depth < 100:
                outbox.put(Deep(self), IDENTIFY_TAIL, 1)
            return super().get(*args)

    outbox.put(Deep(key="u", name="u"), IDENTIFY_TAIL, 1)

    assert MOST_RINGS == len(outbox.rings)
    assert outbox.lost > 0


def test_a_user_that_nothing_can_pack(outbox: Outbox) -> None:
    """A user of the application's own making costs its event at most, never a ring."""

    class Awkward(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise RuntimeError("no")

        def __getitem__(self, _: str) -> Any:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        outbox.put(Awkward(key="u", name="u", other=object()), IDENTIFY_TAIL, 1)
    assert put(outbox, "after")
    assert 1 == len(outbox.rings)


# Ends


def test_closing_frees_the_rings(region: Region, outbox: Outbox) -> None:
    """A closed outbox keeps no ring alive, and what is in its files stays for the leader."""
    put(outbox, "a")
    (ring,) = outbox.rings.values()
    outbox.close()

    assert {} == outbox.rings
    assert [ring.name] == region.names("ring.")
    assert -1 == ring.file.fd
    assert 1 == ring.retired


def test_dropping_touches_nothing(region: Region) -> None:
    """A forked child closes its copies; the rings are the parent's and stay as they are."""
    outbox = Outbox(lambda: region.new_ring(2))
    put(outbox, "a")
    (ring,) = outbox.rings.values()
    outbox.drop()

    assert (0, -1) == (ring.retired, ring.file.fd)
    assert {} == outbox.rings


def test_a_record_needs_no_prepared_ring(outbox: Outbox) -> None:
    """The first record opens a ring as the first event does."""
    assert outbox.put_record(b"record")

    (ring,) = outbox.rings.values()
    assert [b"record"] == [record for record, _ in ring.read(0, 10)[0]]


def test_failures_are_counted(outbox: Outbox) -> None:
    """A failed evaluation is counted in a ring where there is one, and nowhere else."""
    outbox.count_failure()
    outbox.prepare()
    outbox.count_failure()
    outbox.count_failure()

    assert [2] == [ring.failures for ring in outbox.rings.values()]


def test_a_silent_outbox(region: Region) -> None:
    """It takes every event and keeps none, lost or not; its ring shows that the process is a member."""
    outbox = SilentOutbox(lambda: region.new_ring(2))
    outbox.prepare()

    assert put(outbox, "a") is True
    (ring,) = outbox.rings.values()
    assert (0, 0, 0) == (ring.backlog(), ring.dropped, outbox.lost)
    outbox.close()
