"""The agent in a process of its own, as a service manager runs it."""

import json
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
from tests.waiting import eventually

USER = {"key": "anna", "name": "Anna"}


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(bootstrap([flag("beta", serve=True)], [])) as running:
        yield running


@contextmanager
def agent(*arguments: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    with running([sys.executable, "-m", "fbshared", "agent", *arguments], environment) as process:
        yield process


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
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
    return FBClient(Config(server.secret, server.event_url, server.streaming_url, role="follower"), start_wait=30)


def test_an_application_that_never_leads_works_with_an_agent(server: FeatBitServer) -> None:
    """Data reaches the follower and its events reach FeatBit, over the agent's one connection."""
    with agent(**environment_of(server)) as process, follower(server) as client:
        value = client.variation("beta", USER, "none")
        delivered = client.flush(30)
        leaders = [region.leader_pid for region in read_regions()]
        process.terminate()
        code = process.wait(30)

    assert value is True
    assert delivered
    assert [process.pid] == leaders
    assert 1 == len(server.connections)
    assert 0 == code


def test_the_last_round_of_an_agent(server: FeatBitServer) -> None:
    """An agent that ends delivers the events of followers that live on, for none of them would."""
    config = Config(server.secret, server.event_url, server.streaming_url, role="follower")
    with agent(**environment_of(server)) as process, FBClient(config, start_wait=30) as client:
        client.variation("beta", USER, "none")
        assert client.flush(30)
        client.variation("beta", {"key": "bob", "name": "Bob"}, "none")
        process.terminate()
        code = process.wait(30)
        arrived = {event.user["keyId"] for event in server.events}

    assert 0 == code
    assert {"anna", "bob"} == arrived


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
            code = process.wait(30)

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
        _, log = process.communicate(timeout=30)

    assert connected
    assert 0 == process.returncode
    assert "leads" in log
    assert server.secret not in log


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "no secret"),
        ({"FBSHARED_ENV_SECRET": "x" * 44}, "FBSHARED_EVENT_URL must be a URL"),
        (
            {"FBSHARED_ENV_SECRET": "x" * 44, "FBSHARED_EVENT_URL": "http://localhost:1"},
            "FBSHARED_STREAMING_URL must be a URL",
        ),
    ],
)
def test_an_invalid_configuration_ends_it_with_one_line(environment: dict[str, str], message: str) -> None:
    """Exit code 2, and a line that names the field."""
    with agent(**environment) as process:
        _, log = process.communicate(timeout=20)

    assert 2 == process.returncode
    assert 1 == len(log.splitlines())
    assert message in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_before_there_is_data_too(number: signal.Signals, server: FeatBitServer) -> None:
    """An agent that never connected ends with 0 and says that it is stopping; its log is one line for each thing."""
    environment = environment_of(server)
    server.stop()
    with agent(**environment) as process:
        assert eventually(lambda: [region.sync_state for region in read_regions()] == ["interrupted"])
        process.send_signal(number)
        _, log = process.communicate(timeout=20)

    assert 0 == process.returncode
    assert "stopping" in log
    assert "ready" not in log
    assert 1 == log.count("no connection to FeatBit")
    assert "Traceback" not in log
    assert all(line[:2] == "20" for line in log.splitlines()), log


def test_scripts_can_wait_for_it(server: FeatBitServer) -> None:
    """``fbshared status`` answers 3 before the agent is there, 0 once it is in sync, and 1 after it has gone."""

    def status() -> int:
        return subprocess.run([sys.executable, "-m", "fbshared", "status"], stdout=subprocess.DEVNULL).returncode

    codes = [status()]
    with agent(**environment_of(server)) as process:
        codes.append(0 if eventually(lambda: status() == 0) else -1)
        process.terminate()
        process.wait(20)
    codes.append(status())

    assert [3, 0, 1] == codes


def test_an_agent_that_is_killed_is_replaced(server: FeatBitServer) -> None:
    """The one that stood by leads, and the application that never does gets its updates and delivers its events."""
    with (
        agent(**environment_of(server)) as first,
        follower(server) as client,
        agent(**environment_of(server)) as second,
    ):
        assert eventually(lambda: second.pid in read_regions()[0].members)
        first.kill()
        first.wait(20)
        led = eventually(lambda: read_regions()[0].leader_pid == second.pid and read_regions()[0].well)
        server.put_flag(flag("beta", serve=False))
        updated = eventually(lambda: client.variation("beta", USER, "none") is False)
        delivered = client.flush(20)
        followers = [ring.role for ring in read_regions()[0].rings if ring.pid == os.getpid()]

    assert led
    assert updated
    assert delivered
    assert ["follower"] == followers
    assert 1 == server.max_open_connections


