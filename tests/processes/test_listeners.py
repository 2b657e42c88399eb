"""Listeners are called in every process, all from the leader's one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fbshared.testing import flag, in_segment, rule, segment

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew, Process

PATCHES = 100


def serve(server: FeatBitServer, value: str) -> None:
    server.put_flag(flag("load", "string", ["one", "two", value], serve=value))


@pytest.fixture
def listening(crew: Crew) -> list[Process]:
    """A leader, two followers, and a child that one of them forked; all of them listen."""
    workers = crew.start(3)
    parent = next(worker for worker in workers if worker is not crew.leader())
    for worker in workers:
        worker.ask("listen", "load")
    child = crew.arrival(parent.ask("fork")[0])
    child.ask("value", "load")  # its first call
    return [*workers, child]


def test_a_patch_calls_each_listener_once(crew: Crew, server: FeatBitServer, listening: list[Process]) -> None:
    """A patch calls every listener of every process once, a forked child's too, and what it evaluates is the patch."""
    before = "one"
    for number, value in enumerate(["two", "one", "two"], 1):
        serve(server, value)

        for process in listening:
            assert [before, value] == process.ask("heard", "values", number)[-1]
            assert number == len(process.ask("heard", "values"))
            assert [value] == process.ask("heard", "maybe", number)[number - 1 :]
            assert ["load"] * number == process.ask("heard", "notices", number)
            assert value == process.ask("heard", "seen", number)[-1]
        before = value
    assert 1 == server.max_open_connections


def test_many_patches_come_in_order(crew: Crew, server: FeatBitServer, listening: list[Process]) -> None:
    """Of a hundred patches in a row every process hears in their order and without a gap, and always of the last."""
    for number in range(PATCHES):
        serve(server, f"value-{number}")
    last = f"value-{PATCHES - 1}"
    for process in listening:
        assert last == process.ask("wait_heard", "maybe", last)[-1]

        values = process.ask("heard", "values")
        olds, news = [old for old, _ in values], [new for _, new in values]

        assert ["one", *news[:-1]] == olds
        assert last == news[-1]
        assert sorted(news, key=lambda value: int(value.partition("-")[2])) == news
        assert len(set(news)) == len(news)


def test_a_segment_calls_too(crew: Crew, server: FeatBitServer, listening: list[Process]) -> None:
    """A changed segment is a change of the flag that uses it, through another segment, in every process."""
    server.patch(
        flags=[flag("load", "string", ["one", "two"], serve="one", rules=[rule("two", in_segment("outer"))])],
        segments=[segment("inner"), segment("outer", rules=[[in_segment("inner")]])],
    )
    for process in listening:
        for kind in ("maybe", "notices", "seen"):  # told one after the other
            process.ask("heard", kind, 1)
        process.ask("forget")
    server.put_segment(segment("inner", included=["someone"]))

    for process in listening:
        assert [["one", "two"]] == process.ask("heard", "values", 1)
        assert ["load"] == process.ask("heard", "notices", 1)


def test_a_bad_listener_harms_nobody(crew: Crew, server: FeatBitServer, listening: list[Process]) -> None:
    """One listener that raises, and one that stops its process's client, keep no other process from being told."""
    raises, stops, *others = listening
    raises.ask("listen_badly", "raises")
    stops.ask("listen_badly", "stops")
    for number, value in enumerate(["two", "one"], 1):
        serve(server, value)
        for process in (raises, *others):
            assert number == len(process.ask("heard", "values", number))

    assert 1 == len(stops.ask("heard", "values", 1))
    assert "OFF" == stops.ask("heard", "states", 1)[-1][0]
    assert "OFF" == stops.ask("state")[0]


def test_no_thread_without_listeners(crew: Crew, listening: list[Process]) -> None:
    """Listeners cost one thread for each process, however many they are, and none when the last one is gone."""
    for process in listening:
        assert 1 == process.ask("watchers")

        process.ask("listen_no_more")

        assert crew.until(lambda p=process: 0 == p.ask("watchers"), 20)


def test_every_process_knows_that_sync_is_interrupted(
    crew: Crew, server: FeatBitServer, listening: list[Process]
) -> None:
    """An interruption is the same in every process: since when, and the status that FeatBit answered with."""
    for process in listening:
        assert crew.until(lambda p=process: p.ask("state")[0] == "OK", 20)
    server.refuse_handshake(503)
    server.drop_connections()
    states = []
    for process in listening:
        assert crew.until(lambda p=process: p.ask("state")[2] == 503, 20)
        states.append(process.ask("state"))
    server.accept()

    assert {("INTERRUPTED", states[0][1], 503)} == {tuple(state[:3]) for state in states}
    assert all(0 <= state[3] < 60 for state in states)
    for process in listening:
        told = crew.until(lambda p=process: [s for s in p.ask("heard", "states") if s[0] == "OK"], 20)

        assert told
        assert ["WebSocket error", 503] in [detail for _, _, detail in process.ask("heard", "states")]


def test_a_child_that_no_hook_of_python_knows(crew: Crew, server: FeatBitServer) -> None:
    """A child that was forked in C hears too, from its first call on, also of what changed before that."""
    parent = crew.one()
    parent.ask("listen", "load")
    child = crew.arrival(parent.ask("fork_in_c")[0])
    serve(server, "two")
    assert [["one", "two"]] == parent.ask("heard", "values", 1)

    assert [] == child.ask("heard", "values")
    assert "two" == child.ask("wait_value", "load", "two", 20.0)
    assert [["one", "two"]] == child.ask("heard", "values", 1)


def test_a_new_leader_tells_too(crew: Crew, server: FeatBitServer, listening: list[Process]) -> None:
    """After the leader was killed, the listeners of all others hear what its successor publishes."""
    epoch = crew.control().epoch
    leader = crew.leader()
    left = [process for process in listening if process is not leader]
    crew.dismiss(leader)
    assert crew.until(lambda: crew.control().epoch > epoch, 20)
    crew.leader()
    serve(server, "two")

    assert [[["one", "two"]]] * len(left) == [process.ask("heard", "values", 1) for process in left]
