"""A server that takes events and answers at once, in a process of its own: it counts and looks at nothing else."""

from __future__ import annotations

import contextlib
import json
import socketserver
import subprocess
import sys
import threading
import time
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
            events = self.rfile.read(length).count(b'"featureFlagKey"')
            with self.server.mutex:
                if events:
                    self.server.events += events
                    self.server.at = time.monotonic_ns()
                told = json.dumps([self.server.events, self.server.at]).encode() if line.startswith(b"GET") else b""
            self.wfile.write(ANSWER % (len(told), told))


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """The URL of a new one."""
    command = [sys.executable, "-m", "tests.benchmarks.crowd.sink"]
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


if __name__ == "__main__":
    with Counts(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()
