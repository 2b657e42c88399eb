"""A client that was made before a fork works in the child, whoever forks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fbshared.testing import flag

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

HERE = Path(__file__).parent


def _serve(value: str) -> dict[str, object]:
    return flag("load", "string", ["one", "two", "three"], serve=value)


def _of_the_leader(crew: Crew, pid: int) -> set[str]:
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


def _inherited(crew: Crew, leader: int, children: list[int]) -> set[str]:
    """What children have from a leader that they should not have."""
    mine = _of_the_leader(crew, leader)

    assert any(name.endswith(".lock") for name in mine), "the test looks for the right things"
    assert any(name.endswith("bell") for name in mine)
    assert any(name.startswith("socket") for name in mine)

    return set().union(*(_of_the_leader(crew, child) for child in children))


@pytest.mark.parametrize("how", ["fork", "multiprocess", "fork_in_c"])
def test_children_of_a_leader(crew: Crew, server: FeatBitServer, how: str) -> None:
    """Children of a leader evaluate at once, see patches, deliver events, keep nothing of it, and take over."""
    parent = crew.one()
    crew.leader()
    children = [crew.arrival(pid) for pid in parent.ask(how, 3)]
    if how != "fork_in_c":
        assert set() == _inherited(crew, parent.pid, [child.pid for child in children])

    assert ["one"] * 3 == [child.ask("value", "load") for child in children]
    assert set() == _inherited(crew, parent.pid, [child.pid for child in children])

    server.put_flag(_serve("two"))

    assert ["two"] * 4 == [process.ask("wait_value", "load", "two", 5.0) for process in [parent, *children]]

    keys = [key for number, child in enumerate(children) for key in child.ask("put", f"child-{number}", 50)]

    assert set() == crew.lacking(keys)
    assert 1 == len(server.connections)

    epoch = crew.control().epoch
    crew.dismiss(parent)

    assert crew.takeover(epoch, time.monotonic()) < 5.0
    assert crew.until(lambda: server.open_connections == 1, 2)

    server.put_flag(_serve("three"))

    assert ["three"] * 3 == [child.ask("wait_value", "load", "three", 5.0) for child in children]
    assert set() == crew.lacking([key for child in children for key in child.ask("put", f"after-{child.pid}", 50)])


@pytest.mark.parametrize("how", ["fork", "fork_in_c"])
def test_an_idle_child_sees_the_newest_at_its_first_call(crew: Crew, server: FeatBitServer, how: str) -> None:
    """A child that did nothing since it was forked answers with what was published meanwhile, and so does its own."""
    parent = crew.one()
    crew.leader()
    child = crew.arrival(parent.ask(how)[0])
    grandchild = crew.arrival(child.ask("fork")[0])
    server.put_flag(_serve("two"))

    assert "two" == parent.ask("wait_value", "load", "two", 5.0)
    assert "two" == child.ask("value", "load")
    assert "two" == grandchild.ask("value", "load")
    assert set() == crew.lacking(grandchild.ask("put", "grandchild", 10) + child.ask("put", "child", 10))
    assert 1 == len(server.connections)


def test_a_pool_delivers(crew: Crew) -> None:
    """Events that are put in the children of a multiprocessing pool arrive, though these end without a word."""
    parent = crew.one()
    crew.leader()

    assert set() == crew.lacking(parent.ask("pool", 4, "pool", 200))


def test_children_of_a_follower(crew: Crew, server: FeatBitServer) -> None:
    """Children of a process that does not lead stand for the lead themselves."""
    leader = crew.one()
    crew.leader()
    parent = crew.one()
    children = [crew.arrival(pid) for pid in parent.ask("fork", 2)]

    assert ["one"] * 2 == [child.ask("value", "load") for child in children]

    epoch = crew.control().epoch
    crew.dismiss(parent)
    crew.dismiss(leader)

    assert crew.takeover(epoch, time.monotonic()) < 5.0

    server.put_flag(_serve("two"))

    assert ["two"] * 2 == [child.ask("wait_value", "load", "two", 5.0) for child in children]


def test_a_fork_storm(crew: Crew, server: FeatBitServer) -> None:
    """300 forks in a row in the leader: each child evaluates, nobody hangs, all events arrive, the leader goes on."""
    parent = crew.one()
    crew.leader()

    assert [0] * 300 == parent.ask("fork_storm", 300, 5.0, seconds=50.0)

    server.put_flag(_serve("two"))

    assert "two" == parent.ask("wait_value", "load", "two", 5.0)
    assert set() == crew.lacking([f"storm-{number}" for number in range(300)])
    assert 1 == len(server.connections)
    assert crew.until(lambda: len(crew.files("ring.")) <= 1, 15), "the rings of the dead are removed"


def test_a_fork_gives_no_reason_to_warn(crew: Crew) -> None:
    """Python finds no threads to warn about when a leader forks 200 times, and the leader still leads."""
    command = [sys.executable, str(HERE / "forking.py"), crew.settings()]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=50)

    assert {"failed": 0, "leads": True, "warnings": []} == json.loads(done.stdout)


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
            connection.settimeout(10)
            connection.connect(self.socket)
            connection.sendall(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0], answer
        pid, result = json.loads(rest)
        return pid, result

    def all_say(self, expected: Any, name: str, *arguments: Any, but: int = 0) -> set[int]:
        """The workers, as soon as each of them has given this answer to its latest request."""
        answers: dict[int, Any] = {}
        deadline = time.monotonic() + 15
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


@contextlib.contextmanager
def _running(crew: Crew, directory: Path, command: list[str], **options: Any) -> Iterator[WebServer]:
    web = WebServer(crew, directory, command, **options)
    try:
        yield web
    except BaseException:
        print(web.log.read_text())
        raise
    finally:
        web.close()


def _works_in_workers(crew: Crew, web: WebServer) -> set[int]:
    """The workers, after each has evaluated, seen a patch and delivered events, with one connection in all."""
    web.all_say("one", "value", "load")
    crew.server.put_flag(_serve("two"))
    workers = web.all_say("two", "value", "load")
    keys: list[str] = []
    for number in range(30):
        keys += web.ask("put", f"web-{number}", 20)[1]
    leader = crew.control().leader_pid

    assert set() == crew.lacking(keys)
    assert 1 == len(crew.server.connections)
    assert set() == _inherited(crew, leader, list(workers - {leader}))

    return workers


@pytest.mark.servers
@pytest.mark.parametrize("preload", [["--preload"], []], ids=["preload", "plain"])
@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_gunicorn(crew: Crew, tmp_path: Path, kind: str, preload: list[str]) -> None:
    """Workers of gunicorn work, with --preload and without; a killed one's successor too, and its events arrive."""
    if kind == "gevent":
        pytest.importorskip("gevent", reason="gevent is not installed")
    (tmp_path / "settings.py").write_text("control_socket_disable = True\n")
    arguments = [
        *preload,
        f"--worker-class={kind}",
        "--workers=3",
        "--bind=unix:SOCKET",
        "--config=settings.py",
        "wsgi",
    ]
    with _running(crew, tmp_path, [sys.executable, "-m", "gunicorn", *arguments]) as web:
        _works_in_workers(crew, web)
        pid, keys = web.ask("put", "last words", 20)
        os.kill(pid, signal.SIGKILL)

        assert pid not in web.all_say("two", "value", "load", but=pid)
        assert set() == crew.lacking(keys)


