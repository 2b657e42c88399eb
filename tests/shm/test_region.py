"""A region: all who open it meet, whatever has become of it."""

import errno
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fbshared.core.model import EMPTY
from fbshared.errors import CorruptError, RegionError
from fbshared.shm import files, ring
from fbshared.shm import region as region_module
from fbshared.shm.control import CONTROL_SIZE, LAYOUT, birth
from fbshared.shm.journal import JOURNAL_SIZE
from fbshared.shm.publisher import Publisher
from fbshared.shm.region import (
    Region,
    booted_at_ms,
    now_ms,
    process_age,
    process_start,
    region_digest,
    ring_waits,
    snapshot_name,
)
from fbshared.shm.ring import CHUNK, HEADER, Ring


def test_two_openers_meet(shared_directory: Path, region: Region) -> None:
    """Who opens the same region maps the same page."""
    other = Region(str(shared_directory), "digest")
    other.control.beat = 17

    assert region.identity == other.identity
    assert 17 == region.control.beat
    other.close()
    assert 17 == other.control.beat


def test_all_of_many_openers_meet(shared_directory: Path) -> None:
    """However many come at the same moment, one region is born."""
    barrier, opened = threading.Barrier(8), list[Region]()

    def open_it() -> None:
        barrier.wait()
        opened.append(Region(str(shared_directory), "race"))

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 8 == len(opened)
    assert 1 == len({region.identity for region in opened})
    assert all(region.intact() for region in opened)
    assert ["control"] == os.listdir(opened[0].path)
    for region in opened:
        region.close()


def test_its_place(shared_directory: Path, region: Region) -> None:
    """The path tells user and layout, and both directories are this user's alone."""
    path = Path(region.path)

    assert shared_directory / f"fbshared-{os.geteuid()}" / f"{LAYOUT}-digest" == path
    assert [0o700, 0o700] == [place.stat().st_mode & 0o777 for place in (path, path.parent)]
    assert CONTROL_SIZE + JOURNAL_SIZE == os.path.getsize(region.join("control"))
    assert abs(now_ms() - region.control.born_at) < 60_000


def test_the_machine_s_start() -> None:
    """It was before this process started."""
    assert 0 < booted_at_ms() <= now_ms() - process_age() * 1000 + 1000


def test_digests() -> None:
    """Each part counts, where one ends too, and none can be read in the result."""
    digests = [
        region_digest(*parts)
        for parts in (("secret", "url"), ("secretu", "rl"), ("secret",), ("url", "secret"), ("\ud800",))
    ]

    assert 5 == len(set(digests))
    assert all(len(digest) == 16 and "secret" not in digest for digest in digests)
    assert digests[0] == region_digest("secret", "url")


# Removal and damage


def test_a_removal_is_noticed(shared_directory: Path, region: Region) -> None:
    """A region whose path leads elsewhere or nowhere is not intact, and the next opener makes another one."""
    assert region.intact()
    shutil.rmtree(region.path)
    assert not region.intact()
    assert [] == region.names("")

    other = Region(str(shared_directory), "digest")
    assert region.identity != other.identity
    assert (False, True) == (region.intact(), other.intact())
    other.close()


@pytest.mark.parametrize(
    "content",
    [b"", b"short", bytes(CONTROL_SIZE + JOURNAL_SIZE), b"\xff" * (CONTROL_SIZE + JOURNAL_SIZE), birth((1, 2), 3)],
)
def test_a_damaged_page_is_replaced(shared_directory: Path, region: Region, content: bytes) -> None:
    """A page that is no page of this layout, or has no journal, makes room for a new region; who mapped the old one
    keeps its bytes."""
    region.control.beat = 5
    files.replace(region.path, "control", [content]) if content else Path(region.join("control")).write_bytes(b"")
    if not content:  # truncated under us: the page must not be touched any more
        os.truncate(region.join("control"), 0)
    other = Region(str(shared_directory), "digest")

    assert region.identity != other.identity if content else other.intact()
    assert other.intact()
    other.close()


@pytest.mark.parametrize("make", [lambda path: os.mkdir(path), lambda path: os.symlink("/etc/passwd", path)])
def test_something_else_in_its_place(shared_directory: Path, make: object) -> None:
    """What is no file is refused and not removed."""
    home = shared_directory / f"fbshared-{os.geteuid()}"
    (home / f"{LAYOUT}-digest").mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    make(home / f"{LAYOUT}-digest" / "control")  # type: ignore[operator]

    with pytest.raises(RegionError):
        Region(str(shared_directory), "digest")


def test_a_pipe_for_a_control_page(shared_directory: Path, region: Region) -> None:
    """It makes room for a new region, and whoever opens it does not wait; the old members notice."""
    files.remove(region.join("control"))
    os.mkfifo(region.join("control"), 0o600)
    other = Region(str(shared_directory), "digest")

    assert region.identity != other.identity
    assert not region.intact()
    assert other.intact()
    other.close()


