"""A server that takes events and answers at once, in a process of its own: it counts and looks at nothing else.

Where it is told to look at users, it also counts how often events came of each user ``NAME-NUMBER``, by name.
"""

from __future__ import annotations

import contextlib
import json
import re
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).parents[3]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


class Counts(socketserver.ThreadingTCPServer):
    """How many events came so far, and when the last ones did."""

    daemon_threads = True
    allow_reuse_address = True
    mutex = threading.Lock()
    events = 0
    at = 0

    def __init__(self, users: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.users = re.compile(rb'"keyId": ?"(\w+)-(\d+)"') if users else None
        self.numbers: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def take(self, body: bytes) -> None:
        """Count these events."""
        events = body.count(b'"featureFlagKey"')
        found = self.users.findall(body) if self.users else ()
        with self.mutex:
            if events:
                self.events += events
                self.at = time.monotonic_ns()
            for name, number in found:
                self.numbers[name.decode()][int(number)] += 1

    def told(self, name: str) -> bytes:
        """How often each number of a name came; without a name, how many events, and when the last ones."""
        with self.mutex:
            return json.dumps(self.numbers[name] if name else [self.events, self.at]).encode()


class Handler(socketserver.StreamRequestHandler):
    """One connection, kept alive."""

    server: Counts
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = self.rfile.read(length)
            if len(body) == length:  # else its sender died
                self.server.take(body)
            told = self.server.told(line.split()[1][1:].decode()) if line.startswith(b"GET") else b""
            self.wfile.write(ANSWER % (len(told), told))


@contextlib.contextmanager
def sink(*, users: bool = False) -> Iterator[str]:
    """The URL of a new one, which looks at users or does not."""
    command = [sys.executable, "-m", "tests.benchmarks.crowd.sink", *(["users"] if users else [])]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdin is not None
        assert popen.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(popen.stdout.readline())}"
        finally:
            popen.stdin.close()


def counted(url: str) -> tuple[int, int]:
    """How many events it has, and when the last ones came, in nanoseconds of the monotonic clock."""
    with urlopen(url) as answer:
        events, at = json.load(answer)
    return events, at


def numbers_of(url: str, name: str) -> dict[int, int]:
    """How many events came of each user of a name, by the user's number."""
    with urlopen(f"{url}/{name}") as answer:
        return {int(number): times for number, times in json.load(answer).items()}


if __name__ == "__main__":
    with Counts(users="users" in sys.argv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()
