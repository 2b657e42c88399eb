"""The region: the private directory that all processes of one user, host and environment share.

``<root>/fbshared-<uid>/<layout>-<digest>/`` holds ``control`` (the control page and the journal),
``snapshot.<epoch>.<generation>``, ``ring.<id>``, ``leader.<epoch>.lock`` and ``bell``. Somebody may remove it under
running members; ``intact`` tells.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import time
from collections.abc import Callable, Container

from fbshared.core.hashes import blake2b
from fbshared.errors import CorruptError, RegionError
from fbshared.shm import control as control_page
from fbshared.shm import files, ring
from fbshared.shm.control import CONTROL_SIZE, LAYOUT, RETIRED, Control
from fbshared.shm.journal import JOURNAL_SIZE, Journal
from fbshared.shm.snapshot import Snapshot

__all__ = [
    "GENERATION_BITS",
    "MOST_RINGS",
    "OwnRing",
    "Region",
    "booted_at_ms",
    "now_ms",
    "opened_here",
    "pid_namespace",
    "process_age",
    "process_start",
    "region_digest",
    "ring_name",
    "ring_waits",
    "seconds_until",
    "snapshot_name",
]

GENERATION_BITS = 40
MOST_RINGS = 1024  # in one region, or a few more where processes are born at the same moment
_SIZE = CONTROL_SIZE + JOURNAL_SIZE  # of the control page's file
_ATTEMPTS = 20
_DISCARD_PAUSE = 0.01
_SECOND_LOOK = 0.005  # seconds; another one that leaves holds a lock only as long as it looks
_open_paths: dict[int, str] = {}


def now_ms() -> int:
    """The wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


def seconds_until(at_ms: int, longest: float) -> float:
    """Seconds until a moment of the wall clock, ``longest`` at most: what another process wrote, by a wrong clock
    perhaps, has an end."""
    return max(0.0, min((at_ms - now_ms()) / 1000, longest))


def region_digest(*parts: str) -> str:
    """Sixteen hexadecimal digits that identify secret and URLs and reveal neither."""
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=8, person=b"fbshared-region").hexdigest()


def snapshot_name(word: int) -> str:
    """The file name of a publication."""
    return f"snapshot.{word >> GENERATION_BITS}.{word & (1 << GENERATION_BITS) - 1}"


def ring_name() -> str:
    """A name that no ring has."""
    return f"ring.{os.urandom(8).hex()}"


def word_of(name: str) -> int | None:
    """The publication that a file name stands for, None where it is no snapshot's name."""
    match name.split("."):
        case ["snapshot", epoch, generation] if epoch.isdecimal() and generation.isdecimal():
            return int(epoch) << GENERATION_BITS | int(generation)
    return None


def _random_word() -> int:
    """Any number but 0."""
    return int.from_bytes(os.urandom(8), "little") >> 1 or 1


def process_start(pid: int) -> int:
    """When a process started, in the kernel's ticks; 0 where that is unknown or the process is gone; one that its
    parent has not taken note of yet is gone, too."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, *numbers = file.read().rpartition(b")")[2].split()
            return 0 if state in (b"Z", b"X") else int(numbers[18])
    except (OSError, IndexError, ValueError):
        return 0


def pid_namespace() -> int:
    """What tells the PID namespace of this process from others; 0 where that is unknown."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def process_age() -> float:
    """Seconds since this process started; infinity where that is unknown."""
    start = process_start(os.getpid())
    if start == 0:
        return math.inf
    # The kernel counts a process's start on this clock, time asleep included.
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start / os.sysconf("SC_CLK_TCK")


def booted_at_ms() -> int:
    """When this machine was started, as ``now_ms`` tells it; 0 where that is unknown."""
    if not hasattr(time, "CLOCK_BOOTTIME"):  # pragma: no cover - macOS
        return 0
    return now_ms() - int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)


class OwnRing(ring.Ring):
    """A ring that this process owns, with its file."""

    __slots__ = ("file", "name")

    def __init__(self, name: str, file: files.MappedFile) -> None:
        self.name = name
        self.file = file
        super().__init__(file.piece(0, ring.HEADER), self._chunk_of, self._grow)

    def drop(self) -> None:
        """Close the descriptor, and let the pages go as soon as nobody uses them."""
        self.file.close()
        self._chunk, self._add_chunk = _no_chunk, None

    def _chunk_of(self, number: int) -> mmap.mmap:
        return self.file.piece(ring.HEADER + number * ring.CHUNK, ring.CHUNK)

    def _grow(self, number: int) -> mmap.mmap:
        self.file.grow(ring.HEADER + (number + 1) * ring.CHUNK)
        return self._chunk_of(number)


def ring_waits(path: str, *, of_followers: bool = False) -> int | None:
    """The bytes that wait in a ring of a dead process, None where it is in use or cannot be read.

    It must be no ring of this process: closing it would drop the owner lock.

    Args:
        of_followers: a ring counts although it is in use, if its owner never leads.
    """
    try:
        file = files.map_file(path)
    except FileNotFoundError:
        return 0
    except OSError:
        return None
    try:
        found = ring.Ring(file.piece(0, ring.HEADER), _no_chunk)
        return found.backlog() if files.lock_owner(file.fd) or (of_followers and not found.may_lead) else None
    except (CorruptError, OSError):
        return None
    finally:
        file.close()


def _no_chunk(number: int) -> bytes:
    raise OSError(errno.EBADF, "only the first page is mapped")


def opened_here(path: str) -> bool:
    """Whether this process is a member of the region at this path, and must not open its rings a second time."""
    return path in list(_open_paths.values())


def _is_usable(file: files.MappedFile) -> bool:
    try:
        return Control.over(memoryview(file.piece(0, _SIZE))).publication != RETIRED
    except CorruptError:
        return False


