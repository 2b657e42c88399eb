"""The leader's rings: found, drained in turn, adopted from the dead, and removed when they are empty."""

import errno
import os
import time
from collections.abc import Callable, Iterator

import pytest

from fbshared.errors import CorruptError
from fbshared.leader.rings import GRACE, LOOK, Rings
from fbshared.shm import files
from fbshared.shm.region import OwnRing, Region
from fbshared.shm.ring import CHUNK, HEADER, birth

Alive = Callable[[bytes], tuple[int, str]]


@pytest.fixture
def rings(region: Region) -> Iterator[Rings]:
    made = Rings(region, 3, dict)
    yield made
    made.close()


@pytest.fixture
def living(region: Region) -> Iterator[Callable[..., int]]:
    """Makes a process that has put these records into a ring of its own and lives; gives its number."""
    children: list[int] = []

    def start(*records: bytes) -> int:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                ring = region.new_ring(2)
                for record in records:
                    ring.push(record)
                os.write(write, b"!")
                time.sleep(60)
            finally:
                os._exit(0)
        children.append(child)
        os.close(write)
        assert b"!" == os.read(read, 1)
        os.close(read)
        return child

    yield start
    for child in children:
        try:
            kill(child)
        except ProcessLookupError:
            continue


def kill(pid: int) -> None:
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def dead(region: Region, *records: bytes) -> OwnRing:
    """A ring whose owner is gone; its words can still be read here."""
    ring = region.new_ring(2)
    for record in records:
        assert ring.push(record)
    files.unlock_owner(ring.file.fd)
    ring.file.close()
    return ring


def taken(rings: Rings, most: int = 100) -> list[bytes]:
    batch = rings.collect(most)
    rings.accept(batch)
    return [entry.record for entry in batch]


def test_records_are_not_shown(region: Region, rings: Rings) -> None:
    """What is collected tells of users, and its representation does not."""
    dead(region, b"canary-user")
    rings.look(0.0)
    rings.look(GRACE + LOOK)
    batch = rings.collect(10)

    assert [b"canary-user"] == [entry.record for entry in batch]
    assert "canary" not in repr(batch)


def test_a_ring_of_the_dead_is_adopted(region: Region, rings: Rings) -> None:
    """It is drained, marked, and removed when it has been empty for a while, not before."""
    ring = dead(region, b"a", b"b")
    rings.look(0.0)
    assert 1 == ring.retired
    rings.look(GRACE + LOOK)
    assert [ring.name] == region.names("ring.")

    assert [b"a", b"b"] == taken(rings)
    assert [] == taken(rings)
    assert (ring.head, 2) == (ring.tail, ring.delivered)
    rings.look(2 * GRACE + 2 * LOOK)
    assert [] == region.names("ring.")


def test_an_empty_ring_of_the_dead_waits_too(region: Region, rings: Rings) -> None:
    """A process that was taken for dead may be in the middle of a put."""
    dead(region)
    rings.look(10.0)
    rings.look(10.0 + GRACE - 0.01)
    assert 1 == len(region.names("ring."))
    rings.look(10.0 + GRACE + LOOK)

    assert [] == region.names("ring.")


def test_a_living_owner_keeps_its_ring(region: Region, rings: Rings, living: Callable[..., int]) -> None:
    """It is drained and never marked or removed, until its owner is killed."""
    pid = living(b"a")
    now = 0.0
    rings.look(now)
    assert [b"a"] == taken(rings)
    for _ in range(20):
        now += 1.0
        rings.look(now)
    assert 1 == len(region.names("ring."))

    kill(pid)
    for _ in range(4):
        now += 1.0
        rings.look(now)
    assert [] == region.names("ring.")


def test_an_adopted_ring_can_be_adopted_again(region: Region, living: Callable[..., int]) -> None:
    """The next leader finds what its predecessor did not get to."""
    ring = dead(region, b"a", b"b", b"c")
    first, second = Rings(region, 3, dict), Rings(region, 4, dict)
    first.look(0.0)
    assert [b"a"] == taken(first, 1)
    assert [b"b"] == [entry.record for entry in first.collect(1)]  # in flight when it ends
    first.close()
    second.look(0.0)

    assert [b"b", b"c"] == taken(second)
    assert ring.head == ring.tail
    second.close()


def test_the_own_ring_is_not_opened_again(region: Region, living: Callable[..., int]) -> None:
    """Opening it would drop the own lock in the end; it is drained through the memory of its owner."""
    ring = region.new_ring(2)
    own = {ring.name: ring}
    rings = Rings(region, 1, lambda: own)
    ring.push(b"a")
    rings.look(0.0)
    assert [b"a"] == taken(rings)
    rings.look(10.0)
    rings.close()
    assert 0 == ring.retired

    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # a record lock is seen by others only
        other = files.map_file(ring.file.path)
        os.write(write, b"free" if files.lock_owner(other.fd) else b"held")
        os._exit(0)
    os.waitpid(child, 0)
    assert b"held" == os.read(read, 4)
    os.close(read)
    os.close(write)
    ring.file.close()


def test_an_own_ring_that_was_given_up(region: Region) -> None:
    """It is removed once it is empty."""
    ring = region.new_ring(2)
    own = {ring.name: ring}
    rings = Rings(region, 1, lambda: own)
    ring.push(b"a")
    rings.look(0.0)
    own.clear()
    rings.look(1.0)
    assert [ring.name] == region.names("ring.")
    assert [b"a"] == taken(rings)
    rings.look(2.0)

    assert [] == region.names("ring.")
    ring.file.close()


