"""A client works in children that were forked at odd moments, by odd means, or from odd places."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.processes.conftest import GATE
from tests.processes.web import inherited, serve

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew


def test_a_fork_in_another_thread(crew: Crew, server: FeatBitServer) -> None:
    """A child of a thread other than the main one works, and the library adds no thread at the moment of the fork."""
    parent = crew.one(patient=True)
    crew.leader()
    forks = [parent.ask("fork_by", "thread") for _ in range(5)]
    children = [crew.arrival(pid) for pid, _ in forks]

    assert [2] * 5 == [threads for _, threads in forks], "the main thread, and the one that forked"
    assert set() == inherited(crew, parent.pid, [child.pid for child in children])
    assert ["one"] * 5 == [child.ask("value", "load") for child in children]

    server.put_flag(serve("two"))

    assert ["two"] * 6 == [process.ask("wait_value", "load", "two", 20.0) for process in [parent, *children]]
    assert set() == crew.lacking([key for child in children for key in child.ask("put", f"child-{child.pid}", 10)])
    assert 1 == len(server.connections)


@pytest.mark.parametrize("in_c", [False, True], ids=["fork", "fork_in_c"])
@pytest.mark.parametrize("what", ["duty", "wake", "outbox", "view"])
def test_a_fork_while_another_thread_holds_something(crew: Crew, server: FeatBitServer, what: str, in_c: bool) -> None:
    """Neither the child, nor its own child, nor the parent ever waits for what a thread held at the fork."""
    parent = crew.one()
    crew.leader()
    child = crew.arrival(parent.ask("fork_by", "holding", what, in_c)[0])
    grandchild = crew.arrival(child.ask("fork", seconds=20.0)[0])
    everybody = [grandchild, child, parent]

    assert ["one"] * 3 == [process.ask("value", "load", seconds=20.0) for process in everybody]

    server.put_flag(serve("two"))

    assert ["two"] * 3 == [process.ask("wait_value", "load", "two", 20.0) for process in everybody]
    assert set() == crew.lacking([key for each in everybody for key in each.ask("put", f"of-{each.pid}", 10)])
    assert 1 == len(server.connections)

    epoch = crew.control().epoch
    crew.dismiss(parent)

    assert crew.takeover(epoch, time.monotonic()) < GATE
    assert "two" == grandchild.ask("wait_value", "load", "two", 20.0)


def test_generations_of_children(crew: Crew, server: FeatBitServer) -> None:
    """Each of five nested forks works, and goes on when all its ancestors have been killed one after the other."""
    line = [crew.one()]
    crew.leader()
    for _ in range(5):
        line.append(crew.arrival(line[-1].ask("fork")[0]))

    assert ["one"] * 6 == [process.ask("value", "load") for process in line]

    server.put_flag(serve("two"))

    assert ["two"] * 6 == [process.ask("wait_value", "load", "two", 20.0) for process in line]

    keys = [key for process in line for key in process.ask("put", f"of-{process.pid}", 10)]

    assert 1 == len(server.connections)

    for ancestor in line[:-1]:
        crew.dismiss(ancestor)
    server.put_flag(serve("three"))

    assert "three" == line[-1].ask("wait_value", "load", "three", 20.0)
    assert set() == crew.lacking([*keys, *line[-1].ask("put", "last", 10)])


def test_a_program_that_is_started_with_preexec_fn(crew: Crew) -> None:
    """What runs before a program's start can evaluate, its event arrives, and the program inherits no descriptor."""
    parent = crew.one()
    crew.leader()

    assert ["one", "[]"] == parent.ask("fork_by", "preexec", "before-exec")
    assert set() == crew.lacking(["before-exec"])
    assert parent.ask("leads")


def test_a_daemon(crew: Crew, server: FeatBitServer) -> None:
    """A daemon, forked twice and without the descriptors of its past, works, and leads when its parents are gone."""
    parent = crew.one()
    crew.leader()
    daemon = crew.arrival(parent.ask("fork_by", "daemonise")[0])
    before = parent.ask("put", "parent", 10)
    epoch = crew.control().epoch
    crew.leave(parent)
    # Its first evaluation is still to come.
    server.put_flag(serve("two"))

    assert [] == daemon.ask("fork_by", "keep_descriptors", 40)
    assert crew.takeover(epoch, time.monotonic()) < GATE
    assert "two" == daemon.ask("wait_value", "load", "two", 20.0)
    assert crew.leader() is daemon
    assert set() == crew.lacking([*before, "first", *daemon.ask("put", "daemon", 100)])
    assert crew.until(lambda: server.open_connections == 1, 20)


@pytest.mark.servers
@pytest.mark.parametrize("how", ["fork", "multiprocess"])
def test_a_program_of_gevent(crew: Crew, server: FeatBitServer, how: str) -> None:
    """Children of a monkey-patched program work, keep nothing of their leading parent, and take over from it."""
    pytest.importorskip("gevent", reason="gevent is not installed")
    parent = crew.start(1, "green.py")[0]
    crew.leader()
    children = [crew.arrival(pid) for pid in parent.ask(how, 2)]

    def keeps_nothing() -> bool:
        for child in children:
            child.ask("leads")  # gevent closes pipes when its loop comes round, which waits for something to do
        return not inherited(crew, parent.pid, [child.pid for child in children])

    assert crew.until(keeps_nothing, 20)

    server.put_flag(serve("two"))

    assert "two" == parent.ask("wait_value", "load", "two", 20.0)
    assert ["two"] * 2 == [child.ask("value", "load") for child in children]

    keys = [key for process in [parent, *children] for key in process.ask("put", f"of-{process.pid}", 50)]

    assert set() == crew.lacking(keys)
    assert 1 == len(server.connections)

    epoch = crew.control().epoch
    crew.dismiss(parent)

    assert crew.takeover(epoch, time.monotonic()) < GATE

    server.put_flag(serve("three"))

    assert ["three"] * 2 == [child.ask("wait_value", "load", "three", 20.0) for child in children]
    assert crew.until(lambda: server.open_connections == 1, 20)
