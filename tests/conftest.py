"""Every test gets a shared directory of its own and leaves nothing alive behind."""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = 3.0  # seconds for what is on its way out to be gone
STANDING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")  # live as long as the test run


_made: list[Path] = []


def pytest_sessionfinish() -> None:
    """Remove what a process on its way out made again after its test had cleaned up."""
    for directory in _made:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def shared_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private root for regions, in memory where there is some, named by FBSHARED_DIR."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="fbt-", dir=memory))
    _made.append(directory)
    monkeypatch.setenv("FBSHARED_DIR", str(directory))
    owner = os.getpid()
    threads, children = set(threading.enumerate()), _children()
    yield directory
    if os.getpid() != owner:  # a child that fell out of its test must not judge or clean
        return
    leaks = _patiently(lambda: _leaked_processes(directory, children) | _leaked_threads(threads))
    _end(leaks)
    shutil.rmtree(directory, ignore_errors=True)
    assert not leaks, f"left behind: {leaks}"


def _patiently(find: Callable[[], dict[int, str]]) -> dict[int, str]:
    deadline = time.monotonic() + PATIENCE
    while (leaks := find()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return leaks


def _leaked_processes(directory: Path, before: set[int]) -> dict[int, str]:
    """New children, zombies included, and whoever else knows the test's directory."""
    suspects = _children() - before
    if not directory.exists() or any(directory.iterdir()):
        suspects |= {pid for pid in _all_pids() if pid != os.getpid() and _uses(pid, str(directory))}
    named = {pid: _command(pid) for pid in suspects}
    return {pid: name for pid, name in named.items() if not any(word in name for word in STANDING)}


def _leaked_threads(before: set[threading.Thread]) -> dict[int, str]:
    return {-(t.native_id or 0): f"thread {t.name}" for t in threading.enumerate() if t not in before}


def _end(leaks: dict[int, str]) -> None:
    """Stop what a failed test left running, so that the next one is judged alone."""
    for pid in leaks:
        if pid > 0:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


def _children() -> set[int]:
    found: set[int] = set()
    for thread in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, thread.read_text().split()))
        except OSError:  # the thread ended meanwhile
            continue
    return found


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _uses(pid: int, directory: str) -> bool:
    for file in ("environ", "maps"):
        try:
            if directory.encode() in Path(f"/proc/{pid}/{file}").read_bytes():
                return True
        except OSError:  # gone, or not ours
            return False
    return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") or "a zombie"
    except OSError:
        return "a process that is gone"
