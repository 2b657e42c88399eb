"""A client works in workers of uWSGI, which runs no fork hook and may let no thread run."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fbshared
from tests.processes.conftest import GATE
from tests.processes.web import HERE, held, left_after_the_next_start, running, serve, works_in_workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.processes.conftest import Crew
    from tests.processes.web import WebServer

RUN = "import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])"
# A directory with pyuwsgi 2.0.26, the last one in which no thread runs by default; the checks provide one.
OLD = os.environ.get("FBSHARED_TEST_OLD_UWSGI", "")
old_only = pytest.mark.skipif(not OLD, reason="FBSHARED_TEST_OLD_UWSGI names no directory with pyuwsgi 2.0.26")


@contextlib.contextmanager
def uwsgi(crew: Crew, directory: Path, *arguments: str, master: bool = True, **options: Any) -> Iterator[WebServer]:
    """uWSGI with three workers."""
    pytest.importorskip("pyuwsgi", reason="pyuwsgi is not installed")
    command = [sys.executable, "-c", RUN, "--http-socket=SOCKET", f"--wsgi-file={HERE / 'wsgi.py'}", "--need-app"]
    command += ["--processes=3", "--disable-logging", "--die-on-term", *(["--master"] if master else []), *arguments]
    with running(crew, directory, command, **options) as web:
        yield web


def attached_agent(crew: Crew) -> str:
    """The option that has uWSGI start an agent."""
    config = crew.config()
    parts = [sys.executable, "-m", "fbshared", "agent", "--event-url", config.event_url]
    parts += ["--streaming-url", config.streaming_url]
    return f"--attach-daemon=env FBSHARED_ENV_SECRET={shlex.quote(config.env_secret)} {shlex.join(parts)}"


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_default_options(crew: Crew, tmp_path: Path) -> None:
    """The master leads and the workers work; when it stands still one of them takes over."""
    stale = 2.0
    with uwsgi(crew, tmp_path, leader_stale_limit=stale) as web:
        workers = works_in_workers(crew, web)
        control = crew.control()
        epoch, leader = control.epoch, control.leader_pid

        assert web.popen.pid == leader

        # Not killed: its workers would not outlive it.
        os.kill(leader, signal.SIGSTOP)
        try:
            assert crew.takeover(epoch, time.monotonic()) < stale + GATE
            assert control.leader_pid in workers

            crew.server.put_flag(serve("three"))
            web.all_say("three", "value", "load")
        finally:
            os.kill(leader, signal.SIGCONT)
        assert crew.until(lambda: crew.server.open_connections == 1, 20)
        assert set() == crew.lacking(web.ask("put", "after", 20)[1])


@pytest.mark.servers
@pytest.mark.parametrize("arguments", [["--lazy-apps"], ["--enable-threads", "--threads=2"]], ids=["lazy", "threads"])
def test_other_options(crew: Crew, tmp_path: Path, arguments: list[str]) -> None:
    """Workers that load the application themselves work, and so do workers with several threads."""
    with uwsgi(crew, tmp_path, *arguments) as web:
        works_in_workers(crew, web)


@pytest.mark.servers
@pytest.mark.parametrize("lazy", [["--lazy-apps"], []], ids=["lazy", "plain"])
def test_reload_and_stop(crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazy: list[str]) -> None:
    """After a reload others work, over one connection at a time and without a lost event; after the stop no process and
    no lock is left, and a later start finds a small region."""
    # It starts the interpreter anew by its real path, which knows nothing of a virtual environment.
    places = sysconfig.get_paths()["purelib"], str(Path(fbshared.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    with uwsgi(crew, tmp_path, *lazy) as web:
        before = works_in_workers(crew, web)
        keys = web.ask("put", "before the reload", 20)[1]
        web.popen.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 40
        after: set[int] = set()
        while not after or after & before:
            assert time.monotonic() < deadline, web.log.read_text()
            after = web.all_say("two", "value", "load")
        keys += web.ask("put", "after the reload", 20)[1]

        assert set() == crew.lacking(keys)
        assert crew.until(lambda: crew.server.open_connections == 1, 20)
        assert max(crew.overlaps(), default=0.0) < 1.0

        web.stop()

    assert [] == held(crew)
    assert [] == left_after_the_next_start(crew)


@pytest.mark.servers
@pytest.mark.parametrize("lazy", [["--lazy-apps"], []], ids=["lazy", "plain"])
def test_without_a_master(crew: Crew, tmp_path: Path, lazy: list[str]) -> None:
    """The first worker forks the others: all work, and when the leading one is killed another one takes over."""
    stale = 2.0  # the killed one is not reaped, and so seems to live
    with uwsgi(crew, tmp_path, *lazy, master=False, leader_stale_limit=stale) as web:
        workers = works_in_workers(crew, web)
        control = crew.control()
        epoch, leader = control.epoch, control.leader_pid

        assert leader in workers

        os.kill(leader, signal.SIGKILL)
        web.workers = 2

        assert crew.takeover(epoch, time.monotonic()) < stale + GATE

        crew.server.put_flag(serve("three"))

        assert workers - {leader} == web.all_say("three", "value", "load", but=leader)


@pytest.mark.servers
def test_recycled_workers(crew: Crew, tmp_path: Path) -> None:
    """Workers that are replaced after every second request, while patches arrive all the time: none hangs in its
    fork, and no event is lost."""
    recycling = ["--max-requests=2", "--min-worker-lifetime=0", "--worker-reload-mercy=2", "--processes=6"]
    with uwsgi(crew, tmp_path, *recycling) as web:
        keys: list[str] = []
        pids = set()
        deadline = time.monotonic() + 40
        number = 0
        while len(pids) < 40:
            assert time.monotonic() < deadline, (len(pids), web.log.read_text())
            number += 1
            crew.server.put_flag(serve(["one", "two"][number % 2]))
            try:
                pid, put = web.ask("put", f"recycled-{number}", 3)
            except (OSError, ValueError):  # at the end of a worker
                time.sleep(0.01)
                continue
            pids.add(pid)
            keys += put

        assert set() == crew.lacking(keys)
        assert 1 == len(crew.server.connections)


@pytest.mark.servers
def test_harakiri(crew: Crew, tmp_path: Path) -> None:
    """A worker that uWSGI kills in the middle of a request loses no event, and its successor works."""
    with uwsgi(crew, tmp_path, "--harakiri=3", "--lazy-apps") as web:
        web.all_say("one", "value", "load")
        path = tmp_path / "before harakiri"
        with pytest.raises(ConnectionResetError):
            web.ask("put_and_hang", "harakiri", 20, str(path))
        pid, keys = path.read_text().split(":")

        assert int(pid) not in web.all_say("one", "value", "load", but=int(pid))
        assert set() == crew.lacking(keys.split(","))


@pytest.mark.servers
def test_a_mule(crew: Crew, tmp_path: Path) -> None:
    """A mule evaluates and delivers over the connection of all."""
    with uwsgi(crew, tmp_path, f"--mule={HERE / 'mule.py'}") as web:
        works_in_workers(crew, web)

        assert set() == crew.lacking({"mule-1", "mule-2", "mule-30"})
        assert 1 == len(crew.server.connections)


@pytest.mark.servers
def test_an_attached_agent_leads_for_followers(crew: Crew, tmp_path: Path) -> None:
    """An application that never leads starts at once although uWSGI starts its agent later, and works with it."""
    begun = time.monotonic()
    with uwsgi(crew, tmp_path, attached_agent(crew), role="follower", start_wait=30.0) as web:
        works_in_workers(crew, web)

        assert time.monotonic() - begun < 30.0
        assert " agent " in command_of(crew.control().leader_pid)

        web.stop()


@pytest.mark.servers
@pytest.mark.parametrize("agent", [True, False], ids=["agent", "alone"])
@old_only
def test_where_no_thread_runs(crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, agent: bool) -> None:
    """Where uWSGI lets no thread run, workers evaluate and queue, one line says that an agent must lead, and with an
    agent everything arrives."""
    monkeypatch.setenv("PYTHONPATH", OLD, prepend=os.pathsep)
    arguments = [attached_agent(crew)] if agent else []
    with uwsgi(crew, tmp_path, *arguments, start_wait=30.0) as web:
        if agent:
            works_in_workers(crew, web)
            web.stop()
        else:
            web.all_say(None, "value", "load")

            assert [] == crew.server.connections

            crew.leave(crew.one())  # led for a moment
            web.all_say("one", "value", "load")
            keys = web.ask("put", "queued", 20)[1]
            crew.one()

            assert set() == crew.lacking(keys)
        log = web.log.read_text()

    assert 1 <= log.count("this process cannot lead: uWSGI runs no threads") <= 4, "once in a process"


@pytest.mark.servers
@pytest.mark.parametrize("master", [True, False], ids=["master", "alone"])
@old_only
def test_threads_in_an_old_uwsgi(crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, master: bool) -> None:
    """Where threads have to be asked for and were, the workers lead and the process that forks them does not."""
    monkeypatch.setenv("PYTHONPATH", OLD, prepend=os.pathsep)
    with uwsgi(crew, tmp_path, "--enable-threads", master=master) as web:
        works_in_workers(crew, web)

        assert master is (crew.control().leader_pid != web.popen.pid)
