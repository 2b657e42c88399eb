"""What no way to serve a host could do without, in the same run and the same directory: the limits of the host's rows.

Each is the least work of Python code that the figure beside it contains, done in one process with nothing around it. A
limit is not reachable. What has none: counts, such as connections and threads, whose goal says what is the least;
requests and processor time, which have the row without patches, or of a follower, beside them; what listeners are told,
of which ours choose to look every tenth of a second; and lost events.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from timeit import Timer
from typing import Any

import msgpack
import websocket

from fbshared.core.addresses import streaming_url, token
from tests.benchmarks.crowd.worker import USER

# Without these there is no mapped file, no message, no record, no thread and no log.
IMPORTS = "import json, logging, mmap, msgpack, threading, zlib"
ROUNDS = 9
_HALFWAY = 0.5
_SHOWN = {"featureFlagKey": "loud", "variation": {"id": "id", "value": "true", "reason": "none"}, "timestamp": "?"}
_PROPERTIES = [{"name": name, "value": value} for name, value in USER.items() if name not in ("key", "name")]
_INSIGHT = {  # an event for FeatBit, in which the key and the time are not known yet
    "user": {"keyId": "?", "name": USER["name"], "customizedProperties": _PROPERTIES},
    "variations": [_SHOWN],
}


@contextmanager
def connection() -> Iterator[Callable[[str], bytes]]:
    """Two ends of a TCP connection on this host: sends a text from one and receives it at the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        receiver = listener.accept()[0]

    def exchange(text: str) -> bytes:
        raw = text.encode()
        sender.sendall(raw)
        return receiver.recv(len(raw), socket.MSG_WAITALL)

    with sender, receiver:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield exchange


def packed(text: str | bytes) -> list[bytes]:
    """Read a message, and pack each of its flags."""
    return [msgpack.packb(each) for each in json.loads(text)["data"]["featureFlags"]]


def synchronisation(text: str) -> float:
    """Seconds of reading a full message, packing what it says, and one copy of that."""
    return _best(lambda: b"".join(packed(text)))


def memory(flags: Sequence[Any]) -> float:
    """Bytes of these flags, packed."""
    return float(sum(len(msgpack.packb(flag)) for flag in flags))


def first_look(directory: Path, flag: Any) -> float:
    """Milliseconds of opening and mapping a file, and unpacking one flag in it."""
    path = directory / "flag"
    path.write_bytes(msgpack.packb(flag))

    def look() -> None:
        fd = os.open(path, os.O_RDONLY)
        msgpack.unpackb(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
        os.close(fd)

    return _best(look) * 1000


def handshake(server: Any) -> float:
    """Milliseconds of a TCP connection and a websocket's handshake with this server."""
    opened = []

    def connect() -> None:
        url = streaming_url(server.streaming_url, token(server.secret, time.time_ns() // 1_000_000, _HALFWAY))
        opened.append(websocket.create_connection(url))

    took = _best(connect)
    for each in opened:
        each.shutdown()
    return took * 1000


def delivery(url: str, events: int, batch: int) -> tuple[float, float]:
    """Seconds, and of a processor, for each of so many events: unpacking it, putting its user's key and its time into
    a text that is known, and its part of a request that posts so many."""
    record = msgpack.packb([USER, "loud", "id", "true", time.time_ns()])
    before, between, behind = json.dumps(_INSIGHT).split('"?"')
    http = HTTPConnection(url.removeprefix("http://"))
    began, spent = time.perf_counter(), time.process_time()
    for first in range(0, events, batch):
        texts = []
        for _ in range(min(batch, events - first)):
            user, _, _, _, at = msgpack.unpackb(record)
            texts.append(f"{before}{quoted(user['key'])}{between}{at // 1_000_000}{behind}")
        http.request("POST", "/", f"[{','.join(texts)}]", {"Content-Type": "application/json"})
        http.getresponse().read()
    took = time.perf_counter() - began, time.process_time() - spent
    http.close()
    return took[0] / events, took[1] / events


def _best(function: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls, while no garbage is collected."""
    return min(Timer(function).repeat(ROUNDS, 1))
