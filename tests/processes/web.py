"""Web servers of the tests, and what must be true of any server's workers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fbshared.shm import files
from fbshared.shm.ring import HEADER, Ring
from fbshared.testing import flag
from tests.processes.conftest import until

if TYPE_CHECKING:
    from tests.processes.conftest import Crew

HERE = Path(__file__).parent


def serve(value: str) -> dict[str, object]:
    return flag("load", "string", ["one", "two", "three"], serve=value)


def of_the_leader(crew: Crew, pid: int) -> set[str]:
    """What only a leader has open: sockets to FeatBit, the bell, and a lock that it holds through the descriptor."""
    tcp = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    remote = f":{crew.server.port:04X}"
    wanted = {f"socket:[{fields[9]}]" for fields in tcp if fields[2].endswith(remote)} | {str(crew.path / "bell")}
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            name = os.readlink(path)
            if name in wanted or "FLOCK" in Path(f"/proc/{pid}/fdinfo/{path.name}").read_text():
                found.add(name)
    return found


def inherited(crew: Crew, leader: int, children: list[int]) -> set[str]:
    """What children have from a leader that they should not have."""
    mine = of_the_leader(crew, leader)

    assert any(name.endswith(".lock") for name in mine), "the test looks for the right things"
    assert any(name.endswith("bell") for name in mine)
    assert any(name.startswith("socket") for name in mine)

    return set().union(*(of_the_leader(crew, child) for child in children))


class WebServer:
    """A web server with the application of ``wsgi.py``, in a process group of its own."""

    workers = 3

    def __init__(self, crew: Crew, directory: Path, command: list[str], **options: Any) -> None:
        self.socket = str(directory / "http.socket")
        self.log = directory / "log"
        python_path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"FBSHARED_TEST_SETTINGS": crew.settings(**options), "PYTHONPATH": python_path}
        command = [part.replace("SOCKET", self.socket) for part in command]
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=directory,
            )

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def ask(self, name: str, *arguments: Any) -> tuple[int, Any]:
        """Which process answers, and what."""
        body = json.dumps([name, arguments]).encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(self.socket)
            connection.sendall(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        if not answer:
            raise ConnectionResetError("the worker ended")
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0], answer
        pid, result = json.loads(rest)
        return pid, result

    def ask_until(self, name: str, *arguments: Any) -> Any:
        """The answer of whichever worker, asked again where one ended with the request."""
        for _ in range(20):
            with contextlib.suppress(OSError, ValueError):
                return self.ask(name, *arguments)[1]
        raise AssertionError(self.log.read_text())

    def ask_of(self, pid: int, name: str, *arguments: Any) -> Any:
        """The answer of this worker, as soon as it is the one that is asked."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            answerer, result = self.ask("if_pid", pid, name, arguments)
            if answerer == pid:
                return result
        raise AssertionError(f"worker {pid} does not answer")

    def alive(self) -> set[int]:
        """The processes of its session that still live."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.popen.pid and state != "Z":
                    found.add(int(path.parent.name))
        return found

    def settle(self) -> None:
        """Wait until all workers have answered: gunicorn loses a signal that meets one while it boots."""
        answered: set[int] = set()

        def settled() -> bool:
            with contextlib.suppress(OSError, ValueError):
                answered.add(self.ask("threads")[0])
            workers = self.alive() - {self.popen.pid}
            return len(workers) == self.workers and workers <= answered

        assert until(settled, 30), self.log.read_text()

    def stop(self, seconds: float = 30.0) -> int:
        """Ask it to end as a service manager does; its exit code. No process is left."""
        self.popen.terminate()
        code = self.popen.wait(seconds)

        assert until(lambda: not self.alive(), 20), self.alive()

        return code

    def all_say(self, expected: Any, name: str, *arguments: Any, but: int = 0) -> set[int]:
        """The workers, as soon as each of them has given this answer to its latest request."""
        answers: dict[int, Any] = {}
        deadline = time.monotonic() + 30
        while list(answers.values()) != [expected] * self.workers:
            assert time.monotonic() < deadline, (answers, self.log.read_text())
            try:
                pid, result = self.ask(name, *arguments)
            except (OSError, ValueError):  # not there yet, or killed at this moment
                time.sleep(0.05)
                continue
            if pid != but:
                answers[pid] = result
        return set(answers)


class Requests(threading.Thread):
    """Puts events over one connection after the other, and keeps the users of all requests that were answered."""

    def __init__(self, web: WebServer, prefix: str) -> None:
        super().__init__(daemon=True)
        self.keys: list[str] = []
        self.pids: set[int] = set()
        self._web = web
        self._prefix = prefix
        self._over = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                pid, keys = self._web.ask("put", f"{self._prefix}-{number}", 3)
            except (OSError, ValueError):
                continue  # a worker ended with the request
            self.keys += keys
            self.pids.add(pid)

    def finish(self) -> list[str]:
        self._over.set()
        self.join(20)
        return self.keys


def undelivered(crew: Crew) -> dict[str, int]:
    """The bytes that wait in each ring of the region."""
    pages = {name: files.read_only_map(str(crew.path / name)) for name in crew.files("ring.")}
    found = {name: Ring(page[:HEADER], lambda _: b"").backlog() for name, page in pages.items()}
    return {name: size for name, size in found.items() if size}


def held(crew: Crew) -> list[str]:
    """The leader's locks that somebody holds."""
    found = []
    for name in crew.files("leader."):
        with (crew.path / name).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(name)
    return found


def left_after_the_next_start(crew: Crew) -> list[str]:
    """The files of the region when a later start has had its time to clean up, if they are more than it needs."""
    later = crew.one()
    crew.leader()

    def small() -> bool:
        kinds = Counter(name.partition(".")[0] for name in crew.files())
        rings, locks, snapshots = kinds.pop("ring", 0), kinds.pop("leader", 0), kinds.pop("snapshot", 0)
        return rings == 1 and locks <= 2 and snapshots <= 3 and kinds == {"control": 1, "bell": 1}

    found = [] if until(small, 20) else crew.files()
    crew.leave(later)
    return found


@contextlib.contextmanager
def running(crew: Crew, directory: Path, command: list[str], **options: Any) -> Iterator[WebServer]:
    web = WebServer(crew, directory, command, **options)
    try:
        yield web
    except BaseException:
        print(web.log.read_text())
        raise
    finally:
        web.close()


def works_in_workers(crew: Crew, web: WebServer) -> set[int]:
    """The workers, after each has evaluated, seen a patch and delivered events, with one connection in all."""
    web.all_say("one", "value", "load")
    crew.server.put_flag(serve("two"))
    workers = web.all_say("two", "value", "load")
    keys: list[str] = []
    for number in range(30):
        keys += web.ask("put", f"web-{number}", 20)[1]
    leader = crew.control().leader_pid

    assert set() == crew.lacking(keys)
    assert 1 == len(crew.server.connections)
    assert set() == inherited(crew, leader, list(workers - {leader}))

    return workers
