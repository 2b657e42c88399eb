"""Evaluates many times between two marks that strace sees, in a process with one thread."""

import json
import os
import sys
import time

from worker import client_of, user_of

EVALUATIONS = 20_000
PEOPLE = [user_of(f"traced-{number}") for number in range(100)]

client = client_of(json.loads(sys.argv[1]))


def evaluate(times: int) -> None:
    for number in range(times):
        client.variation("load", PEOPLE[number % 100], None)


# Warm: the flag is compiled, and the ring is as large as it will ever be.
evaluate(2 * EVALUATIONS)
deadline = time.monotonic() + 20
while not client.flush(0.1) and time.monotonic() < deadline:
    pass
os.getppid()
evaluate(EVALUATIONS)
os.getppid()
print("done", flush=True)
