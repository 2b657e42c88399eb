"""How long one evaluation takes, beside fb-python-sdk in the same process and the same minute.

    python -m tests.benchmarks.evaluation [--rounds 300] [--only rules] [--json]

Prints a table: a row for each case (a flag, with or without its event), a column for each contender, in microseconds,
and how many times faster than the reference it is. The contenders take turns in every round and each one's best round
counts, so that a busy machine hurts all of them alike; the ratios are what to compare between machines.

What is measured of each: a client with data, one thread, no network. Ours is a follower whose region nobody leads; its
ring is emptied between rounds, as a leader does. The reference is offline with the same data; its events go through
its own processor into its queue, which nobody reads, so none of its threads disturbs; that, too, is emptied.
Results are compared before anything is timed.

A case is one line in ``CASES``, a contender one function in ``CONTENDERS``.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Lock
from time import perf_counter_ns
from typing import Any

from fbshared import Config, FBClient, FBUser
from fbshared.core.model import Dataset
from fbshared.core.wire import parse_bootstrap
from fbshared.shm.publisher import Publisher
from fbshared.testing import bootstrap, condition, flag, make_secret, rule, split

logging.setLoggerClass(logging.Logger)
from fbclient.client import FBClient as ReferenceClient  # noqa: E402
from fbclient.config import Config as ReferenceConfig  # noqa: E402
from fbclient.event_processor import DefaultEventProcessor  # noqa: E402

SLICE = 400_000  # nanoseconds of one contender in a round: as long for all, for a disturbance to hit all alike
REFERENCE = "fb-python-sdk"

USER = {
    "key": "user-4711",
    "name": "Ada Lovelace",
    "country": "fr",
    "plan": "pro",
    "age": 36,
    "mail": "ada@example.org",
}


def five_rules() -> list[Any]:
    """Rules of two conditions each: the first holds, the second does not, except in the last rule."""
    plan = condition("plan", "IsOneOf", ["pro", "team"])
    return [
        rule(True, condition("country", "Equal", "fr"), condition("age", "BiggerThan", "40")),
        rule(True, plan, condition("mail", "EndsWith", "@example.com")),
        rule(True, condition("age", "BiggerEqualThan", "18"), condition("country", "IsOneOf", ["de", "at", "ch"])),
        rule(True, condition("mail", "Contains", "@"), condition("plan", "NotEqual", "pro")),
        rule(True, condition("country", "NotEqual", "de"), plan),
    ]


@dataclass(frozen=True, slots=True)
class Case:
    """One flag, evaluated for ``USER``."""

    name: str
    fields: dict[str, Any]

    def raw(self, *, events: bool) -> dict[str, Any]:
        """The flag, which sends events or not."""
        return flag(self.key(events=events), insights_enabled=events, **self.fields)

    def key(self, *, events: bool) -> str:
        return f"{self.name}-{'loud' if events else 'quiet'}"


THIRDS = {"type": "string", "variations": ["a", "b", "c"], "serve": split(("a", 0.3), ("b", 0.3), ("c", 0.4))}
CASES = [
    Case("boolean", {}),
    Case("rollout", THIRDS),
    Case("rules", {"rules": five_rules(), "serve": False}),
]

DATA = json.dumps(bootstrap([case.raw(events=events) for case in CASES for events in (False, True)]))


@dataclass(frozen=True, slots=True)
class Contender:
    """A client at work: its evaluation, a user for it, and what makes room for more events."""

    variation: Callable[[str, Any], object]
    user: Any
    empty: Callable[[], object]


@contextmanager
def ours(user: Any) -> Iterator[Contender]:
    config = Config(make_secret(), "http://127.0.0.1:1", "ws://127.0.0.1:1", role="follower")
    client = FBClient(config, start_wait=0)
    member = client._member
    Publisher(member.region, 1).publish(Dataset.of(parse_bootstrap(DATA).items), synced=True)

    def empty() -> None:
        for ring in member.outbox.rings.values():
            ring.advance(1, ring.head)

    try:
        yield Contender(client.variation, user, empty)
    finally:
        client.stop()


@contextmanager
def reference(user: Any) -> Iterator[Contender]:
    inbox: Queue[Any] = Queue(maxsize=10_000)

    class Unread(DefaultEventProcessor):  # type: ignore[misc]  # it ships no types
        """The processor without the threads that it starts."""

        def __init__(self, *_: object) -> None:
            self._DefaultEventProcessor__inbox = inbox
            self._DefaultEventProcessor__closed = False
            self._DefaultEventProcessor__lock = Lock()

        def stop(self) -> None:
            pass

    urls = "http://127.0.0.1:1", "ws://127.0.0.1:1"
    client = ReferenceClient(ReferenceConfig(make_secret(), *urls, offline=True, event_processor_imp=Unread))
    if not client.initialize_from_external_json(DATA):
        raise RuntimeError("the reference does not take the data")
    try:
        yield Contender(client.variation, user, inbox.queue.clear)
    finally:
        client.stop()


CONTENDERS: dict[str, Callable[[], Any]] = {
    "fbshared, dict": lambda: ours(USER),
    "fbshared, FBUser": lambda: ours(FBUser.from_dict(USER)),
    REFERENCE: lambda: reference(USER),
}


def best_of(contenders: dict[str, Contender], key: str, rounds: int) -> dict[str, float]:
    """The nanoseconds of one call in each contender's best round."""
    best = {name: _slice(contender, key, 20) for name, contender in contenders.items()}
    counts = {name: max(int(SLICE / ns), 1) for name, ns in best.items()}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, contender in contenders.items():
                best[name] = min(best[name], _slice(contender, key, counts[name]))
    finally:
        gc.enable()
    return best


def _slice(contender: Contender, key: str, calls: int) -> float:
    """The nanoseconds of one of so many calls."""
    variation, user = contender.variation, contender.user
    started = perf_counter_ns()
    for _ in range(calls):
        variation(key, user)
    spent = perf_counter_ns() - started
    contender.empty()
    return spent / calls


def measure(rounds: int, only: str) -> list[dict[str, Any]]:
    """One row per case, with and without its event; times in nanoseconds."""
    rows = []
    with ExitStack() as stack:
        made = {name: stack.enter_context(make()) for name, make in CONTENDERS.items()}
        for case in (case for case in CASES if only in case.name):
            for events in (False, True):
                key = case.key(events=events)
                values = {name: each.variation(key, each.user) for name, each in made.items()}
                if len(set(map(repr, values.values()))) != 1 or None in values.values():
                    raise RuntimeError(f"{key}: {values}")
                rows.append({"case": case.name, "event": events, "ns": best_of(made, key, rounds)})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people."""
    width = max(map(len, CONTENDERS)) + 10
    lines = [" " * 20 + "".join(f"{name:>{width}}" for name in CONTENDERS)]
    for row in rows:
        times = row["ns"]
        cells = [f"{ns / 1000:.2f} us" + f" {times[REFERENCE] / ns:6.1f} x" for ns in times.values()]
        name = f"{row['case']}{' + event' if row['event'] else ''}"
        lines.append(f"{name:20}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.evaluation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="the best of how many")
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args()
    logging.getLogger("fbclient.utils").setLevel(logging.ERROR)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fbt-", dir=memory) as directory:
        os.environ["FBSHARED_DIR"] = str(Path(directory))
        rows = measure(max(options.rounds, 1), options.only)
    if options.json:
        print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), "rows": rows}))
    else:
        print(f"Python {platform.python_version()}, the best of {options.rounds} rounds")
        print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
