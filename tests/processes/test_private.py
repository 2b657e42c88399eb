"""Nothing that processes log, print, name or show holds a secret, a login or a user."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fbshared.core.addresses import streaming_url, token
from fbshared.core.wire import data_sync
from fbshared.leader.connection import Connection, Ended
from fbshared.leader.polling import Poll
from fbshared.leader.settings import ConnectionSettings, PollSettings
from fbshared.shm.region import now_ms
from fbshared.testing import FeatBitServer, flag
from tests.relays import ConnectProxy

if TYPE_CHECKING:
    pass

HERE = Path(__file__).parent
LOGIN = "canary-login", "canary-password"
HEADER = "canary-header"
USER = {"key": "canary-key", "name": "canary-name", "mail": "canary@example.org", "plan": "canary-plan"}
PIECE = 12  # a token is a secret with a time somewhere in it


def canaries(secret: str) -> set[str]:
    """What must not be found anywhere."""
    pieces = {secret[start : start + PIECE] for start in range(len(secret) - PIECE + 1)}
    encoded = base64.b64encode(":".join(LOGIN).encode()).decode()
    return {*pieces, *LOGIN, encoded, HEADER, *USER.values(), "token="}


def found_in(text: str, secret: str) -> set[str]:
    return {canary for canary in canaries(secret) if canary in text}


class Cage:
    """Real processes, of which everything is kept that they write."""

    def __init__(self, server: FeatBitServer, root: Path) -> None:
        self.server = server
        self.root = root
        self.said: list[str] = []
        self._running: list[subprocess.Popen[str]] = []

    def variables(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "FBSHARED_ENV_SECRET": self.server.secret,
            "FBSHARED_EVENT_URL": self.server.event_url,
            "FBSHARED_STREAMING_URL": self.server.streaming_url,
            "FBSHARED_EVENTS_FLUSH_INTERVAL": "0.1",
            "FBSHARED_PERSISTENCE_DIR": str(self.root / "kept"),
            "CANARY_USER": json.dumps(USER),
            "CANARY_HEADER": HEADER,
            **more,
        }

    def start(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        log = (self.root / f"log-{len(self._running)}").open("w+")
        with log:
            made = subprocess.Popen(
                [sys.executable, *command], env=self.variables(**variables), stderr=log, bufsize=1, **pipes
            )
        self._running.append(made)
        return made

    def application(self, **variables: str) -> subprocess.Popen[str]:
        made = self.start(str(HERE / "canaries.py"), **variables)
        self.hear(made, "ready")
        return made

    def show(self, process: subprocess.Popen[str], word: str) -> None:
        """Let an application work and show what it holds."""
        assert process.stdin is not None
        process.stdin.write(word + "\n")
        self.hear(process, word)

    def hear(self, process: subprocess.Popen[str], word: str) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line == word + "\n":
                return
            self.said.append(line)
        pytest.fail("it ended early:\n" + self.logs())

    def status(self) -> str:
        """What anybody is shown of the region and of the processes: status, names of files, arguments."""
        command = [sys.executable, "-m", "fbshared", "status"]
        shown = [subprocess.run([*command, *more], capture_output=True, text=True).stdout for more in ([], ["--json"])]
        arguments = [Path(f"/proc/{made.pid}/cmdline").read_text() for made in self._running if made.poll() is None]
        names = [str(path) for path in self.root.rglob("*")]
        assert all("canaries.py" in each or "fbshared" in each for each in arguments)
        return "\n".join([*shown, *arguments, *names])

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.root.glob("log-*")))

    def end(self) -> None:
        for made in self._running:
            if made.poll() is None:
                made.kill()
            made.communicate()


@pytest.fixture
def cage(server: FeatBitServer, shared_directory: Path) -> Iterator[Cage]:
    made = Cage(server, shared_directory)
    try:
        yield made
    finally:
        made.end()


AGENT = """
import logging
from fbshared.cli import main
logging.basicConfig(level=logging.DEBUG)
raise SystemExit(main(["agent"]))
"""


def test_what_all_say_when_all_is_well_and_when_it_is_not(cage: Cage, server: FeatBitServer) -> None:
    """Agent, follower and applications at DEBUG, all libraries' loggers included: in sync, cut off, refused."""
    agent = cage.start("-c", AGENT)
    assert server.wait_for(lambda s: s.open_connections == 1, 20)
    several = [cage.application(), cage.application(FBSHARED_ROLE="follower")]
    assert server.wait_for(lambda s: s.event_count > 0)
    shown = [cage.status()]
    server.put_flag(flag("load", "string", ["one", "two"], serve="two"))
    server.send_raw("canary-free nonsense")
    server.fail_insights_forever(403)
    server.drop_connections(1011)
    for process in several:
        cage.show(process, "cut off")
    agent.kill()
    assert server.wait_for(lambda s: len(s.connections) > 2, 20)
    server.refuse(4003)
    server.drop_connections(1011)
    assert server.wait_for(lambda s: s.connections[-1].close_code == 4003, 20)
    for process in several:
        cage.show(process, "refused")
    shown.append(cage.status())
    cage.end()
    log, said = cage.logs(), "".join(cage.said)

    assert [] == [word for word in ("DEBUG:urllib3", "refuses events", "refuses this environment") if word not in log]
    assert [] == [word for word in ("FBClient(", "Config(", "DutySettings(", "<FBUser", "Sync ") if word not in said]
    assert set() == found_in(log, server.secret)
    assert set() == found_in(said, server.secret)
    assert set() == found_in("\n".join(shown), server.secret)


