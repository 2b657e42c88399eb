"""What has to wait until a fork is over, waits until then and no longer."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from fbshared import afterwards
from fbshared.afterwards import around_forks, wait_until_gone


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


class Registered:
    """What was given to ``os.register_at_fork``, in its order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, counts: bool) -> None:
        self.hooks: list[dict[str, Callable[[], object]]] = []
        self.calls: list[str] = []
        monkeypatch.setattr(afterwards, "_COUNTS_AFTER_HOOKS", counts)
        monkeypatch.setattr(os, "register_at_fork", lambda **hooks: self.hooks.append(hooks))
        around_forks(
            lambda: self.calls.append("before"),
            lambda: self.calls.append("after"),
            lambda: self.calls.append("child"),
        )

    def run(self, name: str) -> None:
        """Run the hooks of a name as a fork does, but for the request to be called back."""
        for hooks in self.hooks:
            if name in hooks and not isinstance(hooks[name], partial):
                hooks[name]()


def test_where_nobody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """On most interpreters the hooks are what was asked for, and nothing else."""
    registered = Registered(monkeypatch, counts=False)
    for name in ("before", "after_in_parent", "after_in_child"):
        registered.run(name)

    assert 1 == len(registered.hooks)
    assert ["before", "after", "child"] == registered.calls


def test_the_main_thread_waits_for_a_safe_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hooks leave the end to the interpreter, and ask for it without any Python code."""
    registered = Registered(monkeypatch, counts=True)
    registered.run("before")
    registered.run("after_in_parent")

    assert ["before"] == registered.calls
    assert isinstance(registered.hooks[-1]["after_in_parent"], partial)


def test_another_thread_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Safe moments come in the main thread, and it may be long in coming to one."""
    registered = Registered(monkeypatch, counts=True)
    for name in ("before", "after_in_parent"):
        thread = threading.Thread(target=registered.run, args=(name,))
        thread.start()
        thread.join()

    assert ["before", "after"] == registered.calls


def test_a_safe_moment_after_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the one fork that was begun, once."""
    registered = Registered(monkeypatch, counts=True)
    registered.hooks[0]["before"]()
    forks = registered.hooks[0]["before"].__self__  # type: ignore[attr-defined]
    forks.safe_moment(None)
    forks.safe_moment(None)

    assert ["before", "after"] == registered.calls


def test_a_safe_moment_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its parent had not come to yet is the parent's."""
    registered = Registered(monkeypatch, counts=True)
    registered.hooks[0]["before"]()
    forks = registered.hooks[0]["before"].__self__  # type: ignore[attr-defined]
    monkeypatch.setattr(os, "getpid", lambda: -1)
    forks.safe_moment(None)

    assert ["before"] == registered.calls


FORKING = """
import os, sys, threading, time, warnings
from fbshared import afterwards

ended = []
def before():
    pass
def after():
    ended.append(threading.get_ident())
afterwards.around_forks(before, after, lambda: None)
def later():  # a hook of somebody else, registered later: Python code in the middle of the fork
    for _ in range(1000):
        len(str(_))
    inside.append(len(ended))
inside = []
os.register_at_fork(after_in_parent=later)
for number in range(50):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + 10
    while len(ended) <= number and time.monotonic() < deadline:
        pass
expected = range(50) if afterwards._COUNTS_AFTER_HOOKS else range(1, 51)
print(len(ended), inside == list(expected))
"""


def test_real_forks() -> None:
    """Each fork is ended once, and where threads are counted after the hooks, after those of others too."""
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=150)

    assert "50 True\n" == done.stdout, done.stderr
