"""Ends: of processes, of rings, of regions. Nothing hangs, nothing is lost, nothing stays."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fbshared.shm.control import LAYOUT
from tests.processes.web import serve

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

HERE = Path(__file__).parent
EVENTS = 20  # as in ending.py
BOUND = 5.0  # seconds that a stop may take
BUSY = 4.0  # more that a busy machine may take


class Ending:
    """A process of ``ending.py``."""

    def __init__(self, crew: Crew, how: str, prefix: str, **options: Any) -> None:
        own = {key: options.pop(key) for key in ("several", "slow_names") if key in options}
        settings = json.dumps({**json.loads(crew.settings(**options)), **own})
        self.keys = {f"{prefix}-{number}" for number in range(EVENTS)}
        self.popen = subprocess.Popen(
            [sys.executable, str(HERE / "ending.py"), settings, how, prefix],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def go(self) -> None:
        """Let it put its events and come to its end."""
        assert self.popen.stdin is not None
        self.popen.stdin.write("go\n")
        self.popen.stdin.flush()

    def line(self) -> str:
        """The next thing that it says."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def over(self, seconds: float = 20.0) -> tuple[int, str]:
        """Its exit code, and what it wrote about its end."""
        _, errors = self.popen.communicate(timeout=seconds)
        return self.popen.returncode, errors

    def close(self) -> None:
        """Whatever happened to the test."""
        self.popen.kill()
        with self.popen:
            pass


Begin = Callable[..., Ending]


@pytest.fixture
def begin(crew: Crew) -> Iterator[Begin]:
    """Starts processes of ``ending.py``."""
    made: list[Ending] = []

    def start(how: str, prefix: str, **options: Any) -> Ending:
        made.append(Ending(crew, how, prefix, **options))
        assert "ready" == made[-1].line()
        return made[-1]

    yield start
    for ending in made:
        ending.close()


@contextmanager
def silence(server: FeatBitServer) -> Iterator[None]:
    """In the server's place somebody accepts every connection and never answers."""
    server.stop()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((server.host, server.port))
        listener.listen(64)
        yield
    server.start()


@contextmanager
def drops(server: FeatBitServer) -> Iterator[None]:
    """The server takes events and does not answer."""
    server.insight_delay = 60
    yield
    server.insight_delay = 0


@contextmanager
def nothing(server: FeatBitServer) -> Iterator[None]:
    """The server is well."""
    yield


def whole(errors: str) -> bool:
    """Whether nothing broke: warnings about the server may be there."""
    return not any(word in errors for word in ("Traceback", "Exception ignored", "Fatal", "Error"))


HANGS = {
    "no answer at all": (silence, {}),
    "no answer to events": (drops, {}),
    "a name": (nothing, {"slow_names": True}),
    "several": (silence, {"several": True}),
}


@pytest.mark.parametrize("hang", HANGS)
def test_a_stop_has_an_end(crew: Crew, server: FeatBitServer, begin: Begin, hang: str) -> None:
    """Whatever hangs, each stop returns in time, the process ends, and its events arrive with the next start."""
    fault, options = HANGS[hang]
    ending = begin("stop", "hung", events_flush_interval=0.05, **options)
    with fault(server):
        ending.go()
        seconds = json.loads(ending.line())
        before = time.monotonic()
        code, errors = ending.over()

        assert (0, True) == (code, whole(errors)), errors
        assert time.monotonic() - before < BUSY + 1
        assert max(seconds) < BOUND + BUSY
        assert seconds[-1] < BOUND / 2, "a second stop waits for nothing"

    crew.one()

    assert set() == crew.lacking(ending.keys)


@pytest.mark.parametrize("hang", HANGS)
def test_an_exit_has_an_end(crew: Crew, server: FeatBitServer, begin: Begin, hang: str) -> None:
    """Without a stop too, however many environments there are."""
    fault, options = HANGS[hang]
    ending = begin("ordinary", "hung", events_flush_interval=0.05, **options)
    with fault(server):
        before = time.monotonic()
        ending.go()
        code, errors = ending.over()

        assert (0, True) == (code, whole(errors)), errors
        assert time.monotonic() - before < 3.0 + BUSY + 1

    crew.one()

    assert set() == crew.lacking(ending.keys)