def test_uwsgi_with_default_options(crew: Crew, tmp_path: Path) -> None:
    """Workers of uWSGI, which runs no fork hook, work; when the leading master stands still one of them takes over."""
    pytest.importorskip("pyuwsgi", reason="pyuwsgi is not installed")
    run = "import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])"
    options = ["--master", "--processes=3", "--http-socket=SOCKET", f"--wsgi-file={HERE / 'wsgi.py'}", "--need-app"]
    with _running(crew, tmp_path, [sys.executable, "-c", run, *options], leader_stale_limit=1.0) as web:
        workers = _works_in_workers(crew, web)
        control = crew.control()
        epoch, leader = control.epoch, control.leader_pid

        assert web.popen.pid == leader

        # Not killed: its workers would not outlive it.
        os.kill(leader, signal.SIGSTOP)
        try:
            assert crew.takeover(epoch, time.monotonic()) < 1.0 + 2.0
            assert control.leader_pid in workers

            crew.server.put_flag(_serve("three"))
            web.all_say("three", "value", "load")
        finally:
            os.kill(leader, signal.SIGCONT)
        assert crew.until(lambda: crew.server.open_connections == 1, 5)
        assert set() == crew.lacking(web.ask("put", "after", 20)[1])


@pytest.mark.servers
@pytest.mark.parametrize("preload", [["--preload"], []], ids=["preload", "plain"])
def test_gunicorn_with_uvicorn_workers(crew: Crew, tmp_path: Path, preload: list[str]) -> None:
    """ASGI workers of gunicorn work, with --preload and without."""
    pytest.importorskip("uvicorn_worker", reason="uvicorn-worker is not installed")
    (tmp_path / "settings.py").write_text("control_socket_disable = True\n")
    options = ["--worker-class=uvicorn_worker.UvicornWorker", "--workers=3", "--bind=unix:SOCKET", "asgi:application"]
    with _running(
        crew, tmp_path, [sys.executable, "-m", "gunicorn", *preload, "--config=settings.py", *options]
    ) as web:
        _works_in_workers(crew, web)


