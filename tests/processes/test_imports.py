"""A process imports what a leader needs when it is elected, and not before; whatever forks, fails or ends meanwhile."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes.conftest import GATE
from tests.processes.test_endings import Ending, whole
from tests.processes.test_gunicorn import gunicorn
from tests.processes.test_uwsgi import uwsgi
from tests.processes.web import serve, works_in_workers

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew, Process

STANDS, LEADS = "fbshared.leader.duty", ["requests", "websocket"]


def stands(process: Process) -> bool:
    return bool(process.ask("imported", [STANDS]))


def loaded(crew: Crew) -> dict[int, list[str]]:
    """Which processes have imported what only a leader needs, once all of them stand for the lead."""
    assert crew.until(lambda: all(stands(process) for process in crew.processes), 20)
    found = {process.pid: process.ask("imported", LEADS) for process in crew.processes}
    return {pid: names for pid, names in found.items() if names}


def test_only_who_is_elected(crew: Crew) -> None:
    """Of four processes that begin at the same moment one imports what a leader needs; a second one does when the first
    is dead."""
    crew.start(4)
    leader = crew.leader()

    assert {leader.pid: LEADS} == loaded(crew)

    epoch = crew.control().epoch
    crew.dismiss(leader)

    assert crew.takeover(epoch, time.monotonic()) < GATE
    assert {crew.leader().pid: LEADS} == loaded(crew)


@pytest.mark.servers
def test_only_who_is_elected_in_gunicorn(crew: Crew, tmp_path: Path) -> None:
    """The workers of a server, too."""
    with gunicorn(crew, tmp_path, "sync") as web:
        workers = web.all_say("one", "value", "load")
        assert crew.until(lambda: all(web.ask_of(pid, "imported", [STANDS]) for pid in workers), 20)
        found = {pid: web.ask_of(pid, "imported", LEADS) for pid in workers}
        leader = crew.control().leader_pid

    assert {pid: LEADS if pid == leader else [] for pid in workers} == found


def elected(crew: Crew, **hinder: Any) -> Process:
    """A process with data in the middle of importing what a leader needs."""
    first = crew.one()
    crew.leader()
    made = crew.one(hinder={"module": "requests", **hinder})
    assert crew.until(lambda: stands(made), 20)
    crew.dismiss(first)
    assert made.ask("in_the_middle")
    return made


@pytest.mark.servers
@pytest.mark.parametrize("server_of", ["gunicorn", "uwsgi"])
def test_servers_that_fork_in_the_middle(crew: Crew, tmp_path: Path, server_of: str) -> None:
    """A server that imports the application and forks its workers at once has workers that work, of which none leads
    but its first process."""
    settings = {"start_wait": 0.0, "hinder": {"module": "requests", "seconds": 1.5}}
    started = (
        uwsgi(crew, tmp_path, **settings)
        if server_of == "uwsgi"
        else gunicorn(crew, tmp_path, "sync", "--preload", **settings)
    )
    with started as web:
        workers = works_in_workers(crew, web)

        assert crew.control().leader_pid == web.popen.pid
        assert [True] * 3 == [web.ask_of(pid, "import_too", "requests") for pid in workers]


@pytest.mark.parametrize("how", ["fork", "fork_in_c", "multiprocess", "in a thread"])
def test_a_fork_in_the_middle(crew: Crew, server: FeatBitServer, how: str) -> None:
    """It waits for the import, whoever forks; the child evaluates, gets updates, delivers, and leads when it must."""
    parent = elected(crew, seconds=1.5)  # more than a fork waits for anything else
    child = crew.arrival(parent.ask("fork_by", "thread")[0] if how == "in a thread" else parent.ask(how)[0])

    assert "one" == child.ask("value", "load")
    assert child.ask("import_too", "requests")
    assert crew.leader() is parent

    server.put_flag(serve("two"))

    assert ["two"] * 2 == [process.ask("wait_value", "load", "two", 20.0) for process in (parent, child)]
    assert set() == crew.lacking([key for each in (parent, child) for key in each.ask("put", f"of-{each.pid}", 10)])

    epoch = crew.control().epoch
    crew.dismiss(parent)

    assert crew.takeover(epoch, time.monotonic()) < GATE
    assert crew.leader() is child


def test_a_fork_that_cannot_wait(crew: Crew) -> None:
    """A child that was forked in the middle all the same evaluates and delivers, stands for no lead, which would take
    it for ever, and comes to its end."""
    parent = elected(crew, seconds=4.0, limit=0.1)
    child = crew.arrival(parent.ask("fork")[0])

    assert parent.ask("in_the_middle")
    assert "one" == child.ask("value", "load")
    assert crew.leader() is parent

    keys = child.ask("put", "child", 10)
    epoch = crew.control().epoch
    crew.dismiss(parent)

    assert "one" == child.ask("value", "load")
    assert child.ask("stop", 5.0) < 4.0
    assert epoch == crew.control().epoch

    crew.one()

    assert set() == crew.lacking(keys)


def test_the_application_imports_the_same(crew: Crew) -> None:
    """Both get it, whoever was first, and the process leads."""
    process = elected(crew, seconds=0.5)

    assert process.ask("import_too", "requests")
    assert crew.leader() is process


def test_an_import_that_fails_once(crew: Crew, tmp_path: Path) -> None:
    """The lead is given back, which is said, and taken again when it is free: the next import may not fail."""
    with (tmp_path / "log").open("wb") as log:
        hinder = {"module": "requests", "failures": 1}
        process = crew.start(1, stderr=log, hinder=hinder, duty={"offer_pause": 0.5})[0]

    assert crew.leader() is process
    assert 2 == crew.control().epoch
    assert "this process cannot lead: requests is broken\n" == (tmp_path / "log").read_text()


def test_an_import_that_always_fails(crew: Crew, tmp_path: Path) -> None:
    """Who cannot lead says so once, and leaves the lead to who can; it has the data, and its events arrive."""
    with (tmp_path / "log").open("wb") as log:
        hinder = {"module": "websocket", "failures": 1000}
        broken = crew.start(1, stderr=log, hinder=hinder, duty={"offer_pause": 0.2}, start_wait=0.1)[0]
    assert crew.until(lambda: crew.control().epoch > 3, 20)
    whole_one = crew.one()

    assert crew.leader() is whole_one
    assert "one" == broken.ask("wait_value", "load", "one", 20.0)
    assert set() == crew.lacking(broken.ask("put", "broken", 10))
    assert 1 == (tmp_path / "log").read_text().count("cannot lead")


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_the_end_in_the_middle(crew: Crew, seconds: float) -> None:
    """A program that ends meanwhile ends in time and in peace, and its events arrive, with the next start at the
    latest."""
    hinder = {"module": "requests", "seconds": seconds}
    with contextlib.closing(Ending(crew, "ordinary", "ended", hinder=hinder, start_wait=0.0)) as ending:
        assert "ready" == ending.line()
        ending.go()
        code, errors = ending.over()

    assert (0, True) == (code, whole(errors)), errors

    crew.one()

    assert set() == crew.lacking(ending.keys)
