"""Other users get at nothing; where a file is something else than it should be, nobody comes to harm."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fbshared import FBClient, RegionError
from fbshared.shm.control import LAYOUT
from fbshared.shm.region import Region
from fbshared.testing import flag

if TYPE_CHECKING:
    from tests.processes.conftest import Crew


def modes_below(root: Path) -> dict[str, tuple[int, int, int]]:
    """Kind, mode and owner of all that is there, by what it is."""
    found = {}
    for path in root.rglob("*"):
        try:
            status = path.lstat()
        except FileNotFoundError:  # an old snapshot, or what was half made
            continue
        name = path.name.partition(".")[0]
        found[name] = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid
    return found


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_modes_and_owners(crew: Crew, tmp_path: Path, mask: int) -> None:
    """All that members make is for their user alone, whatever the umask says: the region, and the persisted copy."""
    kept = tmp_path / "kept"
    before = os.umask(mask)
    try:
        crew.start(3, persistence_dir=str(kept))
        crew.leader()
        crew.processes[0].ask("put", "user", 20)
        assert crew.until(lambda: any(kept.glob("*.data")), 20)
        crew.server.put_flag(flag("load", "string", ["one", "two"], serve="two"))
        crew.processes[1].ask("wait_value", "load", "two", 20.0)
    finally:
        os.umask(before)
    home = crew.path.parent
    found = modes_below(home)
    copy = modes_below(kept)

    assert {"bell", "control", "leader", "ring", "snapshot"} < found.keys()
    assert [0o700] * 2 == [stat.S_IMODE(path.stat().st_mode) for path in (home, kept)]
    assert {0o700} == {mode for kind, mode, _ in found.values() if kind == stat.S_IFDIR}
    assert {0o600} == {mode for kind, mode, _ in (*found.values(), *copy.values()) if kind != stat.S_IFDIR}
    assert {os.geteuid()} == {owner for _, _, owner in (*found.values(), *copy.values())}


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
NOBODY = 65534


def as_nobody(action: Callable[[], object]) -> str:
    """What another user gets from this, who may not enter this user's own directories: its text, or its error's."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                text = f"got {action()}"
            except BaseException as error:  # noqa: BLE001 - the parent is told
                text = f"{type(error).__name__}: {error}"
            os.write(write, text.encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


@root_only
def test_another_user(crew: Crew) -> None:
    """Nobody else lists, reads, writes or removes anything of a region, although all may enter its root."""
    crew.directory.chmod(0o1777)
    crew.start(2)
    crew.leader()
    home, region = crew.path.parent, crew.path
    names = [region / name for name in crew.files()]
    attempts: list[Callable[[], object]] = [
        *(lambda path=path: os.listdir(path) for path in (home, region)),  # type: ignore[misc]
        *(lambda path=path: os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in names),  # type: ignore[misc]
        *(lambda path=path: os.open(path, os.O_WRONLY | os.O_NONBLOCK) for path in names),  # type: ignore[misc]
        *(lambda path=path: os.unlink(path) for path in names),  # type: ignore[misc]
        lambda: os.rename(home, crew.directory / "moved"),
        lambda: os.mkdir(region / "new"),
    ]
    answers = [as_nobody(attempt) for attempt in attempts]

    assert "got" in as_nobody(lambda: os.listdir(crew.directory))
    assert len(names) >= 5
    assert {"PermissionError"} == {answer.partition(":")[0] for answer in answers}


@root_only
def test_what_another_user_made_before(shared_directory: Path) -> None:
    """A home or a region that somebody else put there is refused, and the error names it; so for every user."""
    shared_directory.chmod(0o1777)
    home = shared_directory / f"fbshared-{NOBODY}"
    home.mkdir(mode=0o700)
    mine = shared_directory / f"fbshared-{os.geteuid()}"
    mine.mkdir(mode=0o700)
    region = mine / f"{LAYOUT}-digest"
    region.mkdir(mode=0o700)
    os.chown(region, NOBODY, NOBODY)

    theirs = as_nobody(lambda: Region(str(shared_directory), "digest"))
    assert theirs.startswith("RegionError:")
    assert str(home) in theirs
    with pytest.raises(RegionError, match=f"belongs to another user.*{region}"):
        Region(str(shared_directory), "digest")
    os.chown(mine, NOBODY, NOBODY)
    with pytest.raises(RegionError, match=f"belongs to another user.*{mine}'"):
        Region(str(shared_directory), "digest")


@pytest.mark.parametrize("place", ["home", "region"])
@pytest.mark.parametrize("what", ["link", "open"])
def test_a_trap_for_an_application(crew: Crew, what: str, place: str) -> None:
    """A client is not made where a link leads elsewhere, or where others may write; the error names the path, and
    nothing is written there."""
    path = crew.path if place == "region" else crew.path.parent
    path.parent.mkdir(mode=0o700, exist_ok=True)
    elsewhere = crew.directory / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if what == "link":
        path.symlink_to(elsewhere)
    else:
        path.mkdir()
        path.chmod(0o777)
    with pytest.raises(RegionError, match=str(path)):
        FBClient(crew.config(), start_wait=0)

    assert [] == list(elsewhere.iterdir())
    assert [] == list(path.iterdir())


def become_pipes(directory: Path, names: list[str]) -> None:
    for name in names:
        (directory / name).unlink(missing_ok=True)
        os.mkfifo(directory / name, 0o600)


def test_pipes_in_a_running_region(crew: Crew) -> None:
    """Where files turn into pipes nobody waits for their other end: processes evaluate on, all data is published
    again, all meet in a new region, new processes start, and the status is told."""
    crew.start(2)
    crew.leader()
    before = {process.ask("value", "load") for process in crew.processes}
    become_pipes(crew.path, [*crew.files("snapshot."), "ring.0123456789abcdef", "leader.999.lock"])
    during = [process.ask("all_values", seconds=20.0) for process in crew.processes]
    republished = crew.until(lambda: crew.control().publication & 0xFF > 1, 20)
    become_pipes(crew.path, ["control"])
    after = {process.ask("value", "load", seconds=20.0) for process in crew.processes}
    crew.one()
    crew.server.put_flag(flag("load", "string", ["one", "two"], serve="two"))
    later = [process.ask("wait_value", "load", "two", 20.0) for process in crew.processes]

    assert {"one"} == before == after
    assert 2 == len(during)
    assert republished
    assert ["two"] * 3 == later


def test_the_status_of_pipes(crew: Crew) -> None:
    """Where nobody lives, and so nobody opens a pipe's other end, the status is told all the same."""
    crew.dismiss(crew.one())
    for names in ([*crew.files("ring."), *crew.files("snapshot.")], ["control"]):
        become_pipes(crew.path, names)
        shown = subprocess.run([sys.executable, "-m", "fbshared", "status"], capture_output=True, timeout=20)

        assert b"" == shown.stderr
        assert shown.returncode in (1, 3)
