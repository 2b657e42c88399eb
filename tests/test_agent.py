"""The agent in a process of its own, as a service manager runs it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fbshared import Config, FBClient
from fbshared.status import read_regions
from fbshared.testing import FeatBitServer, bootstrap, flag

USER = {"key": "anna", "name": "Anna"}


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(bootstrap([flag("beta", serve=True)], [])) as running:
        yield running


@contextmanager
def agent(*arguments: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "fbshared", "agent", *arguments]
    with subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def environment_of(server: FeatBitServer) -> dict[str, str]:
    return {
        "FBSHARED_ENV_SECRET": server.secret,
        "FBSHARED_EVENT_URL": server.event_url,
        "FBSHARED_STREAMING_URL": server.streaming_url,
    }


def follower(server: FeatBitServer) -> FBClient:
    return FBClient(Config(server.secret, server.event_url, server.streaming_url, role="follower"), start_wait=10)


def test_an_application_that_never_leads_works_with_an_agent(server: FeatBitServer) -> None:
    """Data reaches the follower and its events reach FeatBit, over the agent's one connection."""
    with agent(**environment_of(server)) as process, follower(server) as client:
        value = client.variation("beta", USER, "none")
        delivered = client.flush(10)
        leaders = [region.leader_pid for region in read_regions()]
        process.terminate()
        code = process.wait(10)

    assert value is True
    assert delivered
    assert [process.pid] == leaders
    assert 1 == len(server.connections)
    assert 0 == code


def test_it_says_when_it_is_ready_and_ends_on_sigterm(server: FeatBitServer, shared_directory: Path) -> None:
    """The service manager hears READY=1 once there is data, and STOPPING=1 on the way out; the exit code is 0."""
    path = str(shared_directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(20)
        with agent(NOTIFY_SOCKET=path, **environment_of(server)) as process:
            first = manager.recv(100)
            process.send_signal(signal.SIGTERM)
            second = manager.recv(100)
            code = process.wait(10)

    assert b"READY=1" == first
    assert b"STOPPING=1" == second
    assert 0 == code


def test_the_log_holds_no_secret(server: FeatBitServer, tmp_path: Path) -> None:
    """A secret from a file is used, and appears neither in the log nor among the arguments."""
    file = tmp_path / "secret"
    file.write_text(server.secret + "\n")
    urls = ["--event-url", server.event_url, "--streaming-url", server.streaming_url]
    with agent("--secret-file", str(file), *urls) as process:
        connected = server.wait_for(lambda s: s.open_connections == 1, 20)
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=10)

    assert connected
    assert 0 == process.returncode
    assert "leads" in log
    assert server.secret not in log


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "no secret"),
        ({"FBSHARED_ENV_SECRET": "x" * 44}, "event_url must be a URL"),
        ({"FBSHARED_ENV_SECRET": "x" * 44, "FBSHARED_EVENT_URL": "http://localhost:1"}, "streaming_url must be a URL"),
    ],
)
def test_an_invalid_configuration_ends_it_with_one_line(environment: dict[str, str], message: str) -> None:
    """Exit code 2, and a line that names the field."""
    with agent(**environment) as process:
        _, log = process.communicate(timeout=20)

    assert 2 == process.returncode
    assert 1 == len(log.splitlines())
    assert message in log
