"""Unleash's SDK, whose engine is in Rust, with its flags from a bootstrapped cache; it is never connected.

Every call is counted in the engine; that cannot be switched off. Its event is what it calls an impression: an object
that is put into its own queue, from which its thread calls the application back. The thread is not started here, so
only the caller's part is measured, and the queue holds more than its 100 so that no event is dropped.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

from UnleashClient import UnleashClient
from UnleashClient.cache import FileCache
from UnleashClient.utils import LOGGER, InstanceAllowType

from tests.benchmarks.contenders.contender import Call, Contender, users
from tests.benchmarks.flags import FIVE_RULES, SHARES, Condition, Flag, User, Work

_TESTS = {
    "any": "IN",
    "none": "NOT_IN",
    "ends with": "STR_ENDS_WITH",
    "contains": "STR_CONTAINS",
    "above": "NUM_GT",
    "at least": "NUM_GTE",
}


def data(flags: Sequence[Flag]) -> dict[str, Any]:
    """These flags as its server sends them."""
    ids = {each.segment: number for number, each in enumerate(flags) if each.kind == "segment"}
    members = {each.segment: each.members for each in flags if each.kind == "segment"}
    segments = [
        {"id": number, "constraints": [{"contextName": "userId", "operator": "IN", "values": members[segment]}]}
        for segment, number in ids.items()
    ]
    return {"version": 2, "features": [_raw(each, ids) for each in flags], "segments": segments}


def _raw(flag: Flag, segments: dict[str, int]) -> dict[str, Any]:
    strategies: list[dict[str, Any]] = [{"name": "default"}]
    variants: list[Any] = []
    if flag.kind == "half":
        rollout = {"rollout": "50", "stickiness": "userId", "groupId": flag.key}
        strategies = [{"name": "flexibleRollout", "parameters": rollout}]
    elif flag.kind == "thirds":
        variants = [{"name": value, "weight": percent * 10, "stickiness": "userId"} for value, percent in SHARES]
    elif flag.kind == "rules":
        strategies = [{"name": "default", "constraints": list(map(_constraint, rule))} for rule in FIVE_RULES]
    elif flag.kind == "segment":
        strategies = [{"name": "default", "segments": [segments[flag.segment]]}]
    feature = {"name": flag.key, "enabled": True, "strategies": strategies, "variants": variants}
    return {**feature, "impressionData": flag.loud}


def _constraint(each: Condition) -> dict[str, Any]:
    constraint: dict[str, Any] = {"contextName": each.attribute, "operator": _TESTS[each.test]}
    if each.test in ("above", "at least"):
        return {**constraint, "value": str(each.values[0])}
    return {**constraint, "values": list(each.values)}


@dataclass(frozen=True, slots=True)
class Unleash:
    client: UnleashClient
    keys: list[str]

    def call(self, work: Work) -> Call:
        user, names = users(work, _context)
        names |= {"client": self.client, "key": work.flag.key}
        if work.flag.kind == "thirds":
            return Call(f'client.get_variant(key, {user})["name"]', names, self.empty)
        return Call(f"client.is_enabled(key, {user})", names, self.empty)

    def all_flags(self, user: User) -> Call:
        names = {"is_enabled": self.client.is_enabled, "keys": self.keys, "context": _context(user)}
        return Call("{key: is_enabled(key, context) for key in keys}", names)

    def values(self, found: Any) -> dict[str, Any]:
        return dict(found)

    def new_user(self, user: User) -> Call:
        return Call("context(user)", {"context": _context, "user": user})

    def empty(self) -> None:
        self.client._UnleashClient__events._queue.queue.clear()


def _context(user: User) -> dict[str, Any]:
    properties = {name: value for name, value in user.items() if name != "key"}
    return {"userId": user["key"], "properties": properties}


@contextmanager
def make(flags: Sequence[Flag]) -> Iterator[Contender]:
    """Unleash."""
    LOGGER.setLevel(logging.ERROR)  # it warns of a scheduler that was never started
    with tempfile.TemporaryDirectory() as directory:
        cache = FileCache("benchmark", directory=directory)
        cache.bootstrap_from_dict(data(flags))
        client = UnleashClient(
            "http://127.0.0.1:1/api",
            "benchmark",
            cache=cache,
            disable_metrics=True,
            disable_registration=True,
            event_callback=lambda _: None,
            multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,
        )
        events = client._UnleashClient__events
        events._thread = Thread()
        events._queue.maxsize = 100_000
        try:
            yield Unleash(client, [flag.key for flag in flags])
        finally:
            events._thread = None
            client.destroy()
