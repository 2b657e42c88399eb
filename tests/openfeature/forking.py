"""Registers a provider, forks a child, and lets the child say what it sees, a line of JSON at a time.

Run as ``python forking.py SECRET EVENT_URL STREAMING_URL SOURCE``. The source is ``config`` or ``client``; with
``unready`` the child is forked while a thread of its parent waits for data, and with ``late`` it does nothing before
its parent has data.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent
from openfeature.provider import ProviderStatus

from fbshared import Config, FBClient
from fbshared.openfeature import FeatBitProvider

LIMIT = 20.0


def say(**what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def until(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + LIMIT
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(condition())


def child() -> None:
    """Begin with nothing but an evaluation, as a web server's worker does."""
    client = api.get_client()
    somebody = EvaluationContext("child")

    def value() -> str:
        return client.get_string_value("changing-flag", "default", somebody)

    first = value()
    say(first=first, status=client.get_provider_status().name)
    ready = until(lambda: value() != "default" and client.get_provider_status() is ProviderStatus.READY)
    changed: list[object] = []
    api.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, lambda details: changed.append(details.flags_changed))
    say(ready=ready, value=value())
    until(lambda: value() == "bar" and changed)
    say(value=value(), changed=changed)
    say(stale=until(lambda: client.get_provider_status() is ProviderStatus.STALE), value=value())
    api.shutdown()
    say(quiet=until(lambda: all(thread.name != "fbshared-watcher" for thread in threading.enumerate())))


def main() -> None:
    urls, source = sys.argv[1:4], sys.argv[4]
    config = Config(*urls, streaming_first_retry_delay=0.05, events_flush_interval=0.02)
    provider = FeatBitProvider(FBClient(config) if source == "client" else config)
    if source in ("unready", "late"):
        api.set_provider(provider)
        until(lambda: provider.client)
    else:
        api.set_provider_and_wait(provider)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.read(reading, 1)
            child()
            code = 0
        finally:
            os._exit(code)
    if source == "late":
        say(forked=True)
        until(lambda: api.get_client().get_provider_status() is ProviderStatus.READY)
    os.write(writing, b"!")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    api.shutdown()
    sys.exit(status)


if __name__ == "__main__":
    main()
