"""The copy that outlives a reboot: whole or not at all, this environment's alone, and not written at every patch."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fbshared.core.model import Dataset, Item
from fbshared.leader import persistence
from fbshared.leader.persistence import Persistence
from fbshared.leader.wake import Wake
from fbshared.shm import files
from fbshared.shm.control import LAYOUT

Eventually = Callable[..., bool]
DATA = Dataset.of(
    [
        Item(0, "dark-mode", 5, False, b"\x81\xa3key\xa9dark-mode"),
        Item(0, "old", 6, True, b""),
        Item(1, "staff", 7, False, b"\x80"),
    ]
)
CURRENT_AT = 1_700_000_000_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "kept"
    files.private_directory(str(path))
    return path


class Keeper:
    """A persistence and the thread that it runs in."""

    def __init__(self, directory: Path, digest: str = "d1", pause: float = 0.05) -> None:
        self.holds = True
        self.current_at = CURRENT_AT
        self.kept = Persistence(str(directory), digest, lambda: self.current_at, lambda: self.holds, pause)
        self.file = directory / f"{LAYOUT}-{digest}.data"
        self.halt = Wake()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self.halt.clear()
        self._thread = threading.Thread(target=self.kept.run, args=(self.halt,))
        self._thread.start()

    def end(self) -> None:
        self.halt.set()
        if self._thread is not None:
            self._thread.join(10)
            assert not self._thread.is_alive()
        self._thread = None


@pytest.fixture
def make(directory: Path) -> Iterator[Callable[..., Keeper]]:
    made: list[Keeper] = []

    def keeper(**options: Any) -> Keeper:
        made.append(Keeper(directory, **options))
        return made[-1]

    yield keeper
    for each in made:
        each.end()
        each.halt.close()


Make = Callable[..., Keeper]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def written(make: Make, dataset: Dataset = DATA) -> Keeper:
    keeper = make()
    keeper.kept.offer(dataset)
    keeper.start()
    keeper.end()
    return keeper


def test_it_comes_back(make: Make, directory: Path) -> None:
    """What was written is read again whole, with the time when it was current; nobody else can read it."""
    keeper = written(make)
    restored = make().kept.load()

    assert restored == (DATA, CURRENT_AT)
    assert [keeper.file.name] == os.listdir(directory)
    assert 0o600 == keeper.file.stat().st_mode & 0o777


def test_nothing_is_kept_yet(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """That is nothing to speak of."""
    assert make().kept.load() is None
    assert [] == warnings(caplog)


def test_a_clock_that_went_back(make: Make) -> None:
    """Data from the future is not younger than now."""
    keeper = make()
    keeper.current_at = int((time.time() + 3600) * 1000)
    keeper.kept.offer(DATA)
    keeper.start()
    keeper.end()
    restored = make().kept.load()

    assert restored is not None
    assert restored.current_at <= time.time() * 1000


def test_every_cut_and_every_wrong_byte(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is cut off or has a wrong byte anywhere is not used, and each time one line says so."""
    keeper = written(make)
    good = keeper.file.read_bytes()
    bad = [good[:size] for size in range(len(good))]
    bad += [good[:at] + bytes((good[at] ^ 0x10,)) + good[at + 1 :] for at in range(len(good))]
    bad.append(good + b"more")
    for content in bad:
        keeper.file.write_bytes(content)
        caplog.clear()

        assert keeper.kept.load() is None
        assert 1 == len(warnings(caplog))


def test_another_environments_file(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A file that was renamed is recognised as another environment's."""
    one, other = written(make), make(digest="d2")
    one.file.rename(other.file)

    assert other.kept.load() is None
    assert 1 == len(warnings(caplog))


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_what_is_no_file_of_ours(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """A link, a pipe, a directory: not followed, not waited for, not used, and said in one line."""
    keeper = written(make)
    content = keeper.file.read_bytes()
    keeper.file.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        keeper.file.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(keeper.file)
    else:
        keeper.file.mkdir()

    assert keeper.kept.load() is None
    assert 1 == len(warnings(caplog))


def test_many_patches_are_few_writes(make: Make, monkeypatch: pytest.MonkeyPatch, eventually: Eventually) -> None:
    """The first change is written at once, those that follow together, and the last one is there in the end."""
    writes = []
    replace = files.replace

    def counted(*args: Any, **options: Any) -> None:
        writes.append(options)
        replace(*args, **options)

    monkeypatch.setattr(files, "replace", counted)
    keeper = make(pause=0.4)
    keeper.start()
    begun = time.monotonic()
    for number in range(50):
        keeper.kept.offer(Dataset.of([Item(0, f"f{number}", number, False, b"")]))
        time.sleep(0.02)
    took = time.monotonic() - begun

    def newest() -> bool:
        restored = keeper.kept.load()
        return restored is not None and set(restored.dataset.flags) == {"f49"}

    assert eventually(newest)
    assert 2 <= len(writes) <= took / 0.4 + 2
    assert all(options == {"durable": True} for options in writes)


def test_the_end_writes_what_is_left(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change shortly before a pause or the end is not lost, unless another write has only just been."""
    monkeypatch.setattr(persistence, "_LAST", 60.0)
    keeper = make(pause=3600)
    keeper.kept.offer(Dataset.of([]))
    keeper.start()
    keeper.end()
    keeper.kept.offer(DATA)
    keeper.start()
    keeper.end()
    restored = keeper.kept.load()
    assert restored is not None
    assert {} == restored.dataset.flags

    monkeypatch.setattr(persistence, "_LAST", 0.0)
    keeper.start()
    keeper.end()
    assert (DATA, CURRENT_AT) == keeper.kept.load()


def test_who_leads_no_more_writes_no_more(make: Make, directory: Path) -> None:
    """The file is the next leader's."""
    keeper = make()
    keeper.holds = False
    keeper.kept.offer(DATA)
    keeper.start()
    keeper.end()

    assert [] == os.listdir(directory)


def test_no_room(
    make: Make, directory: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually, caplog: Any
) -> None:
    """A disk that refuses is said once and tried again; what was there stays."""
    keeper = written(make)
    full = [True]
    write_all = files.write_all

    def refuse(fd: int, parts: Sequence[bytes | memoryview]) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        write_all(fd, parts)

    monkeypatch.setattr(files, "write_all", refuse)
    keeper.kept.offer(Dataset.of([]))
    keeper.start()
    time.sleep(0.5)
    assert (DATA, CURRENT_AT) == keeper.kept.load()
    full[0] = False

    assert eventually(lambda: keeper.kept.load() == (Dataset.of([]), CURRENT_AT))
    assert ["the data cannot be persisted, trying on: No space left on device"] == warnings(caplog)
    assert [keeper.file.name] == os.listdir(directory)
