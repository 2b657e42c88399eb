"""Files are born whole in a private directory, or not at all."""

import errno
import mmap
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fbshared.errors import CorruptError, RegionError
from fbshared.shm import files

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")


@pytest.fixture
def directory(shared_directory: Path) -> str:
    path = str(shared_directory / "private")
    files.private_directory(path)
    return path


@pytest.fixture
def full(shared_directory: Path) -> Iterator[str]:
    """A directory with room for some pages."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small tmpfs")
    path = shared_directory / "small"
    path.mkdir(mode=0o700)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", path], capture_output=True)
    if made.returncode:
        pytest.skip("this system lets nobody mount a tmpfs")
    yield str(path)
    subprocess.run(["umount", "-l", path], check=True)


# The directory


def test_a_private_directory_is_made_once(shared_directory: Path) -> None:
    """It is made for this user alone, and taken as it is the second time."""
    path = shared_directory / "private"
    files.private_directory(str(path))
    files.private_directory(str(path))

    assert 0o700 == path.stat().st_mode & 0o777


def refused(path: Path) -> OSError:
    with pytest.raises(RegionError) as caught:
        files.private_directory(str(path))
    assert str(path) in str(caught.value)
    return caught.value


def test_a_link_is_refused(shared_directory: Path) -> None:
    """A link is refused wherever it leads to."""
    (shared_directory / "real").mkdir(mode=0o700)
    (shared_directory / "link").symlink_to("real")
    (shared_directory / "dangling").symlink_to("nowhere")

    assert errno.ENOTDIR == refused(shared_directory / "link").errno
    assert errno.ENOTDIR == refused(shared_directory / "dangling").errno


def test_a_file_is_refused(shared_directory: Path) -> None:
    """A file is no directory."""
    (shared_directory / "file").touch(mode=0o700)

    assert errno.ENOTDIR == refused(shared_directory / "file").errno


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o777])
def test_an_open_directory_is_refused(shared_directory: Path, mode: int) -> None:
    """Who could enter it could read and write it."""
    path = shared_directory / "open"
    path.mkdir()
    path.chmod(mode)

    assert errno.EPERM == refused(path).errno


@root_only
def test_a_directory_of_somebody_else_is_refused(shared_directory: Path) -> None:
    """Somebody may have made it before us."""
    path = shared_directory / "foreign"
    path.mkdir(mode=0o700)
    os.chown(path, 12345, 12345)

    assert errno.EPERM == refused(path).errno


def test_a_directory_that_cannot_be_made(shared_directory: Path) -> None:
    """The error is the system's and names the path."""
    assert errno.ENOENT == refused(shared_directory / "missing" / "private").errno


