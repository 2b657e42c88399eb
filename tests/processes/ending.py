"""Puts events for some users, says so, and comes to its end in the way that the test names."""

import atexit
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from worker import client_of, user_of

from fbshared import FBClient

EVENTS = 20


def stop(clients: list[FBClient]) -> None:
    """Stop all, the first of them twice; the seconds of each."""
    seconds = []
    for client in [*clients, clients[0]]:
        before = time.monotonic()
        client.stop()
        seconds.append(round(time.monotonic() - before, 3))
    print(json.dumps(seconds), flush=True)


def in_a_handler(_: list[FBClient]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("waiting", flush=True)
    signal.pause()


def by_default(_: list[FBClient]) -> None:
    print("waiting", flush=True)
    signal.pause()


def interrupted(_: list[FBClient]) -> None:
    try:
        by_default(_)
    except KeyboardInterrupt:
        sys.exit(0)


def in_a_thread(_: list[FBClient]) -> None:
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()


def at_work(clients: list[FBClient]) -> None:
    """Threads evaluate while the interpreter shuts down."""
    for _ in range(4):
        threading.Thread(target=work, args=(clients[0],), daemon=True).start()


def work(client: FBClient) -> None:
    while True:
        client.variation("load", user_of("at-work"), None)


def without_hooks(_: list[FBClient]) -> None:
    atexit._clear()


ENDS: dict[str, Callable[[list[FBClient]], None]] = {
    "stop": stop,
    "ordinary": lambda _: None,
    "in a handler": in_a_handler,
    "by default": by_default,
    "interrupted": interrupted,
    "in a thread": in_a_thread,
    "at work": at_work,
    "without hooks": without_hooks,
    "at once": lambda _: os._exit(0),
}


def slow_name(*_: Any, **__: Any) -> Any:
    """A resolver that nobody answers."""
    time.sleep(60)
    raise socket.gaierror


def main() -> None:
    settings, how, prefix = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    variants = [settings]
    if settings.get("several"):
        # Another spelling of the same server is another environment.
        urls = {key: settings[key].replace("127.0.0.1", "localhost") for key in ("event_url", "streaming_url")}
        variants.append({**settings, **urls})
    clients = [client_of(variant) for variant in variants]
    print("ready", flush=True)
    sys.stdin.readline()
    if settings.get("slow_names"):
        socket.getaddrinfo = slow_name
    for client in clients:
        for number in range(EVENTS):
            # Which needs no data.
            client.identify(user_of(f"{prefix}-{number}"))
    ENDS[how](clients)


main()
