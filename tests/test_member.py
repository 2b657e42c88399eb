"""A membership: one for each process and region, with what a parent had seen."""

import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fbshared import member as member_module
from fbshared.core.events import IDENTIFY_TAIL
from fbshared.core.items import parse_item
from fbshared.core.model import FLAG, Dataset
from fbshared.member import Member, MemberSettings
from fbshared.members import join, own_rings
from fbshared.shm.control import RETIRED
from fbshared.shm.publisher import Publisher
from fbshared.shm.region import Region
from fbshared.testing import flag
from fbshared.view import Damaged
from tests.waiting import eventually

USER = {"key": "ada", "name": "Ada"}


def data(*keys: str, enabled: bool = True) -> Dataset:
    return Dataset.of(parse_item(FLAG, flag(key, enabled=enabled)) for key in keys)


@pytest.fixture
def settings(shared_directory: Path) -> MemberSettings:
    return MemberSettings(str(shared_directory), "digest", 1000, None)


@pytest.fixture
def member(settings: MemberSettings) -> Iterator[Member]:
    made = join(settings)
    yield made
    if not made.closed:
        made.close(time.monotonic() + 5)


@pytest.fixture
def publisher(member: Member) -> Publisher:
    return Publisher(member.region, 1)


def value(found: object) -> object:
    assert not isinstance(found, Damaged)
    assert found is not None
    return found.evaluate("ada", USER).value()  # type: ignore[attr-defined]


def in_child(test: Callable[[], bool]) -> bool:
    """Whether the test is true in a forked child."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = 0 if test() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_where_no_thread_runs(
    settings: MemberSettings, member: Member, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A member that would lead but can start no thread says once that an agent must, and does not wait for itself."""
    uwsgi = ModuleType("uwsgi")
    vars(uwsgi).update(has_threads=0, worker_id=lambda: 0, mule_id=lambda: 0)
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    member.settings = settings._replace(duty=lambda: pytest.fail("it must not stand for the lead"))
    member.run()
    member.run()

    assert 1 == caplog.text.count("run 'fbshared agent' beside it")
    assert member.waits_in_vain()

    member.region.control.leader_pid = os.getpid()

    assert not member.waits_in_vain()


def test_there_is_one(settings: MemberSettings, member: Member) -> None:
    """All callers of a process share it; its ring is there before the first event."""
    assert member is join(settings)
    assert 1 == len(own_rings())
    assert member.region.names("ring.") == list(member.outbox.rings)
    assert not member.leads


def test_many_threads_join_one(settings: MemberSettings) -> None:
    """However many come at the same moment."""
    barrier, found = threading.Barrier(8), list[Member]()

    def work() -> None:
        barrier.wait()
        found.append(join(settings))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found[0].closed is False
    assert {join(settings)} == {each for each in found if not each.closed}
    assert 8 == len(found)
    join(settings).close(time.monotonic())


def test_a_retired_region(member: Member, publisher: Publisher, settings: MemberSettings) -> None:
    """A follower moves to the new region with what it has not delivered, and goes on from the old data."""
    publisher.publish(data("a"), synced=True)
    member.load("a")
    assert member.outbox.put(USER, IDENTIFY_TAIL, 1)
    old = member.region
    shutil.rmtree(old.path)
    old.control.retire()
    assert value(member.refresh().flags["a"]) is True

    assert member.region is not old
    assert RETIRED == old.control.publication
    (ring,) = member.outbox.rings.values()
    assert 1 == len(ring.read(ring.tail, 10)[0])
    assert member.region.names("ring.") == [ring.name]
    Publisher(member.region, 1).publish(data("a", enabled=False), synced=True)
    assert value(member.refresh().flags["a"]) is False


