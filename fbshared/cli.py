"""The command line: ``agent``, ``demo``, ``serve`` and ``status``.

Exit codes: 0 all is well, 1 something is wrong, 2 the command cannot run as asked, 3 (``status``) no region.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fbshared import __version__
from fbshared.agent import run_agent
from fbshared.config import Config
from fbshared.errors import FBSharedError
from fbshared.sources import FileWatch
from fbshared.status import RegionStatus, read_regions

if TYPE_CHECKING:
    from fbshared.testing import Connection, FeatBitServer

WELL, WRONG, UNUSABLE, NO_REGION = 0, 1, 2, 3


class UnusableError(Exception):
    """The command cannot run as asked; the message is the one line to print."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (UnusableError, FBSharedError, OSError) as error:
        print(f"fbshared: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of the usage before it."""
        self.exit(UNUSABLE, f"fbshared: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("fbshared", description="FeatBit flags in shared memory.")
    parser.add_argument("--version", action="version", version=f"fbshared {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    agent = commands.add_parser("agent", help="lead and nothing else, in the foreground", epilog=_AGENT)
    agent.add_argument("--event-url", help="where events go ($FBSHARED_EVENT_URL)")
    agent.add_argument("--streaming-url", help="where data comes from ($FBSHARED_STREAMING_URL)")
    agent.add_argument("--secret-file", type=Path, help="a file that holds the secret ($FBSHARED_ENV_SECRET)")
    agent.add_argument("--data-file", type=Path, help="a bootstrap to watch instead of a URL ($FBSHARED_DATA_FILE)")
    agent.add_argument("--directory", type=Path, help="where the region lives ($FBSHARED_DIR or the default)")
    agent.set_defaults(command=_agent)

    demo = commands.add_parser("demo", help="show the promises with gunicorn and a local FeatBit server")
    demo.add_argument("--data", type=Path, metavar="FILE", help="a FeatBit bootstrap (JSON), else sample data")
    demo.set_defaults(command=_demo)

    serve = commands.add_parser("serve", help="run a local FeatBit server for development")
    serve.add_argument("file", type=Path, metavar="FILE", help="a FeatBit bootstrap (JSON); changes of it are pushed")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    serve.add_argument("--port", type=int, default=0, help="the port to listen on (any free one)")
    serve.add_argument("--secret", help="the environment secret to expect (a new one)")
    serve.set_defaults(command=_serve)

    status = commands.add_parser("status", help="show the regions of this host: leader, data, members")
    status.add_argument("--directory", type=Path, help="the configured directory ($FBSHARED_DIR or the default)")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(command=_status)
    return parser


_AGENT = "All other settings come from environment variables, as in Config.from_env."


def _need(*modules: str, extra: str) -> None:
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UnusableError(f"{' and '.join(missing)} missing: pip install 'fbshared[{extra}]'")


def _agent(options: argparse.Namespace) -> int:
    # The secret is no argument of its own: everybody on the host can read those.
    given = {
        "FBSHARED_ENV_SECRET_FILE": options.secret_file,
        "FBSHARED_EVENT_URL": options.event_url,
        "FBSHARED_STREAMING_URL": options.streaming_url,
        "FBSHARED_DATA_FILE": options.data_file,
        "FBSHARED_DIR": options.directory,
    }
    environ = os.environ | {name: str(value) for name, value in given.items() if value}
    if options.secret_file:
        environ.pop("FBSHARED_ENV_SECRET", None)
    # An application's settings say "follower" where an agent runs beside it.
    config = Config.from_env(environ, role="auto")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run_agent(config)
    return WELL


def _demo(options: argparse.Namespace) -> int:
    _need("aiohttp", "gunicorn", extra="demo")
    from fbshared.demo.run import run

    return run(options.data)


def _serve(options: argparse.Namespace) -> int:
    _need("aiohttp", extra="testing")
    from fbshared.testing import FeatBitServer

    if not 0 <= options.port <= 65535:
        raise UnusableError(f"--port {options.port} is not a port")
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        server = FeatBitServer(options.file, host=options.host, port=options.port, secret=options.secret)
    except ValueError as error:
        raise UnusableError(error) from error
    with server:
        _print_address(options.file, server)
        log, edits = ServerLog(server), FileEdits(server, options.file)
        while not stopping.wait(0.2):
            edits.push()
            log.print_news()
        log.print_news()
    print("stopped", flush=True)
    return WELL


def _print_address(file: Path, server: "FeatBitServer") -> None:
    data = json.loads(server.message())["data"]
    print(f"{file.name}: {len(data['featureFlags'])} flags, {len(data['segments'])} segments")
    print(f"env_secret     {server.secret}")
    print(f"streaming_url  {server.streaming_url}")
    print(f"event_url      {server.event_url}")
    print("Stop with Ctrl-C.", flush=True)


class FileEdits:
    """What somebody changes in the served file."""

    def __init__(self, server: "FeatBitServer", file: Path) -> None:
        self._server = server
        self._file = file
        self._watch = FileWatch(file)
        self._trouble = self._told = ""

    def push(self) -> None:
        """Push every changed item, or say once why the file cannot be used."""
        before = self._trouble
        try:
            content = self._watch.changed()
            if content is not None:
                self._trouble = self._told = ""
                self._adopt(content)
        except (OSError, ValueError) as error:
            self._trouble = str(error)
        # Once is no trouble: somebody may be in the middle of writing it.
        if self._trouble == before != self._told:
            self._told = self._trouble
            print(f"{self._file.name} is not used, the former data stays: {self._trouble}", flush=True)

    def _adopt(self, content: bytes) -> None:
        data = json.loads(content)
        if not isinstance(data, dict):
            raise ValueError("it holds no object")
        for name in self._server.adopt(data):
            print(f"{self._file.name}: {name} changed", flush=True)


class ServerLog:
    """One line for each new connection, each ended one and each lot of events."""

    def __init__(self, server: "FeatBitServer") -> None:
        self._server = server
        self._opened = 0
        self._events = 0
        self._living: list[Connection] = []

    def print_news(self) -> None:
        """Say what happened since the last time."""
        connections = self._server.connections
        for connection in connections[self._opened :]:
            print(f"connection {connection.number} from {connection.headers.get('User-Agent', 'somebody')}")
        self._living += connections[self._opened :]
        self._opened = len(connections)
        for connection in [c for c in self._living if c.closed_at is not None]:
            code = f" with code {connection.close_code}" if connection.close_code else ""
            print(f"connection {connection.number} ended{code}")
            self._living.remove(connection)
        if events := self._server.event_count - self._events:
            print(f"{events} events received, {self._server.event_count} in all")
            self._events += events
        sys.stdout.flush()


def _status(options: argparse.Namespace) -> int:
    regions = read_regions(options.directory)
    if options.json:
        print(json.dumps([region.to_json_dict() for region in regions], indent=2))
    elif not regions:
        print("No region here: no process of this user holds FeatBit flags in this directory.")
    else:
        print("\n\n".join(describe(region) for region in regions))
    if not regions:
        return NO_REGION
    return WELL if all(region.well for region in regions) else WRONG


def describe(region: RegionStatus) -> str:
    """A region in plain words, a line for each thing and a table of its members' rings."""
    leader = f"process {region.leader_pid}" if region.leader_pid else "none"
    if region.leader_pid and not region.leader_alive:
        leader += ", dead"
    age = "no data yet" if region.data_age_s is None else f"confirmed {region.data_age_s:.1f} s ago"
    if region.restored:
        age = f"a persisted copy, {age}"
    way = ", polling" if region.transport == "polling" else ""
    status = region.delivery_status
    lost = f", {region.events_lost:,} lost for want of a ring" if region.events_lost else ""
    proxy = " of the proxy" if status == 407 else ""
    refused = f" (HTTP {status}{proxy})" if status and not 200 <= status < 300 else ""
    lines = [
        f"region    {region.path}",
        f"leader    {leader}; epoch {region.epoch}",
        f"sync      {region.sync_state}{way}",
        f"data      {region.flags} flags, {region.segments} segments; generation {region.generation}; {age}",
        f"delivery  {region.delivery_state}{refused}; {region.events_delivered:,} events delivered{lost}",
        f"members   {len(region.members)}",
    ]
    if why := region.why_stale():
        lines.insert(3, f"why       {why}")
    if region.differing:
        lines.append(f"differing {', '.join(map(str, region.differing))}: settings that are not the leader's or most")
    if region.rings:
        lines.append(
            f"  {'process':<16}{'role':<10}{'waiting':>10}{'bytes':>12}{'delivered':>12}{'dropped':>10}{'room':>12}"
        )
    for ring in region.rings:
        process = f"{ring.pid}{'' if ring.alive else ' dead'}"
        lines.append(
            f"  {process:<16}{ring.role:<10}{ring.backlog_events:>10,}{ring.backlog_bytes:>12,}"
            f"{ring.delivered:>12,}{ring.dropped:>10,}{ring.capacity_bytes:>12,}"
        )
    return "\n".join(lines)
