"""A fork waits for an import of another thread, and for nobody else."""

import os
import subprocess
import sys
import threading
import time

from fbshared import gates

# Before the fix the hooks of modules that were imported meanwhile ran by half: KeyError, "cannot release".
IMPORT = """
import os, threading, time
from fbshared.gates import importing

def load():
    with importing():
        begun.set()
        import fbshared.leader.duty, fbshared.leader.delivery, fbshared.leader.connection

begun = threading.Event()
thread = threading.Thread(target=load)
os.register_at_fork(before=lambda: time.sleep(0.003))  # in which other threads run
thread.start()
begun.wait()
forks = 0
while thread.is_alive() or not forks:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    forks += 1
"""


def fork() -> float:
    """The seconds that a fork took to begin."""
    before = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return time.monotonic() - before


def test_hooks_that_are_registered_during_a_fork() -> None:
    """None of them runs by half."""
    command = [sys.executable, "-W", "ignore", "-c", IMPORT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)

    assert (0, "") == (done.returncode, done.stderr)


def test_a_fork_waits_for_an_import_of_another_thread() -> None:
    """And goes on when that is over; the importing thread itself may fork."""
    begun, go_on = threading.Event(), threading.Event()

    def load() -> None:
        with gates.importing():
            fork()
            begun.set()
            go_on.wait(20)

    thread = threading.Thread(target=load)
    thread.start()
    assert begun.wait(20)
    timer = threading.Timer(0.2, go_on.set)
    timer.start()
    fork()
    waited = go_on.is_set()
    thread.join()
    timer.join()

    assert waited
    assert [] == gates._imports


def test_an_import_that_takes_too_long() -> None:
    """A fork does not wait for ever. A child does not wait for its parent's thread, and knows that it left an import
    half done."""
    longest, gates.IMPORT_LIMIT = gates.IMPORT_LIMIT, 0.1
    over = threading.Event()

    def load() -> None:
        with gates.importing():
            over.wait(20)

    thread = threading.Thread(target=load)
    thread.start()
    while not gates._imports:
        time.sleep(0.001)
    took = fork()
    child = os.fork()
    if child == 0:
        gates.IMPORT_LIMIT = 20.0
        os._exit(0 if fork() < 10 and gates.torn() else 1)
    status = os.waitpid(child, 0)
    torn = gates.torn()
    over.set()
    thread.join()
    gates.IMPORT_LIMIT = longest

    assert took >= 0.1
    assert (child, 0) == status
    assert not torn