def test_a_directory_that_vanishes(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be removed between two looks."""

    def gone(path: str) -> os.stat_result:
        raise FileNotFoundError(errno.ENOENT, "gone", path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "lstat", gone)
        assert errno.ENOENT == refused(Path(directory)).errno


# Births


def test_a_file_is_created_once(directory: str) -> None:
    """It begins with its head, all of it is allocated, and a taken name is told by None."""
    file = files.create(directory, "a", 8192, b"head")
    assert file is not None
    again = files.create(directory, "a", 4096, b"other")
    found = os.stat(file.path)

    assert again is None
    assert (8192, 8192) == (found.st_size, found.st_blocks * 512)
    assert b"head\0" == bytes(file.piece(0, 4096)[:5])
    assert 0o600 == found.st_mode & 0o777
    assert ["a"] == os.listdir(directory)
    file.close()


def test_a_file_is_replaced(directory: str) -> None:
    """A reader of the former file keeps its bytes; the name leads to the new ones."""
    files.replace(directory, "a", [b"for", b"mer"])
    former = files.read_only_map(os.path.join(directory, "a"))
    files.replace(directory, "a", [b"latter"])

    assert b"former" == former[:]
    assert b"latter" == files.read_only_map(os.path.join(directory, "a"))[:]
    assert ["a"] == os.listdir(directory)


def test_no_room_for_a_birth(full: str) -> None:
    """A full disk is an error that leaves nothing behind, and what was there stays."""
    files.replace(full, "a", [b"a" * 40_000])
    before = os.statvfs(full).f_bfree

    with pytest.raises(OSError, match="space") as caught:
        files.replace(full, "a", [b"b" * 40_000])
    assert errno.ENOSPC == caught.value.errno
    with pytest.raises(OSError, match="space"):
        files.create(full, "ring", 40_000, b"head")
    assert ["a"] == os.listdir(full)
    assert before == os.statvfs(full).f_bfree
    assert b"a" * 40_000 == files.read_only_map(os.path.join(full, "a"))[:]


def test_no_room_that_is_told_late(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network's file system may say only at the end that nothing was written: what was there stays."""
    files.replace(directory, "a", [b"former"])
    close = os.close

    def full(fd: int) -> None:
        close(fd)
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", full)
        with pytest.raises(OSError, match="space"):
            files.replace(directory, "a", [b"latter"])
    assert ["a"] == os.listdir(directory)
    assert b"former" == files.read_only_map(os.path.join(directory, "a"))[:]


def test_no_room_to_grow(full: str) -> None:
    """A file that cannot grow stays as it is, and grows when there is room."""
    file = files.create(full, "ring", 8192, b"head")
    assert file is not None
    files.replace(full, "filler", [b"a" * 50_000])
    with pytest.raises(OSError, match="space"):
        file.grow(16384)
    assert 8192 == file.size == os.path.getsize(file.path)

    files.remove(os.path.join(full, "filler"))
    file.grow(16384)
    assert 16384 == file.size == os.path.getsize(file.path)
    file.close()


def test_growing_twice_is_growing(directory: str) -> None:
    """A second growth to the same size, after an exception struck behind the first, is no error."""
    file = files.create(directory, "a", 4096, b"")
    assert file is not None
    file.grow(8192)
    file.grow(8192)
    file.grow(4096)

    assert 8192 == file.size
    file.close()


def test_a_birth_in_no_directory(directory: str) -> None:
    """A directory that was removed gives an error and no file."""
    shutil.rmtree(directory)
    with pytest.raises(FileNotFoundError):
        files.create(directory, "a", 4096, b"")
    with pytest.raises(FileNotFoundError):
        files.replace(directory, "a", [b"a"])


def test_an_interrupted_birth(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in the middle leaves neither a file nor a descriptor."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write_all", stop)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(KeyboardInterrupt):
        files.create(directory, "a", 4096, b"")
    with pytest.raises(KeyboardInterrupt):
        files.replace(directory, "a", [b"a"])

    assert [] == os.listdir(directory)
    assert len(before) == len(os.listdir("/proc/self/fd"))


def test_short_writes_go_on(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may write less than it was given."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:3]))
    files.replace(directory, "a", [b"a longer", b"", b" text"])

    assert b"a longer text" == files.read_only_map(os.path.join(directory, "a"))[:]


# Mappings


def test_an_existing_file(directory: str) -> None:
    """Two mappings of a file see each other's bytes."""
    made = files.create(directory, "a", 4096, b"head")
    assert made is not None
    found = files.map_file(made.path)
    found.piece(0, 4096)[0:4] = b"tail"

    assert b"tail" == made.piece(0, 4096)[:4]
    assert found.piece(0, 4096) is found.piece(0, 4096)
    files.remove(made.path)
    files.remove(made.path)
    made.close()
    made.close()
    found.close()


def test_a_piece_that_appears_later(directory: str) -> None:
    """A reader sees what the owner added since, and never touches what is not there."""
    owner = files.create(directory, "a", 4096, b"")
    assert owner is not None
    reader = files.map_file(owner.path)
    with pytest.raises(CorruptError):
        reader.piece(4096, 4096)
    owner.grow(8192)

    assert 4096 == len(reader.piece(4096, 4096))
    owner.close()
    reader.close()


def test_a_file_that_is_closed_while_it_is_mapped(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mapping is not used: its descriptor may have been another file's by then."""
    file = files.create(directory, "file", 4096, b"head")
    assert file is not None
    real = mmap.mmap

    def late(*arguments: Any, **options: Any) -> mmap.mmap:
        made = real(*arguments, **options)
        file.close()
        return made

    monkeypatch.setattr(mmap, "mmap", late)

    with pytest.raises(OSError, match="closed"):
        file.piece(0, 4096)


def test_a_closed_file_has_no_pieces(directory: str) -> None:
    """Without a descriptor, a mapping would be of nothing: zeros, and not the file's."""
    file = files.create(directory, "a", 8192, b"")
    assert file is not None
    kept = file.piece(0, 4096)
    file.close()

    with pytest.raises(OSError, match="closed"):
        file.piece(4096, 4096)
    assert 0 == kept[0]


def test_a_link_is_never_followed(directory: str) -> None:
    """A link in the place of a file is refused."""
    files.replace(directory, "a", [b"a"])
    os.symlink("a", os.path.join(directory, "link"))
    for open_it in (files.map_file, files.read_only_map):
        with pytest.raises(OSError, match="symbolic"):
            open_it(os.path.join(directory, "link"))


def test_an_empty_file_is_nothing_to_map(directory: str) -> None:
    """A file without bytes is damaged, for none is born so."""
    Path(directory, "a").touch()
    with pytest.raises(CorruptError):
        files.read_only_map(os.path.join(directory, "a"))


def test_a_file_that_cannot_be_looked_at(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its descriptor is not kept."""
    files.replace(directory, "a", [b"a"])

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", fail)
        with pytest.raises(OSError, match="broken"):
            files.map_file(os.path.join(directory, "a"))

    assert before == len(os.listdir("/proc/self/fd"))


def test_identity(directory: str) -> None:
    """A file is told from another one of the same name, and from none."""
    path = os.path.join(directory, "a")
    files.replace(directory, "a", [b"a"])
    file = files.map_file(path)

    assert files.identity_of(path) == files.identity_of(file.fd)
    files.replace(directory, "a", [b"a"])
    assert files.identity_of(path) != files.identity_of(file.fd)
    assert files.identity_of(os.path.join(directory, "b")) is None
    file.close()


# The owner lock


def test_the_owner_lock_is_free_after_death(directory: str) -> None:
    """A living process's file is locked from its birth on; a forked child neither has the lock nor takes it away."""
    read, write = os.pipe()
    owner = os.fork()
    if owner == 0:
        try:
            file = files.create(directory, "ring", 4096, b"", owned=True)
            assert file is not None
            child = os.fork()
            if child == 0:
                file.close()
                os._exit(0)
            os.waitpid(child, 0)
            os.write(write, b"!")
            time.sleep(60)
        finally:
            os._exit(1)
    assert b"!" == os.read(read, 1)
    file = files.map_file(os.path.join(directory, "ring"))
    while_alive = files.lock_owner(file.fd)
    os.kill(owner, 9)
    os.waitpid(owner, 0)
    after = files.lock_owner(file.fd)
    files.unlock_owner(file.fd)
    for fd in (read, write):
        os.close(fd)
    file.close()

    assert (False, True) == (while_alive, after)


def test_a_new_file_that_is_locked_already(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can see a file before its birth, so its lock being taken is an error and no file."""
    monkeypatch.setattr(files, "lock_owner", lambda fd: False)
    with pytest.raises(RegionError):
        files.create(directory, "ring", 4096, b"", owned=True)

    assert [] == os.listdir(directory)


# Leftovers


def test_leftovers_are_swept(directory: str) -> None:
    """What a killed creator left is removed once it is old; a birth under way and files with names stay."""
    for name, age in (("tmp.old", 120), ("tmp.new", 0), ("control", 120)):
        path = Path(directory, name)
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    files.sweep(directory)

    assert {"tmp.new", "control"} == set(os.listdir(directory))


def test_a_birth_may_end_during_a_sweep(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary name that vanishes while it is looked at is somebody's completed birth."""

    class Gone:
        name = path = "tmp.gone"

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            raise FileNotFoundError(errno.ENOENT, "gone")

    class Scan(list[Gone]):
        def __enter__(self) -> "Scan":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", lambda _: Scan([Gone()]))
        files.sweep(directory)


def test_a_durable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content reaches the disk before the name does, and then the name does."""
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(fd: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "content")
        fsync(fd)

    def renamed(old: str, new: str) -> None:
        steps.append("name")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    files.replace(str(tmp_path), "kept", [b"ab", b"c"], durable=True)
    assert ["content", "name", "directory"] == steps
    assert b"abc" == files.read_own(str(tmp_path), "kept")

    steps.clear()
    files.replace(str(tmp_path), "kept", [b"d"])
    assert ["name"] == steps


def test_a_file_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a plain file of this user is read: no link, no pipe, nobody else's."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")

    assert b"x" == files.read_own(str(tmp_path), "file")
    with pytest.raises(OSError, match="link"):
        files.read_own(str(tmp_path), "link")
    with pytest.raises(CorruptError, match="pipe"):
        files.read_own(str(tmp_path), "pipe")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(CorruptError, match="file"):
        files.read_own(str(tmp_path), "file")


def test_a_pipe_in_the_place_of_a_file(directory: str) -> None:
    """Nobody waits for its other end: it holds nothing that is to be believed, however it is opened."""
    path = os.path.join(directory, "pipe")
    os.mkfifo(path, 0o600)
    file = files.map_file(path)

    for read in (
        lambda: files.read_only_map(path),
        lambda: files.read_own(directory, "pipe"),
        lambda: file.piece(0, 4096),
    ):
        with pytest.raises(CorruptError, match="pipe"):
            read()
    file.close()


@root_only
def test_a_device_in_the_place_of_a_file(directory: str) -> None:
    """One that never ends is not read, and one that could be mapped is not mapped."""
    path = os.path.join(directory, "zero")
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        pytest.skip("this system lets nobody make or open a device here")
    file = files.map_file(path)

    for read in (
        lambda: files.read_only_map(path),
        lambda: files.read_own(directory, "zero"),
        lambda: file.piece(0, 4096),
    ):
        with pytest.raises(CorruptError, match="zero"):
            read()
    file.close()


def test_a_file_of_an_absurd_length(tmp_path: Path) -> None:
    """It is not read into memory as a whole; of its first bytes there is no harm."""
    with open(tmp_path / "long", "wb") as file:
        file.write(b"head")
        file.truncate(1 << 40)

    with pytest.raises(CorruptError, match="long"):
        files.read_own(str(tmp_path), "long")
    assert b"head" == files.read_own(str(tmp_path), "long", 4)


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_modes_under_any_mask(shared_directory: Path, mask: int) -> None:
    """The process's umask opens nothing, and closes nothing for its own user that must be open."""
    directory = str(shared_directory / "private")
    before = os.umask(mask)
    try:
        files.private_directory(directory)
        made = files.create(directory, "made", 4096, b"head")
        files.replace(directory, "replaced", [b"content"])
    finally:
        os.umask(before)
    assert made is not None
    made.close()

    assert 0o700 == stat.S_IMODE(os.stat(directory).st_mode)
    assert {0o600} == {stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(directory)}
