"""LaunchDarkly's SDK with its flags from a file.

An event is put as an object into the queue of its own event processor, whose thread would summarise and send it: that
thread is not started here, so only the caller's part is measured. Without events the client is one with
``send_events=False``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldclient import Context, LDClient
from ldclient.config import Config
from ldclient.impl.events.event_processor import DefaultEventProcessor
from ldclient.integrations import Files

from tests.benchmarks.contenders.contender import Call, Contender, users
from tests.benchmarks.flags import FIVE_RULES, SHARES, Condition, Flag, User, Work

_TESTS = {
    "any": "in",
    "none": "in",
    "ends with": "endsWith",
    "contains": "contains",
    "above": "greaterThan",
    "at least": "greaterThanOrEqual",
}


def data(flags: Sequence[Flag]) -> str:
    """These flags as its file has them."""
    segments = {
        each.segment: {"key": each.segment, "version": 1, "included": each.members, "excluded": [], "rules": []}
        for each in flags
        if each.kind == "segment"
    }
    return json.dumps({"flags": {each.key: _raw(each) for each in flags}, "segments": segments})


def _raw(flag: Flag) -> dict[str, Any]:
    variations = list(flag.values)
    fallthrough: dict[str, Any] = {"variation": 0}
    rules: list[Any] = []
    if flag.kind == "half":
        fallthrough = _rollout((50, 50))
    elif flag.kind == "thirds":
        fallthrough = _rollout([percent for _, percent in SHARES])
    elif flag.kind == "rules":
        fallthrough = {"variation": 1}
        rules = [_rule(index, list(map(_clause, rule))) for index, rule in enumerate(FIVE_RULES)]
    elif flag.kind == "segment":
        fallthrough = {"variation": 1}
        rules = [_rule(0, [{"attribute": "", "op": "segmentMatch", "values": [flag.segment], "negate": False}])]
    return {
        "key": flag.key,
        "version": 1,
        "on": True,
        "salt": flag.key,
        "variations": variations,
        "offVariation": len(variations) - 1,
        "fallthrough": fallthrough,
        "prerequisites": [],
        "targets": [],
        "rules": rules,
        "trackEvents": flag.loud,
    }


def _rollout(percents: Sequence[int]) -> dict[str, Any]:
    shares = [{"variation": index, "weight": percent * 1000} for index, percent in enumerate(percents)]
    return {"rollout": {"contextKind": "user", "variations": shares}}


def _rule(index: int, clauses: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": str(index), "variation": 0, "clauses": clauses}


def _clause(each: Condition) -> dict[str, Any]:
    clause = {"attribute": each.attribute, "op": _TESTS[each.test], "values": list(each.values)}
    return {**clause, "contextKind": "user", "negate": each.test == "none"}


class _Unread(DefaultEventProcessor):  # type: ignore[misc]  # unknown to mypy where it is not installed
    """The processor without the thread that reads its queue."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, dispatcher_class=lambda *_: None)

    def stop(self) -> None:
        self._flush_timer.stop()
        self._contexts_flush_timer.stop()


@dataclass(frozen=True, slots=True)
class LaunchDarkly:
    quiet: LDClient
    loud: LDClient

    def call(self, work: Work) -> Call:
        client = self.loud if work.flag.loud else self.quiet
        user, names = users(work, _context)
        names |= {"variation": client.variation, "key": work.flag.key}
        return Call(f"variation(key, {user}, None)", names, self._empty)

    def all_flags(self, user: User) -> Call:
        names = {"all_flags": self.quiet.all_flags_state, "context": _context(user)}
        return Call("all_flags(context)", names)

    def values(self, found: Any) -> dict[str, Any]:
        return dict(found.to_values_map())

    def new_user(self, user: User) -> Call:
        return Call("context(user)", {"context": _context, "user": user})

    def _empty(self) -> None:
        self.loud._event_processor._inbox.queue.clear()


def _context(user: User) -> Context:
    return Context.from_dict({"kind": "user", **user})


@contextmanager
def make(flags: Sequence[Flag]) -> Iterator[Contender]:
    """LaunchDarkly."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "flags.json")
        path.write_text(data(flags))
        common = {"update_processor_class": Files.new_data_source(paths=[str(path)]), "diagnostic_opt_out": True}
        quiet = LDClient(Config("sdk-none", send_events=False, **common))
        loud = LDClient(Config("sdk-none", event_processor_class=_Unread, **common))
    try:
        yield LaunchDarkly(quiet, loud)
    finally:
        quiet.close()
        loud.close()
