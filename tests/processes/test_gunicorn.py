"""A client works in gunicorn's workers, of every kind, with --preload and without."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes.conftest import GATE
from tests.processes.web import (
    Requests,
    WebServer,
    held,
    left_after_the_next_start,
    running,
    serve,
    undelivered,
    works_in_workers,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.processes.conftest import Crew

KINDS = {"sync": "sync", "gthread": "gthread", "gevent": "gevent", "uvicorn": "uvicorn_worker.UvicornWorker"}
every_kind = pytest.mark.parametrize("kind", KINDS)
preloaded_or_not = pytest.mark.parametrize("preload", [["--preload"], []], ids=["preload", "plain"])


def gunicorn(
    crew: Crew, directory: Path, kind: str, *options: str, python: tuple[str, ...] = (), **settings: Any
) -> AbstractContextManager[WebServer]:
    """A gunicorn with three workers of this kind; its own control server, a thread in the master, is off."""
    if kind in ("gevent", "uvicorn"):
        pytest.importorskip(KINDS[kind].partition(".")[0], reason=f"{kind} is not installed")
    (directory / "settings.py").write_text("control_socket_disable = True\n")
    application = "asgi:application" if kind == "uvicorn" else "wsgi"
    arguments = [f"--worker-class={KINDS[kind]}", "--workers=3", "--bind=unix:SOCKET", "--config=settings.py"]
    command = [sys.executable, *python, "-m", "gunicorn", *arguments, *options, application]
    return running(crew, directory, command, **settings)


@pytest.mark.servers
@preloaded_or_not
@every_kind
def test_gunicorn(crew: Crew, tmp_path: Path, kind: str, preload: list[str]) -> None:
    """Workers of gunicorn work; one that is killed, the leader where a worker leads, has a successor that works, and
    its events arrive."""
    with gunicorn(crew, tmp_path, kind, *preload) as web:
        workers = works_in_workers(crew, web)
        control = crew.control()
        epoch, leader = control.epoch, control.leader_pid

        assert leader == web.popen.pid if preload else leader in workers

        victim = next(iter(workers)) if preload else leader
        keys = web.ask_of(victim, "put", "last words", 20)
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)

        assert preload or crew.takeover(epoch, killed) < GATE

        crew.server.put_flag(serve("three"))

        assert victim not in web.all_say("three", "value", "load", but=victim)
        assert set() == crew.lacking(keys)
        assert crew.until(lambda: crew.server.open_connections == 1, 20)
        assert max(crew.overlaps(), default=0.0) < 1.0


@pytest.mark.servers
@pytest.mark.parametrize(
    ("kind", "preload"),
    [
        ("sync", ["--preload"]),
        ("sync", []),
        ("gthread", []),
        ("gevent", ["--preload"]),
        ("gevent", []),
        ("uvicorn", ["--preload"]),
        ("uvicorn", []),
    ],
    ids=lambda value: value if isinstance(value, str) else "preload" if value else "plain",
)
def test_recycling_reload_and_stop(crew: Crew, tmp_path: Path, kind: str, preload: list[str]) -> None:
    """Under load, workers are recycled and reloaded without the loss of an event and with one connection; a stop
    leaves no process, no lock, no event and no growing file."""
    options = ["--max-requests=100", "--max-requests-jitter=50", "--graceful-timeout=5"]
    with gunicorn(crew, tmp_path, kind, *preload, *options) as web:
        web.all_say("one", "value", "load")
        load = [Requests(web, f"load-{number}") for number in range(3)]
        for each in load:
            each.start()

        def pids() -> set[int]:
            return set().union(*(each.pids for each in load))

        assert crew.until(lambda: len(pids()) >= 5, 40), "workers are recycled"

        before = web.alive()
        web.popen.send_signal(signal.SIGHUP)

        assert crew.until(lambda: not (before - {web.popen.pid}) & web.alive(), 40), "and reloaded"

        crew.server.put_flag(serve("two"))
        keys = [key for each in load for key in each.finish()]

        assert ["two"] * 20 == [web.ask_until("wait_value", "load", "two", 20.0) for _ in range(20)]
        assert set() == crew.lacking(keys)
        assert crew.until(lambda: crew.server.open_connections == 1, 20)
        assert 1 == len(crew.server.connections) or not preload
        assert max(crew.overlaps(), default=0.0) < 1.0

        web.settle()
        last = [key for number in range(5) for key in web.ask_until("put", f"last-{number}", 10)]

        assert 0 == web.stop()
        assert [] == held(crew)
        # The workers of uvicorn end without a word: what they put last is delivered by the next start.
        assert {} == undelivered(crew) or (kind == "uvicorn" and not preload)
    assert [] == left_after_the_next_start(crew)
    assert set() == crew.lacking(last)


@pytest.mark.servers
@pytest.mark.parametrize("in_c", [False, True], ids=["asleep", "in_c"])
def test_a_leading_worker_that_hangs(crew: Crew, tmp_path: Path, in_c: bool) -> None:
    """When gunicorn ends a leading worker whose request hangs, another one leads and nothing is lost."""
    limit = 4.0  # seconds; a busy machine may need two for a worker to come up
    with gunicorn(crew, tmp_path, "sync", f"--timeout={limit:.0f}") as web:
        web.all_say("one", "value", "load")
        crew.until(lambda: crew.server.open_connections == 1, 20)
        control = crew.control()
        epoch, leader = control.epoch, control.leader_pid
        begun = time.monotonic()
        with pytest.raises((OSError, AssertionError)):  # reset, or an error of gunicorn's
            web.ask_of(leader, "hang", "hanging", 30.0, in_c)

        assert crew.takeover(epoch, begun) < 2 * limit + GATE

        crew.server.put_flag(serve("two"))

        assert leader not in web.all_say("two", "value", "load")
        assert set() == crew.lacking([f"hanging-{number}" for number in range(20)])
        assert crew.until(lambda: crew.server.open_connections == 1, 20)
        assert max(crew.overlaps(), default=0.0) < 1.0


@pytest.mark.servers
def test_a_leading_master_that_is_killed(crew: Crew, tmp_path: Path) -> None:
    """When a preloaded master is killed its workers deliver what they have and end; nothing is left."""
    with gunicorn(crew, tmp_path, "sync", "--preload", "--timeout=4") as web:
        works_in_workers(crew, web)
        keys = web.ask("put", "orphan", 50)[1]
        web.popen.kill()
        web.popen.wait()

        assert crew.until(lambda: not web.alive(), 20), "gunicorn's workers end without their master"
        assert [] == held(crew)
    assert [] == left_after_the_next_start(crew)
    assert set() == crew.lacking(keys)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python warns of forks beside threads from 3.12 on")
@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_no_warning_of_forks(crew: Crew, tmp_path: Path, kind: str) -> None:
    """A preloaded master that leads gives Python no reason to warn about threads when it forks workers."""
    # As an error it would vanish: os.fork drops what its warning raises.
    python = "-W", "always::DeprecationWarning"
    with gunicorn(crew, tmp_path, kind, "--preload", python=python, patient=True) as web:
        workers = web.all_say("one", "value", "load")
        for number in range(3):
            victims, crew_says = workers, ("two", "three", "one")[number]
            for victim in victims:
                os.kill(victim, signal.SIGKILL)

            assert crew.until(lambda gone=victims: not gone & web.alive(), 20)

            crew.server.put_flag(serve(crew_says))
            workers = web.all_say(crew_says, "value", "load")

        assert crew.control().leader_pid == web.popen.pid
        assert 1 == len(crew.server.connections)
        assert [] == re.findall(".*multi-threaded.*", web.log.read_text())