def test_the_most_talkative_log_holds_no_secret(server: FeatBitServer) -> None:
    """At DEBUG, that of all libraries included, there is neither the secret nor a token made of it, nor a user."""
    command = [sys.executable, "-c", TALKATIVE]
    with running(command, environment_of(server)) as process, follower(server) as client:
        client.variation("beta", {"key": "a-user-s-key", "name": "Their Name"}, "none")
        delivered = client.flush(20)
        server.drop_connections(1011)
        again = server.wait_for(lambda s: len(s.connections) == 2 and s.open_connections == 1, 20)
        process.terminate()
        _, log = process.communicate(timeout=20)

    assert delivered
    assert again
    assert "DEBUG" in log
    for private in (server.secret, server.secret[:20], "a-user-s-key", "Their Name", "token="):
        assert private not in log


TALKATIVE = """
import logging
from fbshared.cli import main
logging.basicConfig(level=logging.DEBUG)
raise SystemExit(main(["agent"]))
"""


def test_a_directory_that_cannot_be_used_ends_it_with_one_line(server: FeatBitServer, tmp_path: Path) -> None:
    """Exit code 2, and the path: it is a file, or is open to others."""
    file = tmp_path / "file"
    file.touch()
    home = tmp_path / f"fbshared-{os.geteuid()}"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    for directory in (file, tmp_path):
        with agent("--directory", str(directory), **environment_of(server)) as process:
            _, log = process.communicate(timeout=20)

        assert 2 == process.returncode
        assert 1 == len(log.splitlines()), log
        assert str(directory) in log


def test_a_secret_file_that_holds_none_ends_it_with_one_line(tmp_path: Path) -> None:
    """Exit code 2, and nothing of the content."""
    for name, content in (("empty", b"\n"), ("binary", b"\xff\xfe\x00secret"), ("odd", "schlüssel".encode())):
        file = tmp_path / name
        file.write_bytes(content)
        with agent("--secret-file", str(file)) as process:
            _, log = process.communicate(timeout=20)

        assert 2 == process.returncode
        assert 1 == len(log.splitlines()), log
        assert "sch" not in log


def test_the_settings_are_those_of_an_application(server: FeatBitServer, tmp_path: Path) -> None:
    """It reads all variables that ``Config.from_env`` reads, so both meet in one region; it leads all the same."""
    file = tmp_path / "secret"
    file.write_text(server.secret)
    variables = environment_of(server) | {
        "FBSHARED_ENV_SECRET": "",
        "FBSHARED_ENV_SECRET_FILE": str(file),
        "FBSHARED_ROLE": "follower",
        "FBSHARED_EVENTS_FLUSH_INTERVAL": "0.05",
    }
    with agent(**variables) as process, FBClient(Config.from_env(variables), start_wait=30) as client:
        value = client.variation("beta", USER, "none")
        delivered = client.flush(30)
        (region,) = read_regions()

    assert (True, True) == (value, delivered)
    assert process.pid == region.leader_pid


def test_an_agent_for_a_file(tmp_path: Path) -> None:
    """It watches a bootstrap for the applications beside it; neither secret nor URL is needed."""
    file = tmp_path / "flags.json"
    file.write_text(json.dumps(bootstrap([flag("beta")])))
    config = Config.from_env({"FBSHARED_DATA_FILE": str(file)}, role="follower")
    with agent("--data-file", str(file)) as process, FBClient(config, start_wait=30) as client:
        before = client.variation("beta", USER, "none")
        file.write_text(json.dumps(bootstrap([flag("beta", serve=False)])))
        changed = eventually(lambda: client.variation("beta", USER, "none") is False)
        (region,) = read_regions()
        process.terminate()
        code = process.wait(30)

    assert before is True
    assert changed
    assert process.pid == region.leader_pid
    assert 0 == code


def test_an_agent_is_not_offline(server: FeatBitServer) -> None:
    """It would lead nothing: exit code 2 and one line."""
    with agent(FBSHARED_OFFLINE="1", **environment_of(server)) as process:
        _, log = process.communicate(timeout=20)

    assert 2 == process.returncode
    assert "offline" in log.splitlines()[-1]
