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

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

HERE = Path(__file__).parent
EVENTS = 20  # as in ending.py
BOUND = 5.0  # seconds that a stop may take
BUSY = 1.5  # more that a busy machine may take


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
        assert seconds[-1] < 0.1, "a second stop is nothing"

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
    ending = begin(way, "last", events_flush_interval=60.0, role=role, start_wait=1.0 if role == "auto" else 0)
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