class Region:
    """One mapped region. Opening makes it where it does not exist.

    Args:
        root: an existing directory.
        digest: see ``region_digest``.

    Raises:
        RegionError: the directory cannot be used, or there is no room.
    """

    def __init__(self, root: str, digest: str) -> None:
        home = os.path.join(root, f"fbshared-{os.geteuid()}")
        self.path = os.path.join(home, f"{LAYOUT}-{digest}")
        try:
            self._file = self._open(home)
        except RegionError:
            raise
        except OSError as error:
            raise RegionError(error.errno, f"cannot use the shared directory: {error.strerror}", self.path) from error
        page = memoryview(self._file.piece(0, _SIZE))
        self.control = Control.over(page)
        self.journal = Journal(self.control.words, page[CONTROL_SIZE:])
        self.identity = self.control.identity
        self._inode = files.identity_of(self._file.fd)
        _open_paths[id(self)] = self.path

    def _open(self, home: str) -> files.MappedFile:
        for _ in range(_ATTEMPTS):
            files.private_directory(home)
            files.private_directory(self.path)
            try:
                file = files.map_file(self.join("control"))
                if _is_usable(file):
                    return file
                # Whoever still maps the page keeps it; the next birth is a new region.
                self._discard(file)
                continue
            except FileNotFoundError:
                pass
            identity = _random_word(), _random_word()
            try:
                made = files.create(self.path, "control", _SIZE, control_page.birth(identity, now_ms()))
            except FileNotFoundError:
                continue  # somebody removes the directory right now
            if made is not None:
                return made
        raise RegionError(errno.EBUSY, "the shared directory keeps vanishing", self.path)

    def _discard(self, file: files.MappedFile) -> None:
        """Remove a control page, unless somebody is at that, or has made another one since."""
        with files.locked_directory(self.path) as directory:
            found = files.identity_of(file.fd)
            file.close()
            if directory is not None and files.identity_of(self.join("control")) == found:
                files.remove("control", directory)
                return
        time.sleep(_DISCARD_PAUSE)

    @property
    def retired(self) -> bool:
        """Whether all must meet again at the path. Who opens a region asks after it has made its first ring: it
        may just be removed."""
        return self.control.publication == RETIRED

    def join(self, name: str) -> str:
        """The path of a file of this region."""
        return os.path.join(self.path, name)

    def intact(self) -> bool:
        """Whether the path still leads to the control page that this process maps."""
        return files.identity_of(self.join("control")) == self._inode

    def snapshot(self, word: int) -> Snapshot:
        """Open one publication.

        Raises:
            FileNotFoundError: it is gone; a newer one has been published, or the region is.
            CorruptError: its bytes are not to be believed.
        """
        content = files.content_of(self.join(snapshot_name(word)))
        return Snapshot(content, word, self.identity, self.snapshot)

    def candidate_start(self, name: str) -> int:
        """When the owner of another process's ring started; 0 where it is not alive, or never leads.

        That goes by a process number, which means nothing in another PID namespace.
        """
        try:
            found = ring.Ring(files.read_own(self.path, name, ring.HEADER), _no_chunk)
        except (OSError, CorruptError):
            return 0
        pid, start = found.owner
        return start if found.may_lead and process_start(pid) == start else 0

    def is_left(self, own: Container[str]) -> bool:
        """Whether events wait and no other process lives here that would lead.

        Args:
            own: the rings of this process; opening them a second time would drop their owner locks.
        """
        waiting = False
        for name in self.names("ring."):
            backlog = None if name in own else self._backlog(name)
            if backlog is None:
                return False
            waiting = waiting or backlog > 0
        return waiting

    def _backlog(self, name: str) -> int | None:
        waits = ring_waits(self.join(name), of_followers=True)
        if waits is None:
            time.sleep(_SECOND_LOOK)
            waits = ring_waits(self.join(name), of_followers=True)
        return waits

    def new_ring(
        self, chunks: int, name: str = "", settings: int = 0, own: Callable[[], Container[str]] = tuple
    ) -> OwnRing:
        """A new ring of this process; ``OSError`` where there is no room, no directory, or a ring of this name.

        Args:
            settings: the owner's, as word 7 of the ring shows them.
            own: the rings of this process; opening them a second time would drop their owner locks.
        """
        pid = os.getpid()
        if len(self.names("ring.")) >= MOST_RINGS:
            self._remove_empty_rings(own())
        while True:
            chosen = name or ring_name()
            head = ring.birth(self.identity, (pid, process_start(pid)), chunks, settings)
            file = files.create(self.path, chosen, ring.HEADER, head, owned=True)
            if file is not None:
                return OwnRing(chosen, file)
            if name:
                raise FileExistsError(errno.EEXIST, "the name is taken", self.join(name))

    def _remove_empty_rings(self, own: Container[str]) -> None:
        """Remove what the dead left empty, which a leader does elsewhere; ``OSError`` where that makes no room."""
        for name in self.names("ring."):
            if name not in own and ring_waits(self.join(name)) == 0:
                files.remove(self.join(name))
        if len(self.names("ring.")) >= MOST_RINGS:
            raise OSError(
                errno.EDQUOT, "the dead left events in all rings, and nobody leads and delivers them", self.path
            )

    def names(self, prefix: str) -> list[str]:
        """The names of all files that begin with ``prefix``; none where the directory is gone or cannot be read."""
        try:
            with os.scandir(self.path) as entries:
                return [entry.name for entry in entries if entry.name.startswith(prefix)]
        except OSError:
            return []

    def close(self) -> None:
        """Drop the descriptor; the mapped page stays readable for whoever holds it."""
        _open_paths.pop(id(self), None)
        self._file.close()
