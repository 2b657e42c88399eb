"""Children that did nothing for half a minute see at their first call what was published meanwhile, whoever forks.

All servers idle at once, so that the half minute passes once; each has a region and a FeatBit of its own.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fbshared.testing import FeatBitServer, bootstrap
from tests.processes.conftest import HERE, Crew, until
from tests.processes.test_celery import Celery
from tests.processes.test_gunicorn import KINDS, gunicorn
from tests.processes.test_uwsgi import uwsgi
from tests.processes.web import WebServer, running, serve

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE = 30.0


class Idle:
    """Children of one kind that wait.

    Attributes:
        first: gives the first value that each child sees.
    """

    def __init__(self, crew: Crew, first: Callable[[], list[Any]]) -> None:
        self.crew = crew
        self.first = first

    def patch(self) -> None:
        """Publish, while the children do nothing."""
        before = self.crew.control().publication
        self.crew.server.put_flag(serve("two"))

        assert self.crew.until(lambda: self.crew.control().publication > before, 20)


def of_web(crew: Crew, web: WebServer, count: int) -> Idle:
    """The workers of a web server; none of them was ever asked for anything."""
    assert crew.until(lambda: len(web.alive()) > count, 60), web.log.read_text()

    def first() -> list[Any]:
        found: dict[int, Any] = {}
        deadline = time.monotonic() + 30
        while len(found) < count and time.monotonic() < deadline:
            pid, value = web.ask("value", "load")
            found.setdefault(pid, value)
        return list(found.values())

    return Idle(crew, first)


def of_forks(crew: Crew) -> Idle:
    """Children of a parent that leads, and a grandchild."""
    parent = crew.one()
    crew.leader()
    parent.ask("value", "load", "import")
    children = [crew.arrival(pid) for how in ("fork", "fork_in_c", "multiprocess") for pid in parent.ask(how)]
    children.append(crew.arrival(children[0].ask("fork")[0]))
    return Idle(crew, lambda: [child.ask("value", "load") for child in children])


def of_multiprocessing(crew: Crew, stack: contextlib.ExitStack, method: str) -> Idle:
    """Children of a pool, of an executor, and single ones."""
    command = [sys.executable, str(HERE / "idling.py"), crew.settings(), method]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(program.wait)
    stack.callback(program.kill)
    assert program.stdout is not None
    assert "ready\n" == program.stdout.readline()

    def first() -> list[Any]:
        values = json.loads(program.communicate(timeout=60)[0])
        return [value for each in values.values() for value in each]

    return Idle(crew, first)


def arrived(idle: Idle, count: int) -> bool:
    """Whether the events of that many children have arrived, beside those from before the forks."""
    return len([event for event in idle.crew.server.events if event.user["keyId"] != "import"]) >= count


@pytest.fixture
def crews(shared_directory: Path) -> Iterator[Callable[[str], Crew]]:
    """Makes a crew with a server and a region of its own."""
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Crew:
            server = stack.enter_context(FeatBitServer(bootstrap([serve("one")])))
            directory = shared_directory / name
            directory.mkdir()
            return stack.enter_context(contextlib.closing(Crew(server, directory)))

        yield make


@pytest.mark.servers
@pytest.mark.timeout(240)
def test_idle_children(crews: Callable[[str], Crew], tmp_path: Path) -> None:
    """Every child that was idle for 30 s since its fork answers its first call with the patch of that time, and its
    event arrives, over one connection."""
    for needed in ("gevent", "uvicorn", "uvicorn_worker", "celery", "pyuwsgi"):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    idle: dict[str, Idle] = {}
    expected: dict[str, int] = {}
    with contextlib.ExitStack() as stack:

        def add(name: str, made: Idle, count: int) -> None:
            idle[name], expected[name] = made, count

        def place(name: str) -> Path:
            (tmp_path / name).mkdir()
            return tmp_path / name

        webs = {}
        for kind in KINDS:
            for preload in (["--preload"], []):
                name = f"{kind}-{'preload' if preload else 'plain'}"
                crew = crews(name)
                webs[name] = crew, stack.enter_context(gunicorn(crew, place(name), kind, *preload, "--workers=2")), 2
        crew = crews("asgi")
        options = ["--workers=2", "--uds=SOCKET", "--lifespan=off", "asgi:application"]
        command = [sys.executable, "-m", "uvicorn", *options]
        # Beside its workers multiprocessing's tracker lives.
        webs["asgi"] = crew, stack.enter_context(running(crew, place("asgi"), command)), 2
        for name, lazy in (("uwsgi", []), ("uwsgi-lazy", ["--lazy-apps"])):
            crew = crews(name)
            webs[name] = crew, stack.enter_context(uwsgi(crew, place(name), *lazy)), 3
        crew = crews("celery")
        celery = stack.enter_context(Celery(crew, place("celery")))
        for method in ("fork", "spawn", "forkserver"):
            add(method, of_multiprocessing(crews(method), stack, method), 6)
        add("forks", of_forks(crews("forks")), 4)
        for name, (web_crew, web, count) in webs.items():
            add(name, of_web(web_crew, web, count), count)
        assert crew.until(lambda: len(celery.children()) == 2, 60)
        add("celery", Idle(crew, lambda: celery.first_values("value", "load")), 2)

        assert until(lambda: {1} == {each.crew.server.open_connections for each in idle.values()}, 60)

        since = time.monotonic()
        time.sleep(IDLE / 2)
        for each in idle.values():
            each.patch()
        time.sleep(max(since + IDLE - time.monotonic(), 0.0))
        found = {name: each.first() for name, each in idle.items()}

        assert {name: ["two"] * count for name, count in expected.items()} == found
        # Every first value was an event too.
        missing = [name for name in idle if not until(partial(arrived, idle[name], expected[name]), 15)]

        assert [] == missing
        assert dict.fromkeys(idle, 1) == {name: len(each.crew.server.connections) for name, each in idle.items()}
