"""Statsig's server SDK, whose core is in Rust, with its specs from a data store and without network.

Its event is an exposure that the core puts into a queue of its own; the same user's exposure to the same gate is kept
once in a while, not once per call, so a loop with one user shows less than the cost of an event. Without events the
call says ``disable_exposure_logging``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from statsig_python_core import (
    DataStore,
    DataStoreResponse,
    DynamicConfigEvaluationOptions,
    FeatureGateEvaluationOptions,
    Statsig,
    StatsigOptions,
    StatsigUser,
)

from tests.benchmarks.contenders.contender import Call, Contender, users
from tests.benchmarks.flags import FIVE_RULES, SHARES, Condition, Flag, User, Work

_TESTS = {
    "any": "any",
    "none": "none",
    "ends with": "str_ends_with_any",
    "contains": "str_contains_any",
    "above": "gt",
    "at least": "gte",
}


class Specs:
    """Flags as its service sends them: gates, configs, and the conditions that their rules name by number."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self.conditions: dict[str, Any] = {}
        self.gates = {flag.key: self._gate(flag) for flag in flags if flag.kind != "thirds"}
        self.configs = {flag.key: self._config(flag) for flag in flags if flag.kind == "thirds"}

    def json(self) -> str:
        return json.dumps(
            {
                "response_format": "dcs-v2",
                "has_updates": True,
                "time": 1_767_600_000_000,
                "feature_gates": self.gates,
                "dynamic_configs": self.configs,
                "condition_map": self.conditions,
                "layer_configs": {},
                "experiment_to_layer": {},
                "id_lists": {},
            }
        )

    def _gate(self, flag: Flag) -> dict[str, Any]:
        everybody = self._add("public", None, None)
        rules = [_rule("on", [everybody], True)]
        if flag.kind == "half":
            rules = [_rule("half", [everybody], True, percent=50)]
        elif flag.kind == "rules":
            rules = [_rule(str(n), [self._test(each) for each in rule], True) for n, rule in enumerate(FIVE_RULES)]
        elif flag.kind == "segment":
            rules = [_rule("in", [self._add("unit_id", "any", flag.members, "userID")], True)]
        return _spec(flag, rules, False, "feature_gate")

    def _config(self, flag: Flag) -> dict[str, Any]:
        rules, upper = [], 0
        for value, percent in SHARES:
            upper += percent * 10  # of 1,000 buckets
            rules.append(_rule(value, [self._add("user_bucket", "lt", upper, salt=flag.key)], {"value": value}))
        return _spec(flag, rules, {}, "dynamic_config")

    def _test(self, each: Condition) -> str:
        target = each.values[0] if each.test in ("above", "at least") else list(each.values)
        return self._add("user_field", _TESTS[each.test], target, each.attribute)

    def _add(self, kind: str, operator: str | None, target: Any, field: str | None = None, **more: str) -> str:
        name = str(len(self.conditions) + 1)
        condition = {"type": kind, "operator": operator, "targetValue": target, "field": field}
        self.conditions[name] = {**condition, "additionalValues": more, "idType": "userID"}
        return name


def _rule(name: str, conditions: list[str], value: Any, percent: int = 100) -> dict[str, Any]:
    rule = {"id": name, "name": name, "salt": name, "conditions": conditions, "idType": "userID"}
    return {**rule, "passPercentage": percent, "returnValue": value}


def _spec(flag: Flag, rules: list[dict[str, Any]], default: Any, kind: str) -> dict[str, Any]:
    spec = {"type": kind, "entity": kind, "salt": flag.key, "enabled": True, "idType": "userID", "version": 1}
    return {**spec, "defaultValue": default, "rules": rules}


@dataclass(frozen=True, slots=True)
class Core:
    client: Statsig

    def call(self, work: Work) -> Call:
        user, names = users(work, _user)
        names |= {"client": self.client, "key": work.flag.key}
        if work.flag.kind == "thirds":
            names["options"] = DynamicConfigEvaluationOptions(disable_exposure_logging=not work.flag.loud)
            return Call(f'client.get_dynamic_config({user}, key, options).get("value")', names)
        names["options"] = FeatureGateEvaluationOptions(disable_exposure_logging=not work.flag.loud)
        return Call(f"client.check_gate({user}, key, options)", names)

    def all_flags(self, user: User) -> Call:
        names = {"response": self.client.get_client_initialize_response, "user": _user(user)}
        return Call("response(user)", names)

    def values(self, found: Any) -> dict[str, Any]:
        return {name: gate["value"] for name, gate in json.loads(found)["feature_gates"].items()}

    def new_user(self, user: User) -> Call:
        return Call("new(user)", {"new": _user, "user": user})


def _user(user: User) -> StatsigUser:
    custom = {name: value for name, value in user.items() if name not in ("key", "country")}
    return StatsigUser(user_id=user["key"], country=user["country"], custom=custom)


@contextmanager
def make(flags: Sequence[Flag]) -> Iterator[Contender]:
    """Statsig."""
    specs = Specs(flags).json()

    class Store(DataStore):  # type: ignore[misc]  # unknown to mypy where it is not installed
        def get(self, key: str) -> DataStoreResponse:
            return DataStoreResponse(result=specs, time=1)

    options = StatsigOptions(
        data_store=Store(), disable_network=True, disable_country_lookup=True, output_log_level="error"
    )
    client = Statsig("secret-none", options)
    client.initialize().wait()
    try:
        yield Core(client)
    finally:
        client.shutdown().wait()
