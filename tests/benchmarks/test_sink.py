"""The server that counts the benchmark's events tells each of them from the others."""

from __future__ import annotations

import json
import socket
import time
from urllib.request import Request, urlopen

from tests.benchmarks.crowd.sink import counted, numbers_of, sink

LIMIT = 20.0  # seconds


def body(*users: str) -> bytes:
    return json.dumps(
        [{"user": {"keyId": user}, "variations": [{"featureFlagKey": "flag"}]} for user in users]
    ).encode()


def post(url: str, content: bytes) -> None:
    urlopen(Request(f"{url}/insights", content)).close()


def test_counts_events() -> None:
    """It knows how many events came and when, and of each user of a name how many."""
    with sink(users=True) as url:
        began = time.monotonic_ns()
        post(url, body("one-0", "one-1", "two-0"))
        post(url, body("one-1"))
        events, at = counted(url)

        assert 4 == events
        assert began < at < time.monotonic_ns()
        assert {0: 1, 1: 2} == numbers_of(url, "one")
        assert {0: 1} == numbers_of(url, "two")
        assert {} == numbers_of(url, "three")


def test_half_a_request() -> None:
    """What a sender was killed in the middle of has not arrived."""
    with sink(users=True) as url:
        content = body("one-0", "one-1")
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=LIMIT) as sender:
            sender.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content[:-1]))
            sender.shutdown(socket.SHUT_WR)
            while sender.recv(1024):
                pass

        assert {} == numbers_of(url, "one")
        assert 0 == counted(url)[0]
