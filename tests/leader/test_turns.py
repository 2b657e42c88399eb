"""Forks of several threads wait for each other, and for nothing else."""

import os
import subprocess
import sys
import threading
import time

import pytest

from fbshared.leader.turns import Turns

PATIENCE = 20.0

# Two threads that fork as fast as they can; prints how many of their forks were refused.
FORKING = """
import os, threading, warnings
{imports}
warnings.simplefilter("ignore", DeprecationWarning)
refused, together = [], threading.Barrier(2)
def fork():
    together.wait()
    for _ in range(150):
        try:
            pid = os.fork()
        except RuntimeError as error:
            refused.append(str(error))
            continue
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
threads = [threading.Thread(target=fork) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(refused))
"""


def refusals(imports: str) -> int:
    command = [sys.executable, "-c", FORKING.format(imports=imports)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=150).stdout)


def test_no_fork_is_refused() -> None:
    """Two threads fork in a process that stands for the lead as they would without filelock."""
    assert 0 == refusals("import fbshared.leader.duty")


class Fork(threading.Thread):
    """A fork as its hooks see it, which lasts until it is told to end."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(daemon=True)
        self._turns = turns
        self.waits, self.begun, self.over = threading.Event(), threading.Event(), threading.Event()

    def run(self) -> None:
        self.waits.set()
        self._turns.wait()
        self._turns.begin()
        self.begun.set()
        self.over.wait(PATIENCE)
        self._turns.end()


def started(turns: Turns) -> Fork:
    made = Fork(turns)
    made.start()
    assert made.waits.wait(PATIENCE)
    return made


def test_the_second_waits_for_the_first() -> None:
    """A fork begins when that of another thread is over."""
    turns = Turns(PATIENCE)
    first = started(turns)
    assert first.begun.wait(PATIENCE)
    second = started(turns)
    waited = not second.begun.wait(0.1)
    first.over.set()
    went_on = second.begun.wait(PATIENCE)
    second.over.set()
    first.join()
    second.join()

    assert waited
    assert went_on


def test_the_wait_has_an_end() -> None:
    """Behind a fork that does not end, the next goes on in time, and so does the one after it."""
    turns = Turns(0.05)
    first = started(turns)
    assert first.begun.wait(PATIENCE)
    for _ in range(2):
        before = time.monotonic()
        turns.wait()
        assert 0.05 <= time.monotonic() - before < PATIENCE / 2
    first.over.set()
    first.join()


def test_a_fork_inside_of_a_fork() -> None:
    """A hook that forks itself does not wait for the fork that it belongs to."""
    turns = Turns(PATIENCE)
    turns.begin()
    before = time.monotonic()
    turns.wait()
    turns.begin()
    turns.end()
    turns.end()
    turns.end()
    turns.wait()

    assert time.monotonic() - before < PATIENCE / 2


def test_a_fork_that_is_refused_leaves_nothing() -> None:
    """Where the fork ends after the audit hook, nobody waits for it."""
    turns = Turns(PATIENCE)
    refused = threading.Thread(target=turns.wait)
    refused.start()
    refused.join()
    before = time.monotonic()
    turns.wait()

    assert time.monotonic() - before < PATIENCE / 2


@pytest.mark.parametrize("hook", [True, False])
def test_a_child_waits_for_nobody(hook: bool) -> None:
    """What another thread of the parent was at is over in the child, also where no hook says so."""
    turns = Turns(PATIENCE)
    other = started(turns)
    assert other.begun.wait(PATIENCE)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if hook:
                turns.clear()
            before = time.monotonic()
            turns.wait()
            code = int(time.monotonic() - before > PATIENCE / 2)
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    other.over.set()
    other.join()

    assert 0 == os.waitstatus_to_exitcode(status)
