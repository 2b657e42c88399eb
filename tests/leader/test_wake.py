"""An event that can be waited for together with sockets."""

import os
import resource
import threading
import time
from collections.abc import Iterator

import pytest

from fbshared.leader.wake import Wake, wait_for


@pytest.fixture
def crowded() -> Iterator[None]:
    """The process has more files open than select can name."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("this system lets nobody open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(1050)]
    yield
    for fd in opened:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_set_and_clear(halt: Wake) -> None:
    """All who wait return while it is set, and wait again when it is cleared; both may be said twice."""
    assert not halt.wait(0)
    halt.set()
    halt.set()
    assert halt.is_set()
    assert halt.wait(60)
    assert {halt.fileno()} == wait_for([halt.fileno()], 60)

    halt.clear()
    halt.clear()
    assert not halt.is_set()
    assert not halt.wait(-1)
    assert set() == wait_for([halt.fileno()], 0)


def test_it_wakes_a_thread(halt: Wake) -> None:
    """Who waits without an end is woken at once."""
    woken = []
    thread = threading.Thread(target=lambda: woken.append(halt.wait(60)))
    thread.start()
    halt.set()
    thread.join(10)

    assert [True] == woken


def test_waiting_ends(halt: Wake) -> None:
    """A wait lasts as long as it was asked to."""
    before = time.monotonic()
    assert not halt.wait(0.05)

    assert 0.04 < time.monotonic() - before < 5


def test_many_open_files(crowded: None) -> None:
    """A process with more than a thousand open files can wait too, which select cannot."""
    wake = Wake()
    assert wake.fileno() > 1023
    assert not wake.wait(0.01)
    wake.set()

    assert {wake.fileno()} == wait_for([wake.fileno()], 10)
    wake.close()


def test_closed_twice() -> None:
    """Closing it again, or setting it then, does nothing."""
    wake = Wake()
    wake.close()
    wake.close()
    wake.set()
    wake.clear()

    assert not wake.is_set()