WAYS = {
    "ordinary": (None, 0),
    "in a handler": (signal.SIGTERM, 0),
    "by default": (signal.SIGTERM, -signal.SIGTERM),
    "interrupted": (signal.SIGINT, 0),
    "in a thread": (None, 0),
    "at work": (None, 0),
    "without hooks": (None, 0),
    "at once": (None, 0),
}


@pytest.mark.parametrize("role", ["auto", "follower"])
@pytest.mark.parametrize("way", WAYS)
def test_ways_to_end(crew: Crew, begin: Begin, way: str, role: str) -> None:
    """However a process ends, it ends soon and without a word, and what it put just before arrives with the next
    start."""
    number, expected = WAYS[way]
    ending = begin(way, "last", events_flush_interval=60.0, role=role, start_wait=15.0 if role == "auto" else 0)
    ending.go()
    before = time.monotonic()
    if number is not None:
        assert "waiting" == ending.line()
        ending.popen.send_signal(number)
    code, errors = ending.over()

    assert (expected, "") == (code, errors)
    assert time.monotonic() - before < 3.0 + BUSY

    crew.one()

    assert set() == crew.lacking(ending.keys)


# The last one out


def test_the_last_one_out_never_stood_for_the_lead(crew: Crew) -> None:
    """A process that ends in its first second, when the leader is gone, delivers what it put."""
    options = {"events_flush_interval": 60.0}
    leader = crew.one(**options)
    crew.leader()
    young = crew.one(**options)
    keys = young.ask("put", "young", 20)
    crew.dismiss(leader)
    young.hang_up()

    assert 0 == young.gone()
    assert set() == crew.lacking(keys)


def test_all_leave_at_once(crew: Crew) -> None:
    """When all end at the same moment, one of them delivers what they put just before: no start is needed."""
    workers = crew.start(4, events_flush_interval=60.0)
    crew.leader()
    keys = {key for worker in workers for key in worker.ask("put", f"last-{worker.pid}", 20)}
    for worker in workers:
        worker.hang_up()
    codes = [worker.gone() for worker in workers]

    assert [0] * 4 == codes
    assert set() == crew.lacking(keys)
    assert 0 == crew.duplicates()


def test_the_rest_stays(crew: Crew, server: FeatBitServer) -> None:
    """What the last one out cannot deliver is there for the next start."""
    workers = crew.start(2, events_flush_interval=60.0)
    crew.leader()
    server.stop()
    keys = {key for worker in workers for key in worker.ask("put", f"rest-{worker.pid}", 20)}
    for worker in workers:
        crew.leave(worker)
    server.start()

    assert keys == crew.lacking(keys, 0)

    crew.one()

    assert set() == crew.lacking(keys)


# Rings


@pytest.mark.servers
@pytest.mark.timeout(300)
def test_rings_of_500_that_came_and_went(crew: Crew) -> None:
    """A leader removes them as they come: there are never many, and in the end only those of the living are left."""
    crew.one()
    crew.leader()
    parent = crew.one()
    most = 0
    for _ in range(5):
        assert [0] * 100 == parent.ask("fork_storm", 100, 20.0, seconds=150.0)
        most = max(most, len(crew.files("ring.")))

    assert most <= 450
    assert crew.until(lambda: 2 == len(crew.files("ring.")), 20)


@pytest.mark.servers
@pytest.mark.timeout(300)
def test_rings_of_500_and_nobody_leads(crew: Crew, server: FeatBitServer) -> None:
    """There are no more than allowed, what finds no ring is counted, evaluation goes on, and a later leader delivers
    what is there and makes room again."""
    leader = crew.one()
    parent = crew.one(role="follower")
    parent.ask("allow_rings", 100)
    crew.dismiss(leader)

    assert [0] * 500 == parent.ask("fork_storm", 500, 10.0, seconds=250.0)

    rings, lost = len(crew.files("ring.")), crew.control().events_lost
    keys = [f"storm-{number}" for number in range(500)]

    assert 100 == rings
    assert 500 - rings <= lost <= 500 - rings + 2, "the rings of the parent and of the dead leader"

    crew.one()
    delivered = crew.until(lambda: lost == len(crew.lacking(keys, 0)), 20)

    assert delivered
    assert crew.until(lambda: 2 == len(crew.files("ring.")), 20)


