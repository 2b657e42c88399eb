"""A leader that forks all the time neither hangs its children nor starves."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fbshared.testing import flag
from tests.processes.conftest import GATE

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

SCRIPT = str(Path(__file__).parent / "hammer.py")
VALUES = tuple(range(1000))


def _serve(number: int) -> dict[str, object]:
    return flag("load", "number", VALUES, serve=number)


@pytest.mark.timeout(300)
def test_a_thousand_forks(crew: Crew, server: FeatBitServer) -> None:
    """While the leader reconnects, resolves names, publishes and posts, 1,000 forked children evaluate and exit, none
    hangs, and all their events arrive."""
    server.put_flag(_serve(0))
    settings = json.loads(crew.settings(streaming_first_retry_delay=0.05))
    for url in ("event_url", "streaming_url"):
        settings[url] = settings[url].replace("127.0.0.1", "localhost")  # a name to resolve
    command = [sys.executable, SCRIPT, json.dumps(settings), "storm", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forking:
        number = disturbed = 0
        while forking.poll() is None:
            number += 1
            server.put_flag(_serve(number % len(VALUES)))
            if number % 20 == 0:
                disturbed += server.open_connections
                server.drop_connections()
            time.sleep(0.05)
        assert forking.stdout is not None
        report = json.loads(forking.stdout.read())

    assert {"codes": [0], "leads": True, "flushed": True} == report
    assert set() == crew.lacking([f"storm-{each}" for each in range(1000)])
    assert number < 40 or disturbed


def test_a_process_that_forks_all_the_time(crew: Crew, server: FeatBitServer) -> None:
    """The only member, forking twenty times a second, sees every patch over one connection, mostly within a second."""
    server.put_flag(_serve(0))
    command = [sys.executable, SCRIPT, crew.settings(), "steady"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forking:
        assert forking.stdout is not None
        first = [json.loads(forking.stdout.readline()) for _ in range(2)]
        delays = []
        for number in range(1, 11):
            pushed = server.put_flag(_serve(number))
            news = json.loads(forking.stdout.readline())
            assert number == news["saw"]
            delays.append(news["at"] - pushed)
        assert forking.stdin is not None
        forking.stdin.close()

    assert {"leads": True} == first[0]
    assert 0 == forking.returncode
    assert statistics.median(delays) < 1.0
    assert max(delays) < GATE
    assert 1 == len(server.connections)
