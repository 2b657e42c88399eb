"""Ways to fork that ``worker.py`` has no word for; imported before fbshared, so that its hooks run closest to a fork.

A way gets the process's client and ``become``, which makes a child a process of the test.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

Become = Callable[[], None]


def thread(client: Any, become: Become) -> list[int]:
    """Fork in a thread that is not the main one; the child, and how many threads there were."""
    found: list[int] = []

    def run() -> None:
        pid = os.fork()
        if pid == 0:
            become()
        found.extend([pid, Moment.threads])

    forker = threading.Thread(target=run)
    forker.start()
    forker.join()
    # A joined thread may still be there for the kernel, and would be counted at the next fork.
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/self/task/{forker.native_id}") and time.monotonic() < deadline:
        time.sleep(0.001)
    return found


def daemonise(client: Any, become: Become) -> list[int]:
    """Fork twice as a daemon does, the second time in a new session; the daemon begins without any descriptor."""
    read, write = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.setsid()
        daemon = os.fork()
        if daemon == 0:
            os.closerange(3, 1024)
            become()
        os.write(write, daemon.to_bytes(8, "little"))
        os._exit(0)
    os.waitpid(middle, 0)
    daemon = int.from_bytes(os.read(read, 8), "little")
    os.close(read)
    os.close(write)
    return [daemon]


def keep_descriptors(client: Any, become: Become, count: int) -> list[int]:
    """Open descriptors, evaluate for the first time; which of them lead elsewhere afterwards."""
    mine = [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]
    client.variation("load", {"key": "first", "name": "first"}, None)
    lost = []
    for fd in mine:
        try:
            if os.readlink(f"/proc/self/fd/{fd}") != os.devnull:
                lost.append(fd)
        except FileNotFoundError:
            lost.append(fd)
    return lost


def preexec(client: Any, become: Become, key: str) -> list[str]:
    """Evaluate in the child of a subprocess before its program begins; what it said, and its descriptors."""

    def evaluate() -> None:
        value = client.variation("load", {"key": key, "name": key}, None)
        os.write(1, f"{value}\n".encode())

    program = "import os; print([fd for fd in os.listdir('/proc/self/fd') if int(fd) > 2][1:])"
    done = subprocess.run(
        [sys.executable, "-c", program], preexec_fn=evaluate, close_fds=False, check=True, stdout=subprocess.PIPE
    )
    return done.stdout.decode().splitlines()


def holding(client: Any, become: Become, what: str, in_c: bool) -> list[int]:
    """Fork while another thread holds something that the library takes."""
    holder = Holder(*_held(client, what))
    if in_c:
        # Not in the middle of a switch of threads, which CPython's own lock does not always survive.
        duty = client._member._duty
        duty.thread.pause()
        holder.hold()
        pid = ctypes.PyDLL(None).fork()
    else:
        Moment.holder = holder
        pid = os.fork()
    if pid == 0:
        become()
    if in_c:
        holder.release()
        duty.thread.resume()
    return [pid]


def _held(client: Any, what: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """How to take it, and how to give back what taking it returned."""
    member = client._member
    locks = {"duty": member._duty.thread._mutex, "wake": member._duty._halt._mutex}
    if what in locks:
        return locks[what].acquire, lambda _: locks[what].release()
    if what == "outbox":
        return member.outbox._take, member.outbox._free.append
    return member._turns.pop, member._turns.append


class Holder(threading.Thread):
    """Holds something in a thread of its own."""

    def __init__(self, take: Callable[[], Any], give: Callable[[Any], Any]) -> None:
        super().__init__(daemon=True)
        self._take = take
        self._give = give
        self._taken = threading.Event()
        self._over = threading.Event()

    def run(self) -> None:
        got = self._take()
        self._taken.set()
        self._over.wait(30)
        self._give(got)

    def hold(self) -> None:
        self.start()
        assert self._taken.wait(10)

    def release(self) -> None:
        self._over.set()
        self.join(10)


class Moment:
    """What the moment before the latest fork was like."""

    threads = 0
    holder: Holder | None = None


def _before() -> None:
    Moment.threads = len(os.listdir("/proc/self/task"))
    if Moment.holder is not None:
        Moment.holder.hold()


def _after() -> None:
    holder, Moment.holder = Moment.holder, None
    if holder is not None:
        holder.release()


def _in_child() -> None:
    Moment.holder = None


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