@pytest.mark.parametrize("is_own", [True, False])
def test_a_tail_turned_back_is_repaired(region: Region, is_own: bool, living: Callable[..., int]) -> None:
    """A leader of four epochs ago writes the same word; what is delivered stays delivered."""
    ring = region.new_ring(2)
    own = {ring.name: ring} if is_own else {}
    ring.push(b"a")
    ring.push(b"b")
    rings = Rings(region, 6, lambda: own)
    rings.look(0.0)
    assert [b"a", b"b"] == taken(rings)
    ring.advance(2, 16)
    assert [] == rings.collect(10)
    rings.look(1.0)

    assert ring.head == ring.tail
    rings.close()
    ring.file.close()


def test_in_turn(region: Region, rings: Rings) -> None:
    """A ring with a long backlog does not keep the others waiting."""
    for mark in b"abc":
        dead(region, *[bytes([mark])] * 10)
    rings.look(0.0)
    first = [taken(rings, 5)[0] for _ in range(3)]

    assert {b"a", b"b", b"c"} == set(first)
    assert 15 == len(taken(rings))


def test_nothing_moves_before_it_is_accepted(region: Region, rings: Rings) -> None:
    """A batch that was not delivered is collected again, the same."""
    ring = dead(region, b"a", b"b")
    rings.look(0.0)

    assert [entry.record for entry in rings.collect(10)] == [entry.record for entry in rings.collect(10)]
    assert (0, 0) == (ring.tail, ring.delivered)
    assert [] == rings.collect(0)


# Damage


def test_a_damaged_record_is_counted_once(region: Region, rings: Rings, caplog: pytest.LogCaptureFixture) -> None:
    """However often the batch before it is sent again, it is one, and the records behind it arrive."""
    ring = region.new_ring(2)
    for record in (b"a" * 8, b"b" * 8, b"c" * 8):
        ring.push(record)
    ring.file.piece(HEADER, CHUNK)[24 + 16] ^= 1
    ring.file.close()
    rings.look(0.0)
    for _ in range(5):
        assert [b"a" * 8] == [entry.record for entry in rings.collect(10)]
    assert 0 == region.control.records_corrupt
    assert [b"a" * 8] == taken(rings)
    assert [b"c" * 8] == taken(rings)

    assert 1 == region.control.records_corrupt
    assert ring.head == ring.tail
    assert 1 == len(caplog.records)


def test_a_file_that_is_no_ring(region: Region, rings: Rings, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and said once, and left where it is."""
    files.replace(region.path, "ring.strange", [b"what is this?"])
    for now in (0.0, 1.0, 2.0):
        rings.look(now)

    assert 1 == region.control.records_corrupt
    assert 1 == len(caplog.records)
    assert ["ring.strange"] == region.names("ring.")
    assert [] == rings.collect(10)


def test_a_ring_that_vanishes(region: Region, rings: Rings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the listing and the look somebody may remove it."""
    monkeypatch.setattr(region.__class__, "names", lambda self, prefix: ["ring.gone"])
    rings.look(0.0)

    assert [] == rings.collect(10)
    assert 0 == region.control.records_corrupt


def test_no_descriptors_left(region: Region, rings: Rings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that cannot be mapped right now is not damaged: its records come later."""
    dead(region, b"a")
    rings.look(0.0)

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many files")

    with monkeypatch.context() as patched:
        patched.setattr(files.MappedFile, "piece", fail)
        assert [] == rings.collect(10)

    assert [b"a"] == taken(rings)
    assert 0 == region.control.records_corrupt


def test_a_ring_of_an_earlier_region(region: Region, rings: Rings, living: Callable[..., int]) -> None:
    """While its owner lives, it carries its records over itself; after its death they are delivered from there."""
    pid = living(b"a")
    (name,) = region.names("ring.")
    file = files.map_file(region.join(name))
    file.piece(0, HEADER)[16:24] = b"earlier!"
    rings.look(0.0)
    assert [] == rings.collect(10)

    kill(pid)
    rings.look(1.0)
    assert [b"a"] == taken(rings)
    file.close()


# Rescue


def test_rescue(region: Region, living: Callable[..., int]) -> None:
    """When the region is gone, the records of the dead are handed over, those of the living are not."""
    ring = region.new_ring(2)
    own = {ring.name: ring}
    rings = Rings(region, 1, lambda: own)
    ring.push(b"own")
    dead(region, *[bytes([1 + number % 200]) * 500 for number in range(400)])
    killed = living(b"killed")
    living(b"alive")
    rings.look(0.0)
    kill(killed)
    rescued: list[bytes] = []

    assert 401 == rings.rescue(lambda record: rescued.append(record) is None)
    assert b"killed" in rescued
    assert not {b"own", b"alive"} & set(rescued)
    assert 0 == rings.rescue(lambda record: True)
    rings.close()
    ring.file.close()


def test_rescue_passes_over_damage(region: Region, rings: Rings) -> None:
    """A damaged record costs itself and no other."""
    ring = region.new_ring(2)
    for record in (b"a" * 8, b"b" * 8, b"c" * 8):
        ring.push(record)
    ring.file.piece(HEADER, CHUNK)[8] ^= 1
    ring.file.close()
    rings.look(0.0)
    rescued: list[bytes] = []

    assert 2 == rings.rescue(lambda record: rescued.append(record) is None)
    assert [b"b" * 8, b"c" * 8] == rescued


def test_births_are_what_the_tests_believe() -> None:
    """Bytes 16 to 24 of a ring are the first half of its region's identity."""
    assert (7).to_bytes(8, "little") == birth((7, 8), (1, 2), 2)[16:24]
    with pytest.raises(CorruptError):
        raise CorruptError
