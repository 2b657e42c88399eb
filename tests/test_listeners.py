"""Calling listeners so that none harms another one."""

import logging
import threading
import time
from collections.abc import Callable

import pytest

from fbshared import listeners
from fbshared.listeners import Listeners, Registration


@pytest.fixture(autouse=True)
def warnings_are_seen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "fbshared")


class Group(Listeners[Registration]):
    """Calls everybody with the number of the look."""

    def __init__(self) -> None:
        self.number = 0
        super().__init__(self._all)

    def _all(self, halted: Callable[[], bool]) -> None:
        self.number += 1
        for registration in self.all():
            registration.call(registration.listener, self.number)


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_listener_that_raises(caplog: pytest.LogCaptureFixture, error: type[BaseException]) -> None:
    """What a listener raises is logged once, with its place and without its text, and it is called again."""
    calls: list[int] = []

    def bad(number: int) -> None:
        calls.append(number)
        raise error("ada@example.com")

    registration = Registration(bad)
    registration.call(bad, 1)
    registration.call(bad, 2)

    assert [1, 2] == calls
    assert 1 == len(caplog.messages)
    assert f"raised {error.__name__} at {__file__}:" in caplog.messages[0]
    assert "ada" not in caplog.text


def test_a_slow_listener(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A listener that keeps others waiting is logged once, by its name."""
    monkeypatch.setattr(listeners, "SLOW", 0.001)

    def slow() -> None:
        time.sleep(0.01)

    registration = Registration(slow)
    registration.call(slow)
    registration.call(slow)

    assert 1 == len(caplog.messages)
    assert "slow" in caplog.messages[0]


def test_removing() -> None:
    """A listener that was added twice is called twice; each removal undoes the oldest one left."""
    group = Group()
    calls: list[object] = []
    group.add(Registration(calls.append))
    listener = group.all()[0].listener
    group.add(Registration(listener))
    first = group.all()[0]
    group.remove(listener)

    assert first.gone
    assert 1 == len(group.all())

    group.remove("a stranger")
    group.remove(listener)

    assert not group.wanted

    first.call(first.listener, "gone")

    assert "gone" not in calls


def test_closing_waits_for_the_one_that_is_being_called() -> None:
    """When closing has returned nobody is called any more, and who was registered is known."""
    begun, go = threading.Event(), threading.Event()
    done: list[int] = []

    def listener(number: int) -> None:
        begun.set()
        go.wait(20)
        done.append(number)

    group = Group()
    group.add(Registration(listener))
    assert begun.wait(10)
    threading.Timer(0.05, go.set).start()
    left = group.close(time.monotonic() + 10)

    assert [1] == done
    assert [listener] == [registration.listener for registration in left]
    assert [] == group.close(time.monotonic())

    group.add(Registration(listener))

    assert not group.wanted


def test_closing_has_an_end() -> None:
    """A listener that does not come back is not waited for beyond the deadline."""
    begun, go = threading.Event(), threading.Event()

    def listener(number: int) -> None:
        begun.set()
        go.wait(20)

    group = Group()
    group.add(Registration(listener))
    assert begun.wait(10)
    before = time.monotonic()
    group.close(before + 0.05)

    assert time.monotonic() - before < 5

    go.set()


def test_closing_from_within() -> None:
    """A listener that closes is called no more, and nothing waits for itself."""
    calls: list[int] = []

    def listener(number: int) -> None:
        calls.append(number)
        group.close(time.monotonic() + 10)

    group = Group()
    second: list[int] = []
    group.add(Registration(listener))
    group.add(Registration(second.append))
    deadline = time.monotonic() + 10
    while _running() and time.monotonic() < deadline:
        time.sleep(0.005)

    assert [1] == calls
    assert len(second) <= 1
    assert not _running()


def _running() -> bool:
    return any(thread.name == "fbshared-listeners" for thread in threading.enumerate())
