"""A leader's neighbours: regions that nobody uses are removed after an hour, and no others."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fbshared.core.model import EMPTY
from fbshared.leader import siblings as siblings_module
from fbshared.leader.election import Election
from fbshared.leader.siblings import LOOKS, PAUSE, Siblings
from fbshared.member import MemberSettings
from fbshared.members import join
from fbshared.shm.control import RETIRED
from fbshared.shm.publisher import Publisher
from fbshared.shm.region import Region


class Watch:
    """A leader's looks, a minute apart."""

    def __init__(self, region: Region) -> None:
        self.siblings = Siblings(region)
        self.now = 1000.0

    def minutes(self, count: int) -> None:
        for _ in range(count):
            self.siblings.look(self.now)
            self.siblings.look(self.now + PAUSE / 2)
            self.now += PAUSE


@pytest.fixture
def watch(region: Region) -> Watch:
    return Watch(region)


@pytest.fixture
def sibling(region: Region) -> Region:
    """A region as its last process left it: with a snapshot, an empty ring and a lock file."""
    made = Region(root_of(region), "sibling")
    Publisher(made, 1).publish(EMPTY, synced=True)
    term = Election(made, 10.0, lambda: 0.0).poll()
    assert term is not None
    term.close()
    made.new_ring(2).file.close()
    made.close()
    return made


@pytest.fixture
def elsewhere() -> Iterator[Callable[[Callable[[], object]], int]]:
    """Does something in another process, which lives on; gives its number."""
    children: list[int] = []

    def do(what: Callable[[], object]) -> int:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                kept = what()
                os.write(write, b"!")
                threading.Event().wait(60)
                del kept
            finally:
                os._exit(0)
        children.append(child)
        os.close(write)
        assert b"!" == os.read(read, 1)
        os.close(read)
        return child

    yield do
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)


def root_of(region: Region) -> str:
    return str(Path(region.path).parent.parent)


def test_an_unused_region_goes_after_an_hour(watch: Watch, sibling: Region, region: Region) -> None:
    """Not before, for an application that starts again begins with its snapshot; and never the own one."""
    watch.minutes(LOOKS)
    assert os.path.exists(sibling.path)
    watch.minutes(1)

    assert not os.path.exists(sibling.path)
    assert RETIRED == sibling.control.publication
    assert region.intact()


def test_the_hour_begins_again_with_each_use(watch: Watch, sibling: Region, region: Region) -> None:
    """Also where it was used between two looks."""
    watch.minutes(LOOKS)
    Region(root_of(region), "sibling").new_ring(2).file.close()
    watch.minutes(LOOKS)

    assert os.path.exists(sibling.path)


def test_events_that_wait(watch: Watch, sibling: Region, region: Region) -> None:
    """A region with an event that nobody delivered yet is never removed."""
    used = Region(root_of(region), "sibling")
    ring = used.new_ring(2)
    ring.push(b"event")
    ring.file.close()
    used.close()
    watch.minutes(3 * LOOKS)

    assert ring.name in sibling.names("ring.")


def test_a_ring_in_use(watch: Watch, sibling: Region, region: Region, elsewhere: Callable[..., int]) -> None:
    """Nor is one in which a process lives, however idle."""
    elsewhere(lambda: Region(root_of(region), "sibling").new_ring(2))
    watch.minutes(3 * LOOKS)

    assert os.path.exists(sibling.path)
    assert RETIRED != sibling.control.publication


def test_a_leader(watch: Watch, sibling: Region, region: Region, elsewhere: Callable[..., int]) -> None:
    """Nor one that somebody leads."""
    elsewhere(lambda: Election(Region(root_of(region), "sibling"), 10.0, lambda: 0.0).poll())
    watch.minutes(3 * LOOKS)

    assert os.path.exists(sibling.path)


def test_a_region_of_this_process(watch: Watch, sibling: Region, region: Region) -> None:
    """Nor one that this process is a member of, whose rings keep their owner locks."""
    member = join(MemberSettings(root_of(region), "sibling", 1000, None))
    watch.minutes(3 * LOOKS)
    (ring,) = member.outbox.rings
    child = os.fork()
    if child == 0:
        from fbshared.shm import files

        os._exit(files.lock_owner(os.open(sibling.join(ring), os.O_RDWR)))

    assert (child, 0) == os.waitpid(child, 0)
    member.close(0.0)


@pytest.mark.parametrize("rings", [0, 1])
def test_another_layout(watch: Watch, sibling: Region, rings: int) -> None:
    """It cannot be read: it goes only without any ring."""
    other = Path(sibling.path).with_name("999-sibling")
    os.rename(sibling.path, other)
    if not rings:
        for ring in other.glob("ring.*"):
            ring.unlink()
    watch.minutes(LOOKS + 1)

    assert bool(rings) == other.exists()


def test_what_is_no_region(watch: Watch, region: Region) -> None:
    """Other things beside the region are left alone."""
    other = Path(region.path).with_name("something else")
    other.mkdir()
    file = Path(region.path).with_name("1-file")
    file.touch()
    watch.minutes(LOOKS + 2)

    assert other.exists()
    assert file.exists()


def test_a_directory_without_a_page(watch: Watch, region: Region) -> None:
    """What a killed remover left goes too, and what holds a directory stays without harm."""
    left, odd = Path(region.path).with_name("1-left"), Path(region.path).with_name("1-odd")
    left.mkdir()
    (odd / "nested").mkdir(parents=True)
    watch.minutes(LOOKS + 2)

    assert not left.exists()
    assert odd.exists()


def test_opened_at_that_very_moment(
    watch: Watch, sibling: Region, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opens it between the decision and the removal ends up in the region that the path leads to, and so does
    who opens it afterwards."""
    settings = MemberSettings(root_of(region), "sibling", 1000, None)
    opened: list[Region] = []
    watch.minutes(LOOKS)
    real = siblings_module._retire

    def open_then_retire(path: str) -> None:
        opened.append(Region(settings.root, settings.digest))
        real(path)

    with monkeypatch.context() as patched:
        patched.setattr(siblings_module, "_retire", open_then_retire)
        watch.minutes(1)
    (late,) = opened
    assert late.retired
    member = join(settings)

    assert member.region.intact()
    assert not member.region.retired
    assert member.region.identity != sibling.identity
    assert set(member.outbox.rings) <= set(member.region.names("ring."))
    member.close(0.0)
    late.close()


def test_removed_while_a_member_opens(
    watch: Watch, sibling: Region, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member whose region is removed before its ring is made moves before anybody can use it."""
    settings = MemberSettings(root_of(region), "sibling", 1000, None)
    watch.minutes(LOOKS)
    real = Region.new_ring
    calls: list[None] = []

    def remove_first(self: Region, *args: object, **options: object) -> object:
        if not calls:
            calls.append(None)
            with monkeypatch.context() as patched:
                patched.setattr(siblings_module, "opened_here", lambda path: False)  # as in another process
                watch.minutes(1)
        return real(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Region, "new_ring", remove_first)
    member = join(settings)

    assert member.region.intact()
    assert not member.region.retired
    assert list(member.outbox.rings) == member.region.names("ring.")
    member.close(0.0)
