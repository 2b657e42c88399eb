"""Runs tests of the reference SDK against this package: read from its source distribution, never unpacked or kept.

What they import from ``fbclient`` is given to them from here: the public names are ours, an evaluator is made of our
compiler, and an internal part that we do not have is a class that refuses to be used. Their environment is ours too,
because the distribution does not contain the file that they read.
"""

from __future__ import annotations

import builtins
import json
import tarfile
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

import fbshared
from fbshared import client, common_types, config
from fbshared.core import evaluation
from fbshared.core.evaluation import Compiler, Outcome
from fbshared.core.items import parse_item
from fbshared.core.model import FLAG, SEGMENT, unpack
from fbshared.core.users import key_of
from fbshared.testing.data import bootstrap, condition, flag, in_segment, rule, segment, segment_id, split

TARGETED_ID = "18b369f8-453f-46d7-88cc-fe41d29ca6e3"  # which one of the tests asks for
WON = {"code": 200, "reason": "you win 100 euros"}
LOST = {"code": 404, "reason": "fail to win the lottery"}
TEAMS = [f"team{letter}" for letter in "ABCDEFGHI"]


def environment() -> dict[str, Any]:
    """A full with the flags that the tests name, which gives the answers that they expect."""
    lottery = split(("true", 0.5), ("false", 0.5), by="name")
    flags = [
        flag("ff-test-bool", targets=[("true", ["test-user-1", "test-user-2"])], serve=lottery),
        flag("ff-test-off", enabled=False),
        flag(
            "ff-test-number",
            "number",
            [1, 33, 86, 9999],
            serve=9999,
            rules=[rule(value, condition("country", "Equal", of)) for value, of in ((1, "us"), (33, "fr"), (86, "cn"))],
        ),
        flag(
            "ff-test-string",
            "string",
            ["email", "phone number", "others"],
            serve="others",
            rules=[
                rule("email", condition("keyId", "MatchRegex", r"^[^@]+@[^@]+\.[a-z]+$")),
                rule("phone number", condition("keyId", "MatchRegex", r"^1\d{10}$")),
                rule("phone number", condition("keyId", "MatchRegex", r"^0\d{9}$")),
            ],
        ),
        flag("ff-test-seg", "string", TEAMS[:2], serve="teamB", rules=[rule("teamA", in_segment("students"))]),
        flag("ff-test-json", "json", [WON, LOST], serve=split((WON, 0.25), (LOST, 0.75), by="name")),
        flag(
            "ff-evaluation-test",
            "string",
            TEAMS,
            serve="teamA",
            targets=[("teamB", ["test-target-user"])],
            rules=[
                rule("teamC", condition("graduated", "IsTrue")),
                rule("teamD", condition("country", "Equal", "CHN")),
                rule("teamE", condition("salary", "BiggerEqualThan", "1000"), condition("salary", "LessThan", "3000")),
                rule("teamF", condition("email", "Contains", "gmail")),
                rule("teamG", condition("major", "IsOneOf", ["CS", "MATH"])),
                rule("teamH", condition("name", "StartsWith", "group"), condition("name", "EndsWith", "user")),
                rule("teamI", condition("phone", "MatchRegex", r"^1\d{10}$")),
            ],
        ),
    ]
    members = segment("students", included=["test-user-1"], rules=[[condition("major", "IsOneOf", ["cs", "math"])]])
    whole = json.dumps(bootstrap(flags, [members]))
    loaded: dict[str, Any] = json.loads(whole.replace(flags[0]["variations"][0]["id"], TARGETED_ID))
    return loaded


class Evaluated:
    """What the reference's evaluator gives, as far as its tests look at it."""

    def __init__(self, outcome: Outcome) -> None:
        self.id, self.value, self.reason = outcome.variation_id, outcome.text, outcome.reason


class Evaluator:
    """The reference's evaluator over ours."""

    def __init__(self, segments: Mapping[str, Any]) -> None:
        self._compiler = Compiler(segments.get)

    def evaluate(self, raw: Mapping[str, Any], user: Mapping[str, Any], _event: object = None) -> Evaluated:
        key = key_of(user)
        assert key is not None
        return Evaluated(self._compiler.flag(raw).evaluate(key, user))


def fixtures() -> dict[str, Any]:
    """What stands in for the fixtures of the reference's tests of its evaluator."""
    data = environment()["data"]
    flags = {raw["key"]: unpack(parse_item(FLAG, raw).blob) for raw in data["featureFlags"]}
    segments = {raw["id"]: unpack(parse_item(SEGMENT, raw).blob) for raw in data["segments"]}
    assert segment_id("students") in segments
    return {
        "evaluator": Evaluator(segments),
        "flag": flags["ff-evaluation-test"],
        "disable_flag": flags["ff-test-off"],
    }


class _TheirPath:
    """``Path`` for a test that reads the reference's environment: it gets ours."""

    def __init__(self, name: str) -> None:
        assert name == "tests/fbclient_test_data.json"

    def read_text(self) -> str:
        return json.dumps(environment())


def _module(name: str, **names: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(names)
    return module


def _part(name: str) -> types.ModuleType:
    """A module of internal parts: each name in it is a class that refuses to be made."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError(f"a test that uses {name} cannot run here")

    module = types.ModuleType(name)
    module.__getattr__ = lambda part: type(part, (), {"__init__": refuse})  # type: ignore[method-assign]
    return module


_REASONS = {f"REASON_{name}": getattr(evaluation, name) for name in evaluation.__all__ if name.isupper()}
_GIVEN = {
    "fbclient": fbshared,
    "fbclient.client": client,
    "fbclient.config": config,
    "fbclient.common_types": _module(
        "common_types",
        EvalDetail=common_types.EvalDetail,
        FBUser=_module("FBUser", from_dict=lambda user: user),
    ),
    "fbclient.event_types": _module("event_types", FlagEvent=lambda user: None, MetricEvent=None, UserEvent=None),
    "fbclient.evaluator": _module("evaluator", Evaluator=Evaluator, **_REASONS),
    "pathlib": _module("pathlib", Path=_TheirPath),
}


def _import(name: str, *arguments: Any) -> Any:
    if name in _GIVEN:
        return _GIVEN[name]
    return _part(name) if name.startswith("fbclient") else builtins.__import__(name, *arguments)


def sources(archive: Path) -> dict[str, str]:
    """The test files in a source distribution, by their names without ``.py``."""
    found = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            path = Path(member.name)
            if path.parent.name == "tests" and path.name.startswith("test_"):
                content = opened.extractfile(member)
                assert content is not None
                found[path.stem] = content.read().decode()
    return found


def load(name: str, source: str) -> dict[str, Any]:
    """The names that a test file defines, with what it imports given from here."""
    plain = types.SimpleNamespace(fixture=lambda function: function, mark=pytest.mark, raises=pytest.raises)
    given = dict(vars(builtins)) | {
        "__import__": lambda module, *rest: plain if module == "pytest" else _import(module, *rest)
    }
    namespace: dict[str, Any] = {"__builtins__": given, "__name__": f"upstream.{name}"}
    exec(compile(source, f"{name}.py", "exec"), namespace)
    return namespace


def call(test: Callable[..., None]) -> None:
    """Run one test with the fixtures that it names."""
    wanted = test.__code__.co_varnames[: test.__code__.co_argcount]
    available = fixtures() if wanted else {}
    test(*(available[name] for name in wanted))