# Regions


@pytest.mark.servers
def test_an_unused_region_is_removed(crew: Crew, server: FeatBitServer) -> None:
    """The leader of another environment removes it once everything is delivered, and not before; who comes then
    begins anew."""
    local = server.event_url.replace("127.0.0.1", "localhost")
    other = crew.one(role="follower")
    keys = other.ask("identify", "unused", 5)
    crew.dismiss(other)
    leader = crew.one(event_url=local)
    leader.ask("hurry")
    time.sleep(3.0)  # some looks

    assert 1 == len(crew.files("ring."))

    crew.leave(crew.one())

    assert set() == crew.lacking(keys)
    assert crew.until(lambda: not crew.path.exists(), 20)

    again = crew.one()

    assert "one" == again.ask("value", "load")
    assert crew.path.exists()


def test_two_layouts(crew: Crew, server: FeatBitServer) -> None:
    """During a rolling restart the processes of both versions work, each version with one leader of its own."""
    old = crew.start(2)
    new = crew.start(2, layout=LAYOUT + 1)
    workers = [*old, *new]

    assert crew.until(lambda: 2 == server.open_connections, 20)
    assert 2 == len(list(crew.path.parent.iterdir()))
    assert [1, 1] == [[worker.ask("leads") for worker in each].count(True) for each in (old, new)]

    server.put_flag(serve("two"))

    assert ["two"] * 4 == [worker.ask("wait_value", "load", "two", 20.0) for worker in workers]
    assert set() == crew.lacking([key for worker in workers for key in worker.ask("put", f"w{worker.pid}", 20)])

    for worker in old:
        crew.leave(worker)
    server.put_flag(serve("three"))

    assert ["three"] * 2 == [worker.ask("wait_value", "load", "three", 20.0) for worker in new]
    assert crew.until(lambda: 1 == server.open_connections, 20)


# What a process has open


def steady(names: list[str]) -> list[str]:
    """But for the lock file that a candidate tries, and opens in its own time."""
    return sorted(name for name in names if not name.endswith(".lock"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("role", "threads"), [("auto", 2), ("follower", 1)])
def test_a_follower_is_small(crew: Crew, role: str, threads: int) -> None:
    """It has one thread of ours where it may lead, none where it may not; 1,000 children leave nothing behind in
    their parent."""
    crew.one()
    crew.leader()
    follower = crew.one(role=role)
    follower.ask("put", "warm", 1)
    # Standing for the lead begins a second after the start.
    assert role == "follower" or crew.until(lambda: any(".lock" in name for name in follower.ask("descriptors")), 20)
    assert crew.until(lambda: threads == follower.ask("threads"), 20), "one is the test's"
    fresh = follower.ask("threads"), steady(follower.ask("descriptors"))
    codes = follower.ask("fork_storm", 1000, 20.0, seconds=250.0)

    assert [0] * 1000 == codes
    # A thread that paused for the last fork may be on its way back.
    assert crew.until(lambda: fresh == (follower.ask("threads"), steady(follower.ask("descriptors"))), 20)


@pytest.mark.parametrize("role", ["auto", "follower"])
def test_children_of_children(crew: Crew, role: str) -> None:
    """However deep a process is forked, it has no more open than its parent; before Python 3.13, one copy of the
    control page's descriptor for each level."""
    crew.one()
    crew.leader()
    follower = crew.one(role=role)
    follower.ask("put", "warm", 1)
    found = follower.ask("fork_nested", 5)
    counts = [len(steady(found[str(depth)])) for depth in range(1, 6)]

    more = 0 if sys.version_info >= (3, 13) else 1

    assert [counts[0] + more * level for level in range(5)] == counts, found
