"""The one thread that looks: there while it is wanted, and out of the way of forks."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from fbshared import pausing, uwsgi, watcher
from fbshared.watcher import Watcher
from tests.waiting import eventually


class Looker:
    """Counts its looks, and may do something in them."""

    patience = 0.0

    def __init__(self, does: Callable[[], object] = int) -> None:
        self.wanted = True
        self.looks = 0
        self._does = does

    def look(self, halted: Callable[[], bool]) -> None:
        self.looks += 1
        self._does()


def running() -> int:
    return sum(thread.name == "fbshared-watcher" for thread in threading.enumerate())


def test_there_is_a_thread_while_somebody_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one that is wanted starts the thread, which looks again and again; the last one ends it."""
    monkeypatch.setattr(watcher, "POLL", 0.002)
    made, one, other = Watcher(), Looker(), Looker()
    assert 0 == running()
    made.settle(one)
    made.settle(other)

    assert eventually(lambda: one.looks > 3 and other.looks > 3)
    assert 1 == running()

    one.wanted = False
    made.settle(one)
    assert eventually(lambda: other.looks > 10)
    looks = one.looks
    other.wanted = False
    made.settle(other)
    made.wait_until_idle(time.monotonic() + 10)

    assert looks == one.looks
    assert 0 == running()

    one.wanted = True
    made.settle(one)

    assert eventually(lambda: one.looks > looks)

    one.wanted = False
    made.settle(one)
    made.wait_until_idle(time.monotonic() + 10)


def test_one_that_raises(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One that raises is logged once without the error's text, and looks again, as the others do."""
    monkeypatch.setattr(watcher, "POLL", 0.002)

    def fail() -> None:
        raise LookupError("ada")

    made, bad, good = Watcher(), Looker(fail), Looker()
    made.settle(bad)
    made.settle(good)

    assert eventually(lambda: bad.looks > 3 and good.looks > 3)

    for each in (bad, good):
        each.wanted = False
        made.settle(each)
    made.wait_until_idle(time.monotonic() + 10)

    assert ["looking for changes failed, trying on: LookupError"] == caplog.messages


def test_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """During a pause there is no thread, whatever is asked for meanwhile; afterwards it goes on."""
    monkeypatch.setattr(watcher, "POLL", 0.002)
    monkeypatch.setattr(pausing, "PAUSE_LIMIT", 20.0)
    made, one, other = Watcher(), Looker(), Looker()
    made.settle(one)
    made.thread.pause()
    made.thread.pause()
    made.settle(other)
    looks = one.looks
    assert 0 == running()
    made.thread.resume()
    assert 0 == running()
    made.thread.resume()

    assert eventually(lambda: one.looks > looks and other.looks > 0)

    for each in (one, other):
        each.wanted = False
        made.settle(each)
    made.wait_until_idle(time.monotonic() + 10)


def test_a_pause_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that takes its time does not keep a fork from happening, and goes on afterwards in its thread."""
    monkeypatch.setattr(watcher, "POLL", 0.002)
    monkeypatch.setattr(pausing, "PAUSE_LIMIT", 0.02)
    go = threading.Event()
    made, one = Watcher(), Looker(lambda: go.wait(20))
    made.settle(one)
    assert eventually(lambda: one.looks == 1)
    before = time.monotonic()
    made.thread.pause()

    assert time.monotonic() - before < 5

    made.thread.resume()
    go.set()

    assert eventually(lambda: one.looks > 3)
    assert 1 == running()

    one.wanted = False
    made.settle(one)
    made.wait_until_idle(time.monotonic() + 10)


def test_a_fork() -> None:
    """Around a fork the thread pauses; the child has a watcher of its own, without one until it asks."""
    mine, one = watcher.watcher(), Looker()
    mine.settle(one)
    assert eventually(lambda: one.looks)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        kernel = len(os.listdir("/proc/self/task"))
        theirs = watcher.watcher()
        theirs.settle(one)
        looked = eventually(lambda: one.looks > looks) if (looks := one.looks) else False
        os.write(write, repr((kernel, theirs is mine, looked, mine.here)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    told = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    looks = one.looks

    assert repr((1, False, True, False)) == told
    assert eventually(lambda: one.looks > looks)

    one.wanted = False
    mine.settle(one)
    mine.wait_until_idle(time.monotonic() + 10)


def test_a_listener_that_forks() -> None:
    """The child of a look ends where the look ends, and does not look on in its parent's name."""
    read, write = os.pipe()
    pids: list[int] = []

    def fork() -> None:
        if not pids:
            pids.append(os.fork())
            if pids == [0]:
                os.write(write, b"no" if mine.halted() else b"yes")
                os._exit(0)

    mine, one = watcher.watcher(), Looker(fork)
    mine.settle(one)

    assert eventually(lambda: one.looks > 2)

    os.waitpid(pids[0], 0)
    one.wanted = False
    mine.settle(one)
    mine.wait_until_idle(time.monotonic() + 10)
    told = os.read(read, 10)
    os.close(read)
    os.close(write)

    assert b"no" == told


def test_where_no_thread_can_run(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where the server runs no threads, or the system has none left, that is logged once and nothing else happens."""
    made, one = Watcher(), Looker()
    with monkeypatch.context() as patch:
        patch.setattr(uwsgi, "why_no_threads", lambda: "no threads here")
        made.settle(one)
        made.settle(one)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _fail)
        made.settle(one)

    assert [
        "listeners are not called in this process: no threads here",
        "listeners are not called in this process: can't start new thread",
    ] == caplog.messages

    made.settle(one)

    assert eventually(lambda: one.looks)

    one.wanted = False
    made.settle(one)
    made.wait_until_idle(time.monotonic() + 10)


def _fail(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.fixture(autouse=True)
def warnings_are_seen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "fbshared")


def test_python_has_nothing_to_warn_about() -> None:
    """A process with listeners that forks and forks is never one with several threads, so Python does not warn."""
    code = """
import os, time
import fbshared.pausing
from fbshared.watcher import watcher
fbshared.pausing.PAUSE_LIMIT = 20.0  # a busy machine may keep its thread from ending for longer than a fork waits
class Looker:
    patience = 0.0
    wanted = True
    looks = 0
    def look(self, halted):
        self.looks += 1
one = Looker()
for _ in range(50):
    watcher().settle(one)
    looks = one.looks
    while one.looks == looks:
        time.sleep(0.001)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
"""
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, timeout=150)

    assert (0, "") == (done.returncode, done.stderr)
