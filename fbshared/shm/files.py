"""The only module that opens files: a private directory, and files that are born whole.

A file is created under a temporary name, written, or allocated in full where it is written to later, locked where it
has an owner, and only then linked or renamed into place: nobody sees half a birth. A temporary file whose creator was
killed is removed by ``sweep`` once it is old.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fbshared.errors import CorruptError, RegionError

__all__ = [
    "MappedFile",
    "allocate",
    "content_of",
    "create",
    "identity_of",
    "lock_owner",
    "locked_directory",
    "map_file",
    "private_directory",
    "read_only_map",
    "read_own",
    "remove",
    "replace",
    "sweep",
]

TEMPORARY = "tmp."
TEMPORARY_AGE = 60.0  # seconds; a birth takes milliseconds
# Before Python 3.13 each mapping keeps a copy of the descriptor, which a child cannot close alone.
_NO_COPY: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
# Opening a pipe waits for its other end, and opening a terminal for a line, where somebody put one in a file's place.
_AT_ONCE = os.O_NONBLOCK | os.O_NOCTTY
_TO_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | _AT_ONCE
_SMALL, _AT_A_TIME = 16_384, 1 << 20  # bytes that are written together with others, and together at most
_SOON_READ = 100_000  # bytes; from 128 KiB on, the C library asks the system for memory each time
_LARGEST = 1 << 30  # bytes that are read at once; nothing that is written here comes near


def private_directory(path: str, what: str = "shared directory") -> None:
    """Make ``path`` exist as a directory that belongs to this user alone.

    Raises:
        RegionError: it is a symbolic link, no directory, somebody else's, or open to others.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise RegionError(error.errno, f"cannot create the {what}: {error.strerror}", path) from error
    try:
        found = os.lstat(path)
    except OSError as error:
        raise RegionError(error.errno, f"cannot use the {what}: {error.strerror}", path) from error
    if not stat.S_ISDIR(found.st_mode):
        raise RegionError(errno.ENOTDIR, f"refusing a {what} that is a link or no directory", path)
    if found.st_uid != os.geteuid():
        raise RegionError(errno.EPERM, f"refusing a {what} that belongs to another user", path)
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise RegionError(errno.EPERM, f"refusing a {what} that other users can enter", path)


class MappedFile:
    """A file that this process has open and whose pieces it maps.

    The pieces stay mapped and the descriptor open until ``close``: closing any descriptor of a file, also the copy
    inside a ``mmap`` object, would drop this process's owner lock on it.
    """

    __slots__ = ("_pieces", "fd", "path", "size")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.size = os.fstat(fd).st_size
        self._pieces: dict[tuple[int, int], mmap.mmap] = {}

    def piece(self, offset: int, size: int) -> mmap.mmap:
        """The bytes from ``offset`` on, writable; ``CorruptError`` where the file has no such bytes."""
        piece = self._pieces.get((offset, size))
        if piece is None:
            fd = self.fd
            if fd < 0:
                # Mapping descriptor -1 would succeed, and give anonymous memory.
                raise OSError(errno.EBADF, "the file is closed", self.path)
            if offset + size > self.size:
                self.size = os.fstat(fd).st_size
            if offset + size > self.size:
                # Touching a page behind the end of a file kills the process.
                raise CorruptError(f"{os.path.basename(self.path)} is shorter than it should be")
            piece = mmap.mmap(fd, size, offset=offset, **_NO_COPY)
            if self.fd != fd:
                # Another thread closed it meanwhile: the number may have been another file's already.
                raise OSError(errno.EBADF, "the file is closed", self.path)
            self._pieces[offset, size] = piece
        return piece

    def grow(self, size: int) -> None:
        """Make the file ``size`` bytes long, all of them allocated; ``OSError`` where there is no room."""
        if size > self.size:  # else an exception struck between an earlier growth and its use
            allocate(self.fd, self.size, size - self.size)
        self.size = os.fstat(self.fd).st_size

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Drop the descriptor and, with it, any owner lock. Pieces in use elsewhere stay readable."""
        fd, self.fd = self.fd, -1
        self._pieces = {}
        if fd >= 0:
            os.close(fd)


def allocate(fd: int, offset: int, size: int) -> None:
    """Give the file real blocks for these bytes: a hole in a full tmpfs would kill whoever touches it.

    Raises:
        OSError: no room (``ENOSPC``); the file is as long as before.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, offset, size)
        return
    end = offset + size  # pragma: no cover - macOS
    while offset < end:  # pragma: no cover
        offset += os.pwrite(fd, bytes(min(end - offset, 65536)), offset)


def temporary(directory: str) -> tuple[str, int]:
    """A new empty file under a temporary name, and its descriptor."""
    path = os.path.join(directory, TEMPORARY + os.urandom(8).hex())
    return path, os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)


def write_all(fd: int, parts: Iterable[bytes | memoryview]) -> None:
    """Write all parts from the file's start on."""
    for part in _together(parts):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(fd, rest) :]