@pytest.mark.parametrize("where", ["beside", "inside"])
def test_what_is_said_where_nothing_gets_through(cage: Cage, server: FeatBitServer, where: str) -> None:
    """A proxy that refuses and then is gone, a login in every URL: neither log nor objects show it or a token."""
    login = "{}:{}@".format(*LOGIN)
    with ConnectProxy(("somebody", "else")) as proxy:
        host = f"127.0.0.1:{proxy.port}"
        http = (
            {"http_proxy": f"http://{host}", "http_proxy_auth": LOGIN}
            if where == "beside"
            else {"http_proxy": f"http://{login}{host}"}
        )
        urls = {
            "FBSHARED_STREAMING_URL": server.streaming_url.replace("://", f"://{login}"),
            "FBSHARED_EVENT_URL": server.event_url.replace("://", f"://{login}"),
        }
        hasty = {"CANARY_WAIT": "1", "FBSHARED_STREAMING_FIRST_RETRY_DELAY": "0.1"}
        process = cage.application(CANARY_HTTP=json.dumps(http), **hasty, **urls)
        cage.show(process, "refused")
        tried = proxy.refused
    cage.show(process, "gone")
    shown = cage.status()
    cage.end()
    log, said = cage.logs(), "".join(cage.said)

    assert tried >= 2
    assert [] == [word for word in ("DEBUG:websocket", "no connection to FeatBit: proxy") if word not in log]
    assert [] == [word for word in ("DutySettings(", "HTTPConfig(", "Sync ") if word not in said]
    assert set() == found_in(log, server.secret)
    assert set() == found_in(said, server.secret)
    assert set() == found_in(shown, server.secret)


def failing(server: FeatBitServer, proxy: ConnectProxy) -> dict[str, Callable[[], object]]:
    """Ways to reach FeatBit that all fail, each with a token or a login in its hands."""
    url = streaming_url(server.streaming_url, token(server.secret, now_ms(), 0.5))
    options: dict[str, Any] = {"user_agent": "test/1", "headers": {"X-Canary": HEADER}}
    plain = ConnectionSettings(**options)
    host, port = "127.0.0.1", str(proxy.port)
    through = replace(plain, proxy={"http_proxy_host": host, "http_proxy_port": port, "http_proxy_auth": LOGIN})
    poll = PollSettings(
        url=f"http://{LOGIN[0]}:{LOGIN[1]}@{host}:1/latest",
        secret=server.secret,
        proxies={"http": f"http://{LOGIN[0]}:{LOGIN[1]}@{host}:{port}"},
        **options,
    )
    gone = replace(poll, proxies={"http": f"http://{LOGIN[0]}:{LOGIN[1]}@{host}:1"})
    return {
        "nobody there": lambda: Connection(url.replace(f":{server.port}", ":1"), plain),
        "no TLS": lambda: Connection(url.replace("ws://", "wss://"), plain),
        "no websocket": lambda: Connection(url.replace("/streaming", "/health"), plain),
        "no address": lambda: Connection(url.replace(f":{server.port}", ":port"), plain),
        "proxy refuses": lambda: Connection(url, through),
        "poll refused": lambda: asked(poll),
        "proxy gone": lambda: asked(gone),
        "no host": lambda: asked(replace(poll, url=poll.url.replace(host, "a..b"), proxies={})),
    }


def asked(settings: PollSettings) -> None:
    Poll(settings, lambda: 0, lambda: True).send(data_sync(0))


def test_exceptions(server: FeatBitServer) -> None:
    """Whatever fails on the way to FeatBit, the exception with its traceback and all its causes shows nothing."""
    shown = {}
    with ConnectProxy(("somebody", "else")) as proxy:
        for way, fail in failing(server, proxy).items():
            with pytest.raises(Ended) as caught:
                fail()
            shown[way] = "".join(traceback.format_exception(caught.value)) + repr(caught.value)

    assert {way: set() for way in shown} == {way: found_in(text, server.secret) for way, text in shown.items()}
    assert all("Ended" in text for text in shown.values())