def test_pipes_for_snapshots_and_rings(region: Region) -> None:
    """They are damaged ones: nobody who looks at them waits."""
    os.mkfifo(region.join(snapshot_name(5)), 0o600)
    os.mkfifo(region.join("ring.pipe"), 0o600)

    with pytest.raises(CorruptError):
        region.snapshot(5)
    assert ring_waits(region.join("ring.pipe")) is None
    assert 0 == region.candidate_start("ring.pipe")


def test_a_snapshot_of_an_absurd_length(region: Region) -> None:
    """It is refused as any other that is damaged, and no memory is asked for."""
    with open(region.join(snapshot_name(5)), "wb") as file:
        file.truncate(1 << 40)

    with pytest.raises((CorruptError, OSError)):
        region.snapshot(5)


def test_a_root_that_does_not_exist(shared_directory: Path) -> None:
    """The error names the path."""
    with pytest.raises(RegionError, match="fbshared-") as caught:
        Region(str(shared_directory / "missing"), "digest")

    assert errno.ENOENT == caught.value.errno


def test_no_room_for_a_region(shared_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an error of the region, with the system's number."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patched:
        patched.setattr(files, "allocate", full)
        with pytest.raises(RegionError) as caught:
            Region(str(shared_directory), "digest")

    assert errno.ENOSPC == caught.value.errno


def test_a_directory_that_keeps_vanishing(shared_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for a region ends."""

    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone")

    with monkeypatch.context() as patched:
        patched.setattr(files, "create", gone)
        with pytest.raises(RegionError) as caught:
            Region(str(shared_directory), "digest")

    assert errno.EBUSY == caught.value.errno


def test_somebody_is_faster(shared_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose page is born second opens the first."""
    real, tries = files.map_file, []

    def late(path: str) -> files.MappedFile:
        tries.append(path)
        if len(tries) == 1:
            raise FileNotFoundError(errno.ENOENT, "not yet")
        return real(path)

    first = Region(str(shared_directory), "digest")
    with monkeypatch.context() as patched:
        patched.setattr(files, "map_file", late)
        second = Region(str(shared_directory), "digest")

    assert first.identity == second.identity
    first.close()
    second.close()


# Snapshots


def test_a_snapshot_that_is_gone(region: Region) -> None:
    """A publication without a file is told from a damaged one."""
    with pytest.raises(FileNotFoundError):
        region.snapshot(7)


def test_a_snapshot_outlives_its_name(region: Region) -> None:
    """Who has it open reads on; it holds no descriptor."""
    word = Publisher(region, 1).publish(EMPTY, synced=True)
    before = len(os.listdir("/proc/self/fd"))
    snapshot = region.snapshot(word)
    after = len(os.listdir("/proc/self/fd"))
    os.unlink(region.join(snapshot_name(word)))

    assert [] == list(snapshot.items())
    assert after - before <= 1  # the mapping's own


def test_a_snapshot_under_another_name(region: Region) -> None:
    """A renamed file is not believed."""
    word = Publisher(region, 1).publish(EMPTY, synced=True)
    os.rename(region.join(snapshot_name(word)), region.join(snapshot_name(word + 1)))

    with pytest.raises(CorruptError):
        region.snapshot(word + 1)


# Rings


def test_a_ring_in_a_file(region: Region) -> None:
    """Another process sees records as they come, through chunks that appear as they are needed."""
    ring = region.new_ring(3)
    idle = os.path.getsize(ring.file.path)
    file = files.map_file(ring.file.path)
    reader = Ring(file.piece(0, HEADER), lambda number: file.piece(HEADER + number * CHUNK, CHUNK))
    records = [bytes([number]) * 30_000 for number in range(1, 30)]
    found, position, dropped = [], 0, 0
    for record in records:
        if not ring.push(record):
            dropped += 1
            read, position, _ = reader.read(position, 100)
            found += [each for each, _ in read]
            reader.advance(1, position)
            assert ring.push(record)
    found += [each for each, _ in reader.read(position, 100)[0]]

    assert records == found
    assert (HEADER, HEADER + 3 * CHUNK) == (idle, os.path.getsize(ring.file.path))
    assert dropped == ring.dropped == reader.dropped
    assert (region.identity, (os.getpid(), process_start(os.getpid()))) == (reader.identity, reader.owner)
    ring.file.close()
    file.close()


def test_a_ring_name_is_never_taken_twice(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that exists is not used."""
    names = iter(["same", "t1", "same", "t2", "t3", "other"])
    with monkeypatch.context() as patched:
        patched.setattr("secrets.token_hex", lambda _: next(names, "rest"))
        first, second = region.new_ring(2), region.new_ring(2)

    assert first.name != second.name
    first.file.close()
    second.file.close()


def test_a_ring_of_a_chosen_name(region: Region) -> None:
    """It has this name, or is not made."""
    ring = region.new_ring(2, "ring.chosen")

    assert ["ring.chosen"] == region.names("ring.")
    with pytest.raises(FileExistsError, match=r"ring\.chosen"):
        region.new_ring(2, "ring.chosen")
    ring.file.close()


def test_no_room_for_a_chunk(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that cannot grow is full; with room again it goes on."""
    ring = region.new_ring(4)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patched:
        patched.setattr(files, "allocate", full)
        assert not ring.push(b"a")
    assert ring.push(b"b")

    assert 1 == ring.dropped
    assert [b"b"] == [record for record, _ in ring.read(0, 10)[0]]
    ring.file.close()


# Processes


def test_process_start() -> None:
    """A living process has a start time, and a number without a process has none."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

    assert process_start(os.getpid()) > 0
    assert 0 == process_start(child)
    assert 0 == process_start(0)


def test_a_process_that_has_ended_is_gone() -> None:
    """Also while its parent has not taken note of that."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    alive = process_start(child)
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    ended = process_start(child)
    os.waitpid(child, 0)

    assert alive > 0
    assert 0 == ended


def test_the_age_of_this_process() -> None:
    """It grows, and is not that of an older process."""
    before = process_age()
    with subprocess.Popen(
        [sys.executable, "-c", "from fbshared.shm.region import process_age; print(process_age())"],
        stdout=subprocess.PIPE,
        text=True,
    ) as young:
        age = float(young.communicate(timeout=150)[0])

    assert -0.1 < age < process_age()
    assert 0.0 <= before < process_age() < 1e6


def test_the_age_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel does not say when a process started, it counts as old."""
    monkeypatch.setattr(region_module, "process_start", lambda _: 0)

    assert math.inf == process_age()


def test_candidates(shared_directory: Path) -> None:
    """A living one is known by its start; a dead one, one that never leads, and what is no ring, by zero."""
    region = Region(str(shared_directory), "digest")
    mine = os.getpid(), process_start(os.getpid())
    for name, owner in (("ring.a", mine), ("ring.b", (mine[0], mine[1] + 1)), ("ring.c", (mine[0], 0))):
        files.replace(region.path, name, [ring.birth(region.identity, owner, 2)])
    files.replace(region.path, "ring.odd", [b"odd"])

    files.replace(region.path, "ring.follower", [ring.birth(region.identity, mine, 2, ring.FOLLOWER)])

    assert mine[1] == region.candidate_start("ring.a")
    assert [0] * 5 == [region.candidate_start(f"ring.{name}") for name in ("b", "c", "follower", "odd", "missing")]
    region.close()


def ring_of_the_dead(region: Region, *records: bytes) -> str:
    """A ring whose owner lock is free."""
    ring = region.new_ring(2)
    for record in records:
        ring.push(record)
    ring.file.close()
    return ring.name


def test_rings_have_an_end(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the dead left events in all rings that a region may have there is no further one; what they left empty
    makes room, and what is in use does not."""
    monkeypatch.setattr(region_module, "MOST_RINGS", 4)
    own = region.new_ring(2)
    full = {ring_of_the_dead(region, b"record") for _ in range(2)}
    empty = ring_of_the_dead(region)
    made = region.new_ring(2, own=lambda: {own.name})
    assert {own.name, made.name} | full == set(region.names("ring."))
    assert empty not in region.names("ring.")
    with pytest.raises(OSError, match="nobody leads") as caught:
        region.new_ring(2, own=lambda: {own.name, made.name})

    assert errno.EDQUOT == caught.value.errno
    assert 4 == len(region.names("ring."))
    own.file.close()
    made.file.close()


def test_what_waits_in_a_ring(region: Region) -> None:
    """It can be told for a ring of the dead; nothing waits in one that is gone, and a damaged one is none to judge."""
    with open(region.join("ring.damaged"), "wb") as file:
        file.write(b"damaged")

    assert 0 == ring_waits(region.join(ring_of_the_dead(region)))
    assert 24 == ring_waits(region.join(ring_of_the_dead(region, b"record")))
    assert 0 == ring_waits(region.join("ring.gone"))
    assert ring_waits(region.join("ring.damaged")) is None
    assert ring_waits(region.path) is None


def test_a_ring_that_is_in_use(region: Region) -> None:
    """What waits in a living process's ring is that process's."""
    ring = region.new_ring(2)
    child = os.fork()
    if child == 0:
        os._exit(0 if ring_waits(region.join(ring.name)) is None else 1)

    assert (child, 0) == os.waitpid(child, 0)
    ring.file.close()
