"""GrowthBook's SDK with its features from a dict; one instance with the attributes of one user.

Its event is a call of the application: for every evaluation of any feature, and for the first exposure of a user to
each variation of an experiment; neither is sent anywhere by itself. Here the callback keeps what it is told in a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from growthbook import GrowthBook

from tests.benchmarks.contenders.contender import Call, Contender, users
from tests.benchmarks.flags import FIVE_RULES, SHARES, USER, Condition, Flag, User, Work


def features(flags: Sequence[Flag]) -> dict[str, Any]:
    """These flags as its API sends them."""
    return {flag.key: _raw(flag) for flag in flags}


def _raw(flag: Flag) -> dict[str, Any]:
    if flag.kind == "boolean":
        return {"defaultValue": True}
    rules: list[dict[str, Any]] = []
    if flag.kind == "half":
        rules = [_experiment(flag, [0.5, 0.5])]
    elif flag.kind == "thirds":
        rules = [_experiment(flag, [percent / 100 for _, percent in SHARES])]
    elif flag.kind == "rules":
        rules = [{"force": True, "condition": {"$and": list(map(_condition, rule))}} for rule in FIVE_RULES]
    elif flag.kind == "segment":
        rules = [{"force": True, "condition": {"id": {"$inGroup": flag.segment}}}]
    return {"defaultValue": False, "rules": rules}


def _experiment(flag: Flag, weights: list[float]) -> dict[str, Any]:
    return {"key": flag.key, "hashAttribute": "id", "variations": list(flag.values), "weights": weights}


def _condition(each: Condition) -> dict[str, Any]:
    value = each.values[0]
    tests: dict[str, Any] = {
        "any": {"$in": list(each.values)},
        "none": {"$nin": list(each.values)},
        "ends with": {"$regex": f"{re.escape(str(value))}$"},
        "contains": {"$regex": re.escape(str(value))},
        "above": {"$gt": value},
        "at least": {"$gte": value},
    }
    return {each.attribute: tests[each.test]}


@dataclass(frozen=True, slots=True)
class Growth:
    features: dict[str, Any]
    groups: dict[str, list[str]]
    events: list[Any]

    def instance(self, user: User, *, loud: bool = False) -> GrowthBook:
        callbacks = {"on_experiment_viewed": self._exposed, "on_feature_usage": self._used} if loud else {}
        attributes = _attributes(user)
        return GrowthBook(attributes=attributes, features=self.features, saved_groups=self.groups, **callbacks)

    def call(self, work: Work) -> Call:
        instance = self.instance(work.user, loud=work.flag.loud)
        names: dict[str, Any] = {"value": instance.get_feature_value, "key": work.flag.key}
        if not work.many:
            return Call("value(key, None)", names, self.events.clear)
        user, more = users(work, _attributes)
        names |= {"change": instance.set_attributes, **more}
        return Call(f"change({user}) or value(key, None)", names, self.events.clear)

    def all_flags(self, user: User) -> Call:
        names = {"value": self.instance(user).get_feature_value, "keys": list(self.features)}
        return Call("{key: value(key, None) for key in keys}", names)

    def values(self, found: Any) -> dict[str, Any]:
        return dict(found)

    def new_user(self, user: User) -> Call:
        return Call("change(attributes(user))", self._changing(user))

    def _changing(self, user: User) -> dict[str, Any]:
        return {"change": self.instance(USER).set_attributes, "attributes": _attributes, "user": user}

    def _exposed(self, **exposure: Any) -> None:
        self.events.append(exposure)

    def _used(self, *usage: Any) -> None:
        self.events.append(usage)


def _attributes(user: User) -> dict[str, Any]:
    return {"id" if name == "key" else name: value for name, value in user.items()}


@contextmanager
def make(flags: Sequence[Flag]) -> Iterator[Contender]:
    """GrowthBook."""
    groups = {flag.segment: flag.members for flag in flags if flag.kind == "segment"}
    yield Growth(features(flags), groups, [])