@pytest.mark.servers
def test_uvicorn_with_several_workers(crew: Crew, tmp_path: Path) -> None:
    """The spawned workers of uvicorn work."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    options = ["--workers=3", "--uds=SOCKET", "--lifespan=off", "asgi:application"]
    with _running(crew, tmp_path, [sys.executable, "-m", "uvicorn", *options]) as web:
        _works_in_workers(crew, web)


@pytest.mark.servers
def test_celery(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """Children of Celery's prefork pool work while they are recycled, over one connection, and lose no event."""
    celery = pytest.importorskip("celery", reason="celery is not installed")
    server.put_flag(_serve("one"))
    environment = os.environ | {"FBSHARED_TEST_SETTINGS": crew.settings(), "FBSHARED_TEST_QUEUE": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    options = ["-A", "celery_tasks", "worker", "--pool=prefork", "--concurrency=2", "--max-tasks-per-child=5"]
    folders = dict.fromkeys(("data_folder_in", "data_folder_out", "control_folder"), str(tmp_path))
    broker = celery.Celery(broker="filesystem://", backend=f"file://{tmp_path}", broker_transport_options=folders)

    def send(name: str, *arguments: Any) -> Any:
        return broker.send_task("run", (name, arguments))

    log = (tmp_path / "log").open("wb")
    pool = subprocess.Popen(
        [sys.executable, "-m", "celery", *options], env=environment, cwd=tmp_path, stdout=log, stderr=log
    )
    try:
        tasks = [send("put", f"task-{number}", 3) for number in range(20)]
        answers = [task.get(timeout=30, interval=0.05) for task in tasks]
        server.put_flag(_serve("two"))
        seen = send("wait_value", "load", "two", 10.0).get(timeout=30, interval=0.05)[1]
    finally:
        pool.terminate()
        code = pool.wait(30)
        log.close()

    assert len({pid for pid, _ in answers}) >= 4, "children were recycled"
    assert "two" == seen
    assert set() == crew.lacking([key for _, keys in answers for key in keys])
    assert 1 == len(server.connections)
    assert 0 == code
