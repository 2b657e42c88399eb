"""Forks without end, with a client that leads.

``hammer.py SETTINGS storm COUNT`` forks COUNT children in a row, which evaluate and exit; ``hammer.py SETTINGS steady``
forks twenty times a second until its input ends, and says when it saw a new value.
"""

import json
import os
import select
import signal
import sys
import time
from typing import Any

from worker import client_of, user_of

PATIENCE = 20.0  # seconds after which a child counts as hung


def fork(client: Any, name: str) -> int:
    """The exit code of a child that evaluated; 99 for one that hung."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if client.variation("load", user_of(name), None) is not None else 1)
    deadline = time.monotonic() + PATIENCE
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return 99
        time.sleep(0.0005)


def storm(client: Any, count: int) -> None:
    codes = [fork(client, f"storm-{number}") for number in range(count)]
    report = {"codes": sorted(set(codes)), "leads": client.is_leader, "flushed": client.flush(40)}
    print(json.dumps(report), flush=True)


def steady(client: Any) -> None:
    seen = None
    print(json.dumps({"leads": client.is_leader}), flush=True)
    while not select.select([sys.stdin], [], [], 0.045)[0]:
        fork(client, "steady")
        value = client.variation("load", user_of("parent"), None)
        if value != seen:
            seen = value
            print(json.dumps({"saw": seen, "at": time.time()}), flush=True)


if __name__ == "__main__":
    made = client_of(json.loads(sys.argv[1]))
    if sys.argv[2] == "storm":
        storm(made, int(sys.argv[3]))
    else:
        steady(made)
    made.stop()
