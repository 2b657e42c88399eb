"""A thread is there while it is wanted, away while its process forks, and never there twice."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fbshared import pausing
from fbshared.pausing import PausingThread
from tests.waiting import eventually


class Work:
    """Counts its rounds, each of which may do something."""

    def __init__(self, does: Callable[[], object] = lambda: time.sleep(0.001)) -> None:
        self.halt = threading.Event()
        self.does = does
        self.rounds = 0
        self.lasts = 0
        self.troubles: list[str] = []
        self.at_once = self.most_at_once = 0
        self.thread = PausingThread("work", self.halt, self._round, self._cannot, last=self._last)

    def _round(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.rounds += 1
        try:
            self.does()
        finally:
            self.at_once -= 1

    def _last(self) -> None:
        self.lasts += 1

    def _cannot(self, error: RuntimeError) -> None:
        self.troubles.append(str(error))

    def goes_on(self, timeout: float = 10.0) -> bool:
        rounds = self.rounds
        return eventually(lambda: self.rounds > rounds, timeout)


Make = Callable[..., Work]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Work] = []

    def work(*arguments: Any) -> Work:
        made.append(Work(*arguments))
        return made[-1]

    yield work
    for each in made:
        each.thread.end()
        assert each.thread.wait(time.monotonic() + 10)


def test_it_works_while_it_is_wanted(make: Make) -> None:
    """From the start until it may rest, and again after another start; in one thread however often it is started."""
    work = make()
    assert not work.thread.runs
    assert work.thread.start()
    assert work.thread.start()
    assert work.goes_on()
    work.thread.rest()

    assert work.thread.wait(time.monotonic() + 10)
    assert not work.thread.runs
    assert work.thread.start()
    assert work.goes_on()
    assert 1 == work.most_at_once
    assert 0 == work.lasts


def test_the_end(make: Make) -> None:
    """The last thing is done once, however often the end is asked for, and no start follows."""
    work = make()
    work.thread.start()
    assert work.goes_on()
    work.thread.end()
    work.thread.end()

    assert work.thread.wait(time.monotonic() + 10)
    assert not work.thread.start()
    assert (1, False) == (work.lasts, work.thread.runs)


@pytest.mark.parametrize("paused", [False, True])
def test_the_end_of_what_does_not_run(make: Make, paused: bool) -> None:
    """The last thing is done in the background all the same, and no work."""
    work = make()
    if paused:
        work.thread.pause()
    work.thread.end()

    assert eventually(lambda: work.lasts == 1)
    assert 0 == work.rounds


def test_pauses_are_counted(make: Make) -> None:
    """It goes on after the last of them, whoever starts it meanwhile."""
    work = make()
    work.thread.start()
    assert work.goes_on()
    work.thread.pause()
    work.thread.pause()
    work.thread.resume()
    work.thread.start()

    assert not work.goes_on(timeout=0.1)
    work.thread.resume()
    assert work.goes_on()


def test_what_rests_does_not_begin_after_a_pause(make: Make) -> None:
    """Whether it was resting before, or was told to meanwhile."""
    work = make()
    work.thread.pause()
    work.thread.resume()
    assert not work.thread.runs
    work.thread.start()
    assert work.goes_on()
    work.thread.pause()
    work.thread.rest()
    work.thread.resume()

    assert not work.thread.runs


def test_a_pause_that_was_too_short(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork does not wait for slow work; that goes on in its thread, and no second one begins beside it."""
    monkeypatch.setattr(pausing, "PAUSE_LIMIT", 0.02)
    go = threading.Event()
    work = make(lambda: go.wait(20))
    work.thread.start()
    assert eventually(lambda: work.rounds == 1)
    before = time.monotonic()
    work.thread.pause()
    assert time.monotonic() - before < 5
    work.thread.resume()
    go.set()

    assert work.goes_on()
    assert 1 == work.most_at_once


def test_pauses_that_are_all_too_short(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """However closely they follow each other, and wherever they meet the thread: one works, after the last too."""
    monkeypatch.setattr(pausing, "PAUSE_LIMIT", 0.0)
    work = make(lambda: None)
    work.thread.start()
    for _ in range(2000):
        work.thread.pause()
        work.thread.resume()

    assert work.goes_on()
    assert (1, 0) == (work.most_at_once, work.lasts)


def test_no_more_threads(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is told, and nothing is broken for a later try."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    work = make()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        work.thread.start()

    assert ["can't start new thread"] == work.troubles
    assert not work.thread.runs
    work.thread.start()
    assert work.goes_on()


def test_work_that_fails(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ends with the error, and another start is another thread."""
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: errors.append(args.exc_value))
    work = make(lambda: 1 / 0)
    work.thread.start()

    assert eventually(lambda: errors and not work.thread.runs)
    work.does = lambda: time.sleep(0.001)
    work.thread.start()
    assert work.goes_on()
    assert isinstance(errors[0], ZeroDivisionError)


def test_work_that_forks(make: Make) -> None:
    """The child of its own work ends where the work ends: the thread is not the child's."""
    read, write = os.pipe()

    def fork() -> None:
        work.does = lambda: time.sleep(0.001)
        pid = os.fork()
        if pid == 0:
            work._last = lambda: os.write(write, b"last")  # type: ignore[assignment, method-assign]
            os.write(write, b"none" if not work.thread.here and work.thread._next() is None else b"some")
            os._exit(0)
        os.waitpid(pid, 0)

    work = make(fork)
    work.thread.start()
    assert work.goes_on()
    told = os.read(read, 100)
    os.close(read)
    os.close(write)

    assert b"none" == told
