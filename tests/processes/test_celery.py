"""A client works in the children of Celery's prefork pool."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes.conftest import GATE
from tests.processes.web import HERE, held, left_after_the_next_start, serve

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew


class Celery:
    """A worker of Celery with two children, and a way to send it tasks."""

    def __init__(self, crew: Crew, directory: Path, *options: str) -> None:
        celery = pytest.importorskip("celery", reason="celery is not installed")
        environment = os.environ | {"FBSHARED_TEST_SETTINGS": crew.settings(), "FBSHARED_TEST_QUEUE": str(directory)}
        temporary = directory / "tmp"  # a killed Celery leaves a directory there
        temporary.mkdir(exist_ok=True)
        environment["TMPDIR"] = str(temporary)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        folders = dict.fromkeys(("data_folder_in", "data_folder_out", "control_folder"), str(directory))
        self._broker = celery.Celery(
            broker="filesystem://", backend=f"file://{directory}", broker_transport_options=folders
        )
        command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker"]
        with (directory / "log").open("wb") as log:
            self.popen = subprocess.Popen(
                [*command, "--pool=prefork", "--concurrency=2", *options],
                env=environment,
                cwd=directory,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Celery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in self.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.popen.kill()
        self.popen.wait()

    def children(self) -> list[int]:
        """The pool's processes."""
        path = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def send(self, name: str, *arguments: Any) -> Any:
        """A task that runs a command of ``worker.py``."""
        return self._broker.send_task("run", (name, arguments))

    def first_values(self, name: str, *arguments: Any) -> list[Any]:
        """The first answer of each child."""
        found: dict[int, Any] = {}
        deadline = time.monotonic() + 30
        while len(found) < 2 and time.monotonic() < deadline:
            tasks = [self.send(name, *arguments) for _ in range(4)]
            for task in tasks:
                pid, value = answer(task)
                found.setdefault(pid, value)
        return list(found.values())


def answer(task: Any) -> Any:
    """Which process answered, and what."""
    return task.get(timeout=30, interval=0.05)


@pytest.mark.servers
def test_celery(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """Children of Celery's prefork pool work while they are recycled, over one connection, and lose no event; a stop
    leaves nothing."""
    server.put_flag(serve("one"))
    with Celery(crew, tmp_path, "--max-tasks-per-child=5") as celery:
        answers = [answer(task) for task in [celery.send("put", f"task-{number}", 3) for number in range(20)]]
        server.put_flag(serve("two"))
        seen = answer(celery.send("wait_value", "load", "two", 20.0))[1]
        children = celery.children()
        celery.popen.terminate()
        code = celery.popen.wait(30)

    assert len({pid for pid, _ in answers}) >= 4, "children were recycled"
    assert "two" == seen
    assert set() == crew.lacking([key for _, keys in answers for key in keys])
    assert 1 == len(server.connections)
    assert 0 == code
    assert [] == [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert [] == held(crew)
    assert [] == left_after_the_next_start(crew)


@pytest.mark.servers
def test_celery_when_the_leader_is_killed(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """When another application's process that led is killed, Celery leads; when Celery's own leading process is
    killed, what its children had put is delivered by the next start."""
    leader = crew.one()
    crew.leader()
    with Celery(crew, tmp_path) as celery:
        assert "one" == answer(celery.send("value", "load"))[1]

        epoch = crew.control().epoch
        crew.dismiss(leader)

        assert crew.takeover(epoch, time.monotonic()) < GATE
        assert crew.control().leader_pid in {celery.popen.pid, *celery.children()}

        server.put_flag(serve("two"))

        assert "two" == answer(celery.send("wait_value", "load", "two", 20.0))[1]
        assert crew.until(lambda: server.open_connections == 1, 20)

        keys = [key for number in range(5) for key in answer(celery.send("put", f"late-{number}", 20))[1]]
        children = celery.children()
        celery.popen.kill()
        celery.popen.wait()

        assert crew.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 20)
    assert [] == left_after_the_next_start(crew)
    assert set() == crew.lacking(keys)
