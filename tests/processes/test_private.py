"""Nothing that processes log, print, name or show holds a secret, a login or a user; nobody else gets at the files."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fbshared import FBClient, RegionError
from fbshared.core.wire import data_sync, streaming_url, token
from fbshared.leader.connection import Connection, ConnectionSettings, Ended
from fbshared.leader.polling import Poll, PollSettings
from fbshared.shm.control import LAYOUT
from fbshared.shm.region import Region, now_ms
from fbshared.testing import FeatBitServer, flag
from tests.relays import ConnectProxy

if TYPE_CHECKING:
    from tests.processes.conftest import Crew

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


# Nobody else gets at the files


def modes_below(root: Path) -> dict[str, tuple[int, int, int]]:
    """Kind, mode and owner of all that is there, by what it is."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        name = path.name.partition(".")[0]
        found[name] = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid
    return found


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_modes_and_owners(crew: Crew, tmp_path: Path, mask: int) -> None:
    """All that members make is for their user alone, whatever the umask says: the region, and the persisted copy."""
    kept = tmp_path / "kept"
    before = os.umask(mask)
    try:
        crew.start(3, persistence_dir=str(kept))
        crew.leader()
        crew.processes[0].ask("put", "user", 20)
        assert crew.until(lambda: any(kept.glob("*.data")), 10)
        crew.server.put_flag(flag("load", "string", ["one", "two"], serve="two"))
        crew.processes[1].ask("wait_value", "load", "two", 10.0)
    finally:
        os.umask(before)
    home = crew.path.parent
    found = modes_below(home)
    copy = modes_below(kept)

    assert {"bell", "control", "leader", "ring", "snapshot"} < found.keys()
    assert [0o700] * 2 == [stat.S_IMODE(path.stat().st_mode) for path in (home, kept)]
    assert {0o700} == {mode for kind, mode, _ in found.values() if kind == stat.S_IFDIR}
    assert {0o600} == {mode for kind, mode, _ in (*found.values(), *copy.values()) if kind != stat.S_IFDIR}
    assert {os.geteuid()} == {owner for _, _, owner in (*found.values(), *copy.values())}


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
NOBODY = 65534


def as_nobody(action: Callable[[], object]) -> str:
    """What another user gets from this, who may not enter this user's own directories: its text, or its error's."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                text = f"got {action()}"
            except BaseException as error:  # noqa: BLE001 - the parent is told
                text = f"{type(error).__name__}: {error}"
            os.write(write, text.encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


@root_only
def test_another_user(crew: Crew) -> None:
    """Nobody else lists, reads, writes or removes anything of a region, although all may enter its root."""
    crew.directory.chmod(0o1777)
    crew.start(2)
    crew.leader()
    home, region = crew.path.parent, crew.path
    names = [region / name for name in crew.files()]
    attempts: list[Callable[[], object]] = [
        *(lambda path=path: os.listdir(path) for path in (home, region)),  # type: ignore[misc]
        *(lambda path=path: os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in names),  # type: ignore[misc]
        *(lambda path=path: os.open(path, os.O_WRONLY | os.O_NONBLOCK) for path in names),  # type: ignore[misc]
        *(lambda path=path: os.unlink(path) for path in names),  # type: ignore[misc]
        lambda: os.rename(home, crew.directory / "moved"),
        lambda: os.mkdir(region / "new"),
    ]
    answers = [as_nobody(attempt) for attempt in attempts]

    assert "got" in as_nobody(lambda: os.listdir(crew.directory))
    assert len(names) >= 5
    assert {"PermissionError"} == {answer.partition(":")[0] for answer in answers}


@root_only
def test_what_another_user_made_before(shared_directory: Path) -> None:
    """A home or a region that somebody else put there is refused, and the error names it; so for every user."""
    shared_directory.chmod(0o1777)
    home = shared_directory / f"fbshared-{NOBODY}"
    home.mkdir(mode=0o700)
    mine = shared_directory / f"fbshared-{os.geteuid()}"
    mine.mkdir(mode=0o700)
    region = mine / f"{LAYOUT}-digest"
    region.mkdir(mode=0o700)
    os.chown(region, NOBODY, NOBODY)

    theirs = as_nobody(lambda: Region(str(shared_directory), "digest"))
    assert theirs.startswith("RegionError:")
    assert str(home) in theirs
    with pytest.raises(RegionError, match=f"belongs to another user.*{region}"):
        Region(str(shared_directory), "digest")
    os.chown(mine, NOBODY, NOBODY)
    with pytest.raises(RegionError, match=f"belongs to another user.*{mine}'"):
        Region(str(shared_directory), "digest")


@pytest.mark.parametrize("place", ["home", "region"])
@pytest.mark.parametrize("what", ["link", "open"])
def test_a_trap_for_an_application(crew: Crew, what: str, place: str) -> None:
    """A client is not made where a link leads elsewhere, or where others may write; the error names the path, and
    nothing is written there."""
    path = crew.path if place == "region" else crew.path.parent
    path.parent.mkdir(mode=0o700, exist_ok=True)
    elsewhere = crew.directory / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if what == "link":
        path.symlink_to(elsewhere)
    else:
        path.mkdir()
        path.chmod(0o777)
    with pytest.raises(RegionError, match=str(path)):
        FBClient(crew.config(), start_wait=0)

    assert [] == list(elsewhere.iterdir())
    assert [] == list(path.iterdir())


def become_pipes(directory: Path, names: list[str]) -> None:
    for name in names:
        (directory / name).unlink(missing_ok=True)
        os.mkfifo(directory / name, 0o600)


def test_pipes_in_a_running_region(crew: Crew) -> None:
    """Where files turn into pipes nobody waits for their other end: processes evaluate on, all data is published
    again, all meet in a new region, new processes start, and the status is told."""
    crew.start(2)
    crew.leader()
    before = {process.ask("value", "load") for process in crew.processes}
    become_pipes(crew.path, [*crew.files("snapshot."), "ring.0123456789abcdef", "leader.999.lock"])
    during = [process.ask("all_values", seconds=10.0) for process in crew.processes]
    republished = crew.until(lambda: crew.control().publication & 0xFF > 1, 10)
    become_pipes(crew.path, ["control"])
    after = {process.ask("value", "load", seconds=10.0) for process in crew.processes}
    crew.one()
    crew.server.put_flag(flag("load", "string", ["one", "two"], serve="two"))
    later = [process.ask("wait_value", "load", "two", 20.0) for process in crew.processes]

    assert {"one"} == before == after
    assert 2 == len(during)
    assert republished
    assert ["two"] * 3 == later


def test_the_status_of_pipes(crew: Crew) -> None:
    """Where nobody lives, and so nobody opens a pipe's other end, the status is told all the same."""
    crew.dismiss(crew.one())
    for names in ([*crew.files("ring."), *crew.files("snapshot.")], ["control"]):
        become_pipes(crew.path, names)
        shown = subprocess.run([sys.executable, "-m", "fbshared", "status"], capture_output=True, timeout=20)

        assert b"" == shown.stderr
        assert shown.returncode in (1, 3)
