"""fbshared and the SDK that it is compared with, fb-python-sdk, with the same data."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue
from threading import Lock
from typing import Any

from fbshared import Config, FBClient, FBUser
from fbshared.core.model import Dataset
from fbshared.core.wire import parse_bootstrap
from fbshared.shm.publisher import Publisher
from fbshared.testing import bootstrap, condition, flag, in_segment, make_secret, rule, segment, split
from tests.benchmarks.contenders.contender import Call, Contender, users
from tests.benchmarks.flags import FIVE_RULES, SHARES, Condition, Flag, User, Work

URLS = "http://127.0.0.1:1", "ws://127.0.0.1:1"
_TESTS = {
    "any": "IsOneOf",
    "none": "NotOneOf",
    "ends with": "EndsWith",
    "contains": "Contains",
    "above": "BiggerThan",
    "at least": "BiggerEqualThan",
}


def data(flags: Sequence[Flag]) -> str:
    """These flags as FeatBit sends them."""
    segments = [segment(each.segment, included=each.members) for each in flags if each.kind == "segment"]
    return json.dumps(bootstrap([_raw(each) for each in flags], segments))


def _raw(each: Flag) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if each.kind == "half":
        more = {"serve": split((True, 0.5), (False, 0.5))}
    elif each.kind == "thirds":
        shares = split(*((value, percent / 100) for value, percent in SHARES))
        more = {"type": "string", "variations": each.values, "serve": shares}
    elif each.kind == "rules":
        more = {"rules": [rule(True, *map(_condition, conditions)) for conditions in FIVE_RULES], "serve": False}
    elif each.kind == "segment":
        more = {"rules": [rule(True, in_segment(each.segment))], "serve": False}
    return flag(each.key, insights_enabled=each.loud, **more)


def _condition(each: Condition) -> dict[str, Any]:
    values: Any = list(each.values) if each.test in ("any", "none") else str(each.values[0])
    return condition(each.attribute, _TESTS[each.test], values)


@dataclass(frozen=True, slots=True)
class Ours:
    """A follower whose region nobody leads; its rings are emptied as a leader does."""

    client: FBClient
    prepared: bool

    def call(self, work: Work) -> Call:
        user, names = users(work, FBUser.from_dict if self.prepared else dict)
        names |= {"variation": self.client.variation, "key": work.flag.key}
        return Call(f"variation(key, {user}, None)", names, self._empty)

    def all_flags(self, user: User) -> Call:
        prepared = FBUser.from_dict(user) if self.prepared else dict(user)
        return Call("all_flags(user)", {"all_flags": self.client.get_all_latest_flag_variations, "user": prepared})

    def values(self, found: Any) -> dict[str, Any]:
        return {key: found.get_variation(key, None) for key in found.keys()}  # noqa: SIM118 - it is no mapping

    def new_user(self, user: User) -> Call:
        if not self.prepared:
            return Call("{**user}", {"user": user})
        return Call("FBUser(**user)", {"FBUser": FBUser, "user": user})

    def _empty(self) -> None:
        member = self.client._member
        for ring in list(member.outbox.rings.values()):
            ring.advance(1, ring.head)


@contextmanager
def ours(flags: Sequence[Flag], prepared: bool) -> Iterator[Contender]:
    """fbshared; ``FBSHARED_DIR`` says where."""
    client = FBClient(Config(make_secret(), *URLS, role="follower"), start_wait=0)
    try:
        items = parse_bootstrap(data(flags)).items
        Publisher(client._member.region, 1).publish(Dataset.of(items), synced=True)
        yield Ours(client, prepared)
        dropped = sum(ring.dropped for ring in client._member.outbox.rings.values()) + client._member.outbox.lost
        if dropped:
            raise RuntimeError(f"{dropped} events were dropped, which costs less than keeping them")
    finally:
        client.stop()


@dataclass(frozen=True, slots=True)
class Reference:
    """Offline; its events go through its own processor into its queue, which no thread reads."""

    client: Any
    inbox: Queue[Any]

    def call(self, work: Work) -> Call:
        user, names = users(work, dict)
        names |= {"variation": self.client.variation, "key": work.flag.key}
        return Call(f"variation(key, {user}, None)", names, self.inbox.queue.clear)

    def all_flags(self, user: User) -> Call:
        names = {"all_flags": self.client.get_all_latest_flag_variations, "user": dict(user)}
        return Call("all_flags(user)", names)

    def values(self, found: Any) -> dict[str, Any]:
        return {key: found.get_variation(key, None) for key in found.keys()}  # noqa: SIM118 - it is no mapping

    def new_user(self, user: User) -> Call:
        return Call("{**user}", {"user": user})


@contextmanager
def reference(flags: Sequence[Flag]) -> Iterator[Contender]:
    """fb-python-sdk."""
    logging.setLoggerClass(logging.Logger)  # its import wants to replace it
    from fbclient.client import FBClient as ReferenceClient
    from fbclient.config import Config as ReferenceConfig
    from fbclient.event_processor import DefaultEventProcessor

    logging.getLogger("fbclient.utils").setLevel(logging.ERROR)
    inbox: Queue[Any] = Queue(maxsize=10_000)

    class Unread(DefaultEventProcessor):  # type: ignore[misc]  # it ships no types
        """The processor without the threads that it starts."""

        def __init__(self, *_: object) -> None:
            self._DefaultEventProcessor__inbox = inbox
            self._DefaultEventProcessor__closed = False
            self._DefaultEventProcessor__lock = Lock()

        def stop(self) -> None:
            pass

    client = ReferenceClient(ReferenceConfig(make_secret(), *URLS, offline=True, event_processor_imp=Unread))
    try:
        if not client.initialize_from_external_json(data(flags)):
            raise RuntimeError("fb-python-sdk does not take the data")
        yield Reference(client, inbox)
    finally:
        client.stop()