def test_a_region_that_cannot_be_made_again(
    member: Member,
    publisher: Publisher,
    shared_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Evaluation goes on, one warning is said, and it is tried again, though not at every call."""
    publisher.publish(data("a"), synced=True)
    member.load("a")
    tries: list[str] = []

    def fail(root: str, digest: str) -> Region:
        tries.append(root)
        raise OSError(errno.EACCES, "no")

    with monkeypatch.context() as patched:
        patched.setattr(member_module, "Region", fail)
        patched.setattr(member_module, "_REJOIN_PAUSE", 0.05)
        member.region.control.retire()
        for _ in range(100):
            assert value(member.refresh().flags["a"]) is True
        assert len(tries) <= 50
        assert eventually(lambda: member.refresh() and len(tries) >= 3)
    assert 1 == len([record for record in caplog.records if "cannot be made again" in record.message])
    shutil.rmtree(member.region.path)
    old = member.region

    assert eventually(lambda: member.refresh() and member.region is not old)


# Forks


def test_a_child_begins_with_what_its_parent_saw(
    settings: MemberSettings, member: Member, publisher: Publisher
) -> None:
    """It has a membership and a ring of its own, and the compiled flags of its parent."""
    publisher.publish(data("a"), synced=True)
    compiled = member.load("a")

    def test() -> bool:
        mine = join(settings, member)
        member.drop()
        return (
            mine is not member
            and not member.cell[0]
            and mine.view.flags["a"] is compiled
            and set(mine.outbox.rings).isdisjoint(own)
            and len(own_rings()) == 1
            and len(mine.region.names("ring.")) == 2
        )

    own = list(member.outbox.rings)
    assert in_child(test)
    assert own == list(member.outbox.rings)
    assert member.outbox.put(USER, IDENTIFY_TAIL, 1)


def test_a_child_in_another_region(settings: MemberSettings, member: Member, publisher: Publisher) -> None:
    """When the region was replaced since, the old data goes on until there is a publication, whatever its word."""
    publisher.publish(data("a"), synced=True)
    publisher.publish(data("a"), synced=True)
    member.load("a")
    shutil.rmtree(member.region.path)

    def test() -> bool:
        mine = join(settings, member)
        if value(mine.refresh().flags["a"]) is not True or mine.view.word:
            return False
        Publisher(mine.region, 1).publish(data("a", enabled=False), synced=True)
        return value(mine.refresh().flags["a"]) is False

    assert in_child(test)


def test_a_child_without_a_directory(settings: MemberSettings, member: Member, publisher: Publisher) -> None:
    """Where the directory cannot be used any more, the child evaluates what its parent had, and counts its events
    as lost."""
    publisher.publish(data("a"), synced=True)
    member.load("a")
    home = Path(member.region.path).parent

    def test() -> bool:
        home.chmod(0o777)
        mine = join(settings, member)
        mine.run()
        return (
            value(mine.refresh().flags["a"]) is True
            and not mine.outbox.put(USER, IDENTIFY_TAIL, 1)
            and mine.outbox.lost > 0
        )

    assert in_child(test)
    home.chmod(0o700)


# Ends


def test_closing(settings: MemberSettings, member: Member, publisher: Publisher) -> None:
    """A closed member evaluates on; the next caller gets another one."""
    publisher.publish(data("a"), synced=True)
    member.load("a")
    before = len(os.listdir("/proc/self/fd"))
    member.close(time.monotonic() + 1)
    member.run()

    assert value(member.refresh().flags["a"]) is True
    assert {} == own_rings()
    assert len(os.listdir("/proc/self/fd")) < before
    other = join(settings)
    assert other is not member
    other.close(time.monotonic() + 1)


def test_flushing(member: Member) -> None:
    """It is done when every ring's tail is over what was put before, and gives up in time."""
    assert member.flush(0)
    member.outbox.put(USER, IDENTIFY_TAIL, 1)
    assert not member.flush(0.02)
    (ring,) = member.outbox.rings.values()
    timer = threading.Timer(0.05, lambda: ring.advance(1, ring.head))
    timer.start()

    assert member.flush(10)
    timer.join()


def test_a_move_waits_for_a_refresh(member: Member, publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh that began in the old region ends before the member moves, and never undoes the move."""

    class Leaving:
        def rescue(self, put: Callable[[bytes], bool]) -> None:
            """Nobody died."""

    monkeypatch.setattr(Member, "_begin_again", lambda self, duty: None)
    publisher.publish(data("a"), synced=True)
    member.load("a")
    old = member.region
    shutil.rmtree(old.path)
    old.control.retire()
    turn = member._turns.pop()  # as a refresh in another thread has it
    moving = threading.Thread(target=member._rejoin, args=(Leaving(),))
    moving.start()
    moving.join(0.2)
    waited = member.region is old
    member._turns.append(turn)
    moving.join(10)

    assert waited
    assert member.region is not old
    assert 0 == member.view.word
