"""What has to wait until a fork is over, waits until then and no longer."""

import ctypes
import os
import sys
import threading
import time

import pytest

from fbshared.leader import afterwards
from fbshared.leader.afterwards import run_soon, wait_until_gone


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that counts threads after the fork's hooks."""
    monkeypatch.setattr(afterwards, "_COUNTS_AFTER_HOOKS", True)


def test_a_thread_that_is_gone() -> None:
    """After a join the kernel may still know the thread; after this it does not."""
    for _ in range(20):
        thread = threading.Thread(target=time.monotonic)
        thread.start()
        thread.join()
        wait_until_gone(thread, time.monotonic() + 10)
        assert not os.path.exists(f"/proc/self/task/{thread.native_id}")


def test_the_wait_for_a_thread_has_an_end() -> None:
    """A thread that stays is waited for until the deadline only."""
    event = threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    before = time.monotonic()
    wait_until_gone(thread, before + 0.05)
    event.set()
    thread.join()

    assert 0.05 <= time.monotonic() - before < 5


def test_at_once_where_nobody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """On most interpreters there is nothing to wait for."""
    monkeypatch.setattr(afterwards, "_COUNTS_AFTER_HOOKS", False)
    calls: list[int] = []
    run_soon(lambda: calls.append(1))

    assert [1] == calls


def test_at_once_in_another_thread(counting: None) -> None:
    """Safe moments come in the main thread; a fork from another one does not wait for them."""
    calls: list[int] = []
    thread = threading.Thread(target=lambda: run_soon(lambda: calls.append(1)))
    thread.start()
    thread.join()

    assert [1] == calls


def test_a_child_does_not_run_it(counting: None) -> None:
    """What its parent had not come to yet is the parent's."""
    calls: list[int] = []
    frame = sys._getframe()
    afterwards._waiting.append((os.getpid() + 1, frame, -1, lambda: calls.append(1)))
    afterwards._run_waiting(None)

    assert [] == calls
    assert not afterwards._waiting


def test_a_full_list(counting: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the interpreter takes no more calls, it is done at once."""

    class Full:
        @staticmethod
        def Py_AddPendingCall(*_: object) -> int:  # noqa: N802
            return -1

    monkeypatch.setattr(ctypes, "pythonapi", Full)
    calls: list[int] = []
    afterwards._waiting.append((os.getpid() + 1, sys._getframe(), -1, lambda: calls.append(2)))

    run_soon(lambda: calls.append(1))

    assert [1] == calls
