"""A provider that is registered before a fork works in the child."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fbshared.testing import FeatBitServer

HERE = Path(__file__).parent


class Forking:
    """The program ``forking.py``, heard line by line."""

    def __init__(self, server: FeatBitServer, source: str) -> None:
        urls = server.secret, server.event_url, server.streaming_url
        self.popen = subprocess.Popen(
            [sys.executable, str(HERE / "forking.py"), *urls, source],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def hear(self) -> dict[str, Any]:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, "the child is gone"
        heard: dict[str, Any] = json.loads(line)
        return heard


@pytest.fixture
def forking(server: FeatBitServer, request: pytest.FixtureRequest) -> Iterator[Forking]:
    if request.param in ("unready", "late"):
        server.stall()
    made = Forking(server, request.param)
    yield made
    with contextlib.suppress(ProcessLookupError):
        os.killpg(made.popen.pid, signal.SIGKILL)  # the child too
    made.popen.communicate()


def change(server: FeatBitServer) -> None:
    rest = server.flag("changing-flag")["fallthrough"]
    server.update_flag("changing-flag", fallthrough={**rest, "variations": [{"id": "bar", "rollout": [0, 1]}]})


@pytest.mark.parametrize("forking", ["config", "client"], indirect=True)
def test_a_child_evaluates_and_is_told(forking: Forking, server: FeatBitServer) -> None:
    """A child answers at once, is told of changes and of a lost connection, sends events, and shuts itself down."""
    assert {"first": "foo", "status": "READY"} == forking.hear()
    assert {"ready": True, "value": "foo"} == forking.hear()
    assert server.wait_for(lambda s: any(event.user["keyId"] == "child" for event in s.events))

    change(server)
    assert {"value": "bar", "changed": [["changing-flag"]]} == forking.hear()

    server.stop()
    assert {"stale": True, "value": "bar"} == forking.hear()
    assert {"quiet": True} == forking.hear()
    assert 0 == forking.popen.wait(20)
    assert 1 == server.max_open_connections


@pytest.mark.parametrize("forking", ["unready"], indirect=True)
def test_a_child_that_was_forked_too_early(forking: Forking, server: FeatBitServer) -> None:
    """A child that was forked while its parent waited for data becomes ready when there is some."""
    assert {"first": "default", "status": "NOT_READY"} == forking.hear()

    server.stall(False)
    server.drop_connections()
    assert {"ready": True, "value": "foo"} == forking.hear()


@pytest.mark.parametrize("forking", ["late"], indirect=True)
def test_a_child_that_was_forked_too_early_and_is_first_asked_late(forking: Forking, server: FeatBitServer) -> None:
    """It becomes ready too when the data came before it was asked anything."""
    assert {"forked": True} == forking.hear()

    server.stall(False)
    server.drop_connections()
    assert "first" in forking.hear()
    assert {"ready": True, "value": "foo"} == forking.hear()
