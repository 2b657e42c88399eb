"""Real processes under a test's command; whatever happens, all of them are ended and reaped."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from fbshared import Config
from fbshared.shm import files
from fbshared.shm.control import LAYOUT, Control, SyncState
from fbshared.shm.region import GENERATION_BITS
from fbshared.testing import FeatBitServer, bootstrap, flag
from fbshared.wiring import member_settings

HERE = Path(__file__).parent
# Seconds that a region may be without a syncing leader on a busy machine. Less than the stale limit: a lead that is
# free is taken because it is free, and not because its leader stands still.
GATE = 8.0


def until(condition: Callable[[], Any], seconds: float, pause: float = 0.005) -> Any:
    """The condition's answer as soon as it is true, its last one if it never is."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(pause)
    return answer


def recorded(paths: Iterable[Path]) -> set[str]:
    """The users that workers wrote down after their calls had returned; a line without its end is none."""
    found: set[str] = set()
    for path in paths:
        found.update(path.read_text().rpartition("\n")[0].split("\n"))
    return found - {""}


class Process:
    """One process of the test: started by it, or forked by one that was."""

    def __init__(self, pid: int, connection: socket.socket, popen: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self.popen = popen
        self._connection = connection
        self._stream = connection.makefile("rw", encoding="utf-8")

    def ask(self, command: str, *arguments: Any, seconds: float = 30.0) -> Any:
        """The result of a command of ``worker.py``."""
        self.tell(command, *arguments)
        return self.hear(seconds)

    def tell(self, command: str, *arguments: Any) -> None:
        """Give a command without waiting for its result."""
        self._stream.write(json.dumps([command, arguments]) + "\n")
        self._stream.flush()

    def hear(self, seconds: float = 30.0) -> Any:
        """The result of a command that was told."""
        self._connection.settimeout(seconds)
        line = self._stream.readline()
        if not line:
            raise EOFError(f"process {self.pid} is gone")
        result, error = json.loads(line)
        assert error is None, error
        return result

    def arm(self, step: str) -> None:
        """Let it kill itself at its next step of this name, which it may reach before it can answer."""
        self.tell("arm", step)
        with contextlib.suppress(EOFError, ConnectionResetError):
            self.hear()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it and take note of its end."""
        self.signal(signal.SIGKILL)
        self.gone()

    def gone(self, seconds: float = 20.0) -> int | None:
        """Wait for its end: the exit code, minus the signal's number for a killed one."""
        self._connection.close()
        return None if self.popen is None else self.popen.wait(seconds)

    def hang_up(self) -> None:
        """Let it stop its client and exit, without waiting for it."""
        self._stream.close()
        self._connection.close()

    def leave(self, seconds: float = 20.0) -> int | None:
        """Let it stop its client and exit; the exit code."""
        self.hang_up()
        return self.gone(seconds)

    def end(self) -> None:
        """End it if it still lives; used when a test is over."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._stream.close()
        self.gone()


class Crew:
    """The processes of one test, and the region that they share."""

    def __init__(self, server: FeatBitServer, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.processes: list[Process] = []
        self.socket = str(directory / "test.socket")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.socket)
        self._listener.listen(64)
        self._arrived: dict[int, socket.socket] = {}
        self._starting: list[subprocess.Popen[bytes]] = []

    def config(self, **options: Any) -> Config:
        """The configuration that all processes share."""
        return Config(self.server.secret, self.server.event_url, self.server.streaming_url, **options)

    def settings(self, **options: Any) -> str:
        """What ``worker.py`` and its like are started with."""
        start_wait = options.pop("start_wait", 15.0)
        more = {key: options.pop(key) for key in ("layout", "patient", "hinder") if key in options}
        urls = {
            "event_url": options.pop("event_url", self.server.event_url),
            "streaming_url": self.server.streaming_url,
        }
        more |= {"socket": self.socket, "options": options, "start_wait": start_wait}
        return json.dumps({"secret": self.server.secret, **urls, **more})

    def start(
        self, count: int = 1, script: str = "worker.py", stderr: BinaryIO | None = None, **options: Any
    ) -> list[Process]:
        """Start processes that have a client with these options."""
        command = [sys.executable, str(HERE / script), self.settings(**options)]
        popens = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr) for _ in range(count)]
        self._starting += popens
        made = [self.arrival(popen.pid, popen) for popen in popens]
        self._starting.clear()
        return made

    def one(self, **options: Any) -> Process:
        """Start one process."""
        return self.start(1, **options)[0]

    def arrival(self, pid: int, popen: subprocess.Popen[bytes] | None = None, seconds: float = 30.0) -> Process:
        """The process of this number, as soon as it has said hello."""
        deadline = time.monotonic() + seconds
        while pid not in self._arrived:
            self._listener.settimeout(max(deadline - time.monotonic(), 0.01))
            connection = self._listener.accept()[0]
            connection.settimeout(seconds)
            hello = b""
            while not hello.endswith(b"\n"):
                byte = connection.recv(1)
                assert byte, "a process ended before it had said hello"
                hello += byte
            self._arrived[int(hello)] = connection
        process = Process(pid, self._arrived.pop(pid), popen)
        self.processes.append(process)
        return process

    def dismiss(self, process: Process) -> None:
        """Kill one for good."""
        process.kill()
        self.processes.remove(process)

    def troubles(self) -> str:
        """Exceptions that nobody caught in threads, finalizers and hooks of the processes."""
        path = Path(self.socket + ".troubles")
        return path.read_text() if path.exists() else ""

    def leave(self, process: Process) -> None:
        """Let one leave in peace."""
        process.leave()
        self.processes.remove(process)

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.end()
        for popen in self._starting:
            popen.kill()
            popen.wait()
        for connection in self._arrived.values():
            connection.close()
        self._listener.close()

    # What they share

    @property
    def path(self) -> Path:
        """Where the region is."""
        settings = member_settings(self.config())
        return Path(settings.root) / f"fbshared-{os.geteuid()}" / f"{LAYOUT}-{settings.digest}"

    def control(self) -> Control:
        """The control page as it is now, without being a member."""
        return Control.over(memoryview(files.read_only_map(str(self.path / "control"))))

    def files(self, prefix: str = "") -> list[str]:
        """The names of the region's files."""
        return sorted(path.name for path in self.path.iterdir() if path.name.startswith(prefix))

    def leader(self, seconds: float = 20.0) -> Process:
        """The process that leads and is in sync."""
        return until(self._leader, seconds) or pytest.fail("nobody leads")

    def followers(self) -> list[Process]:
        """All others."""
        leader = self.leader()
        return [process for process in self.processes if process is not leader]

    def _leader(self) -> Process | None:
        control = self.control()
        if control.sync_state != SyncState.OK or control.publication >> GENERATION_BITS != control.epoch:
            return None
        return {process.pid: process for process in self.processes}.get(control.leader_pid)

    def takeover(self, epoch: int, since: float, seconds: float = 20.0) -> float:
        """Seconds from ``since`` until somebody leads a later epoch and is in sync; infinity for never.

        In sync means that the new leader's own connection was answered and its data is published.
        """
        control = self.control()

        def done() -> bool:
            newest = control.publication >> GENERATION_BITS
            # In this order: a new leader takes the old state back before it publishes.
            return newest == control.epoch > epoch and control.sync_state == SyncState.OK

        return time.monotonic() - since if until(done, seconds, 0.002) else math.inf

    def lacking(self, keys: Iterable[str], seconds: float = 20.0) -> set[str]:
        """The users whose events have not arrived at the server in time."""
        missing, looked = set(keys), 0

        def all_there() -> bool:
            nonlocal looked
            events = self.server.events
            missing.difference_update(event.user["keyId"] for event in events[looked:])
            looked = len(events)
            return not missing

        until(all_there, seconds, 0.1)
        return missing

    def duplicates(self) -> int:
        """How many evaluation events arrived more than once."""
        counts = Counter(event.user["keyId"] for event in self.server.events if event.kind == "variation")
        return sum(count - 1 for count in counts.values())

    def overlaps(self) -> list[float]:
        """For how long two or more connections were open, for each stretch of time in which that was so."""
        changes = []
        for connection in self.server.connections:
            changes += [(connection.accepted_at, 1), (connection.closed_at or time.time(), -1)]
        stretches, open_now, since = [], 0, 0.0
        for at, change in sorted(changes):
            if open_now < 2 <= open_now + change:
                since = at
            elif open_now + change < 2 <= open_now:
                stretches.append(at - since)
            open_now += change
        return stretches

    until = staticmethod(until)
    recorded = staticmethod(recorded)


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    """A server with one flag, ``load``, that answers "one"."""
    with FeatBitServer(bootstrap([flag("load", "string", ["one", "two"], serve="one")])) as running:
        yield running


@pytest.fixture
def crew(server: FeatBitServer, shared_directory: Path) -> Iterator[Crew]:
    """Processes that share one region and this server."""
    made = Crew(server, shared_directory)
    try:
        yield made
    finally:
        made.close()
    assert not made.troubles()


@pytest.fixture
def rounds() -> int:
    """How often the tests that kill do so."""
    return int(os.environ.get("FBSHARED_TEST_ROUNDS", "6"))