def _together(parts: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Small parts joined to larger ones: each is a system call."""
    small: list[bytes | memoryview] = []
    size = 0
    for part in parts:
        if len(part) < _SMALL:
            small.append(part)
            size += len(part)
            if size < _AT_A_TIME:
                continue
        yield b"".join(small)
        small, size = [], 0
        if len(part) >= _SMALL:
            yield part
    yield b"".join(small)


def create(directory: str, name: str, size: int, head: bytes, *, owned: bool = False) -> MappedFile | None:
    """A new mapped file of ``size`` bytes that begins with ``head``; None where the name is taken.

    With ``owned`` this process holds the file's owner lock before anybody can see the file.
    """
    path, fd = temporary(directory)
    try:
        allocate(fd, 0, size)
        write_all(fd, (head,))
        if owned and not lock_owner(fd):
            raise RegionError(errno.EDEADLK, "a new file is locked already", path)
        os.link(path, os.path.join(directory, name))
    except BaseException as error:
        os.close(fd)
        if isinstance(error, FileExistsError):
            return None
        raise
    finally:
        remove(path)
    return MappedFile(os.path.join(directory, name), fd)


def replace(directory: str, name: str, parts: Sequence[bytes | memoryview], *, durable: bool = False) -> None:
    """Write a whole new file and give it its name; a reader sees all of it or nothing.

    With ``durable`` that is so after a crash of the whole machine, too; it waits for the disk.

    Raises:
        OSError: no room, no directory; nothing is left behind.
    """
    path, fd = temporary(directory)
    try:
        try:
            write_all(fd, parts)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)  # before it has its name: some file systems tell only here that there was no room
        os.rename(path, os.path.join(directory, name))
    except BaseException:
        remove(path)
        raise
    if durable:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)  # the new name
        finally:
            os.close(fd)


def map_file(path: str) -> MappedFile:
    """Open an existing file for reading and writing; ``OSError`` where there is none."""
    return MappedFile(path, os.open(path, _FLAGS | _AT_ONCE))


def read_only_map(path: str) -> mmap.mmap:
    """A whole file, mapped for reading and kept by the mapping alone; ``CorruptError`` where it is empty or none."""
    fd = os.open(path, _TO_READ)
    try:
        return _mapped(fd, path, os.fstat(fd))
    finally:
        os.close(fd)


def content_of(path: str) -> bytes | mmap.mmap:
    """The whole content of a file that nobody changes any more: read where that is sooner done, or else as
    ``read_only_map`` gives it."""
    fd = os.open(path, _TO_READ)
    try:
        found = os.fstat(fd)
        if found.st_size < _SOON_READ and (content := os.read(fd, found.st_size + 1)):
            return content
        return _mapped(fd, path, found)
    finally:
        os.close(fd)


def _mapped(fd: int, path: str, found: os.stat_result) -> mmap.mmap:
    if found.st_size == 0 or not stat.S_ISREG(found.st_mode):
        raise CorruptError(f"{os.path.basename(path)} is empty, or no file")
    return mmap.mmap(fd, found.st_size, prot=mmap.PROT_READ, **_NO_COPY)


def read_own(directory: str, name: str, size: int = -1) -> bytes:
    """The content of a plain file of this user's, or its first ``size`` bytes.

    It is read and not mapped: whoever truncates a mapped file on a disk kills its readers.

    Raises:
        OSError: there is none, or it cannot be read.
        CorruptError: it is something else, or somebody else's, or longer than anything that is written here.
    """
    fd = os.open(os.path.join(directory, name), _TO_READ)
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise CorruptError(f"{name} is no file of this user")
        if size < 0 and found.st_size > _LARGEST:
            raise CorruptError(f"{name} is too long to be believed")
        return file.read(size)


def lock_owner(fd: int) -> bool:
    """Take the owner lock; False while another living process holds it.

    It is a record lock: a forked child does not inherit it, and the kernel frees it at death.
    """
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock_owner(fd: int) -> None:
    """Give the owner lock back."""
    fcntl.lockf(fd, fcntl.LOCK_UN)


def identity_of(path_or_fd: str | int) -> tuple[int, int] | None:
    """Device and inode, None where there is no such file."""
    try:
        found = os.stat(path_or_fd) if isinstance(path_or_fd, int) else os.lstat(path_or_fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def locked_directory(path: str) -> Iterator[int | None]:
    """A descriptor of the directory, locked; None while another process holds the lock, or it is another one now.

    Who removes a name that others may make again at any moment holds it: of two that remove the same thing, the
    slower one would remove what the others have made since.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield fd if is_lockable(fd) and identity_of(path) == identity_of(fd) else None
    finally:
        os.close(fd)


def is_lockable(fd: int) -> bool:
    """Whether nobody else has the lock of the whole file, which this descriptor has from now on."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove(path: str, directory: int | None = None) -> None:
    """Remove a name if it is still there, in an open directory where one is given."""
    try:
        os.unlink(path, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        pass


def sweep(directory: str) -> None:
    """Remove what killed creators left behind."""
    oldest = time.time() - TEMPORARY_AGE
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                if entry.name.startswith(TEMPORARY) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                    remove(entry.path)
            except FileNotFoundError:
                continue  # somebody's birth has just ended
