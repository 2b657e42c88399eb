"""A client that was made before a fork works in the child, whoever forks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.processes.conftest import GATE
from tests.processes.web import inherited, serve

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

HERE = Path(__file__).parent


@pytest.mark.parametrize("how", ["fork", "multiprocess", "fork_in_c"])
def test_children_of_a_leader(crew: Crew, server: FeatBitServer, how: str) -> None:
    """Children of a leader evaluate at once, see patches, deliver events, keep nothing of it, and take over."""
    parent = crew.one()
    crew.leader()
    children = [crew.arrival(pid) for pid in parent.ask(how, 3)]
    if how != "fork_in_c":
        assert set() == inherited(crew, parent.pid, [child.pid for child in children])

    assert ["one"] * 3 == [child.ask("value", "load") for child in children]
    assert set() == inherited(crew, parent.pid, [child.pid for child in children])

    server.put_flag(serve("two"))

    assert ["two"] * 4 == [process.ask("wait_value", "load", "two", 20.0) for process in [parent, *children]]

    keys = [key for number, child in enumerate(children) for key in child.ask("put", f"child-{number}", 50)]

    assert set() == crew.lacking(keys)
    assert 1 == len(server.connections)

    epoch = crew.control().epoch
    crew.dismiss(parent)

    assert crew.takeover(epoch, time.monotonic()) < GATE
    assert crew.until(lambda: server.open_connections == 1, 20)

    server.put_flag(serve("three"))

    assert ["three"] * 3 == [child.ask("wait_value", "load", "three", 20.0) for child in children]
    assert set() == crew.lacking([key for child in children for key in child.ask("put", f"after-{child.pid}", 50)])


@pytest.mark.parametrize("how", ["fork", "fork_in_c"])
def test_an_idle_child_sees_the_newest_at_its_first_call(crew: Crew, server: FeatBitServer, how: str) -> None:
    """A child that did nothing since it was forked answers with what was published meanwhile, and so does its own."""
    parent = crew.one()
    crew.leader()
    child = crew.arrival(parent.ask(how)[0])
    grandchild = crew.arrival(child.ask("fork")[0])
    server.put_flag(serve("two"))

    assert "two" == parent.ask("wait_value", "load", "two", 20.0)
    assert "two" == child.ask("value", "load")
    assert "two" == grandchild.ask("value", "load")
    assert set() == crew.lacking(grandchild.ask("put", "grandchild", 10) + child.ask("put", "child", 10))
    assert 1 == len(server.connections)


@pytest.mark.parametrize("ending", ["close", "terminate"])
def test_a_pool_delivers(crew: Crew, ending: str) -> None:
    """Events that are put in the children of a multiprocessing pool arrive, though these end without a word."""
    parent = crew.one()
    crew.leader()

    assert set() == crew.lacking(parent.ask("pool", 4, "pool", 200, ending))


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

    assert crew.takeover(epoch, time.monotonic()) < GATE

    server.put_flag(serve("two"))

    assert ["two"] * 2 == [child.ask("wait_value", "load", "two", 20.0) for child in children]


def test_a_fork_storm(crew: Crew, server: FeatBitServer) -> None:
    """300 forks in a row in the leader: each child evaluates, nobody hangs, all events arrive, the leader goes on."""
    parent = crew.one()
    crew.leader()

    assert [0] * 300 == parent.ask("fork_storm", 300, 20.0, seconds=150.0)

    server.put_flag(serve("two"))

    assert "two" == parent.ask("wait_value", "load", "two", 20.0)
    assert set() == crew.lacking([f"storm-{number}" for number in range(300)])
    assert 1 == len(server.connections)
    assert crew.until(lambda: len(crew.files("ring.")) <= 1, 20), "the rings of the dead are removed"


def test_a_fork_gives_no_reason_to_warn(crew: Crew) -> None:
    """Python finds no threads to warn about when a leader forks 200 times, and the leader still leads."""
    command = [sys.executable, str(HERE / "forking.py"), crew.settings(patient=True)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=150)

    assert {"failed": 0, "leads": True, "warnings": []} == json.loads(done.stdout)
