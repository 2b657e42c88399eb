"""Forks while its leader's libraries are being imported, for which this one takes long; says what came of it.

The child evaluates, imports the same library itself, and leaves an event behind.
"""

import importlib.abc
import json
import os
import sys
import threading
import time
from typing import Any

from worker import client_of, user_of

LONG = 1.5  # seconds, more than any fork waits for what is no import
LIMIT = 20.0


class Slowly(importlib.abc.MetaPathFinder):
    """Finds nothing, and takes its time where it is asked for one module."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = threading.Event()

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name == self.name and not self.asked.is_set():
            self.asked.set()
            time.sleep(LONG)


def seen(client: Any, user: str) -> Any:
    deadline = time.monotonic() + LIMIT
    while (value := client.variation("load", user_of(user), None)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


def main() -> None:
    finder = Slowly("requests")
    sys.meta_path.insert(0, finder)
    client = client_of(json.loads(sys.argv[1]))
    if not finder.asked.wait(LIMIT):
        sys.exit("nobody was elected")
    child = os.fork()
    if child == 0:
        value = seen(client, "child")
        __import__("requests")
        os._exit(0 if value == "one" else 1)
    value = seen(client, "parent")
    deadline = time.monotonic() + LIMIT
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            sys.exit("the child hangs")
        time.sleep(0.01)
    leads = client.is_leader
    client.stop()
    print(json.dumps([value, leads]))


if __name__ == "__main__":
    main()
