"""Flags, segments and users of any shape, broken ones too, as a seed draws them."""

import copy
import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

GONE = ...  # a field that is not there

# ---- users

KEYS = ["user-1", "user-2", "a", "ab", "测试用户", "u7323697048", "u2319734890", "u8349816397", " x "]
TEXTS = [
    "abc",
    "",
    "b",
    "xabcx",
    "true",
    "FALSE",
    "10",
    " 10 ",
    "1_000",
    "1,000",
    "nan",
    "inf",
    "-Infinity",
    "é",
]
TEXTS += [
    "１２",
    "1.000001",
    "1.00001",
    "9.000001",
    "9007199254740993",
    "a\n",
    "٣",
    "s1",
    "0x10",
    "1e3",
    "ABC",
]
OBJECTS: list[Any] = [
    1,
    -1,
    0,
    10,
    1.5,
    1e20,
    float("nan"),
    float("inf"),
    True,
    False,
    None,
    [],
    ["abc"],
    {"a": 1},
]
OBJECTS += [Decimal("1.50"), Fraction(1, 2), b"abc", (1,), 10**25, {1}, 2.0]
NAMES = ["p", "q", "age", "P", "KEY", "keyid", "keyId", "Name", "Equal", "BiggerThan", "", " ", "é", "1"]


def a_user(rnd: Random) -> dict[str, Any]:
    user: dict[Any, Any] = {"key": rnd.choice(KEYS), "name": rnd.choice(["Bob", "é", "10"])}
    user |= {rnd.choice(NAMES): rnd.choice(TEXTS + OBJECTS) for _ in range(rnd.randrange(7))}
    if rnd.randrange(40) == 0:
        user[rnd.choice(["self", 5, None, "torn"])] = rnd.choice(["abc", "torn \ud800"])
    return user


# ---- data

OPERATORS = ["Equal", "NotEqual", "Contains", "NotContain", "StartsWith", "EndsWith", "IsTrue", "IsFalse"]
OPERATORS += ["IsOneOf", "NotOneOf", "MatchRegex", "NotMatchRegex"]
OPERATORS += ["BiggerThan", "BiggerEqualThan", "LessThan", "LessEqualThan"]
SEGMENT_OPERATORS = ["User is in segment", "User is not in segment"]
ODD_OPERATORS: list[Any] = [None, "", "Other", "OtherThan", 5, ["BiggerThan"], GONE, "than", True]
PROPERTIES: list[Any] = ["p", "p", "p", "q", "age", "P", "keyId", "KEYID", "key", "name", "Name", "é", ""]
PROPERTIES += [None, 5, ["p"], GONE, "Equal", "BiggerThan", *SEGMENT_OPERATORS]
VALUES: list[Any] = [*TEXTS, ".*", "^$", "[", "(?i)abc", r"(o)\1", r"\p{L}+", "(?P<x>o)(?P=x)", "a$", r"^\w$"]
VALUES += [None, GONE, 1, 10.0, 9.00000049, True, [], ["abc"], {"abc": 1}, "null", "5", "[5]", "{}", '""']
VALUES += ["a", "ab", "bc", "c", "abc", "1"] * 2  # parts of the texts
LISTS = [
    '["abc"]',
    '["abc","10"]',
    "[]",
    "[1]",
    '[""]',
    '[[],"abc"]',
    '[{"abc":1}]',
    "[null]",
    '["true",true]',
]
RANGES: list[Any] = [[0, 1], [0, 0], [0, 0.5], [0.5, 1], [0, 0.999999], [0.3, 0.30000000000000004], [1, 1]]
RANGES += [
    [0.5, 0.9999999999999999],
    [0.999995, 1],
    [0, 1.0000000000000002],
    [False, True],
    [0.0, 1.0],
    [-1, 2],
]
RANGES += [
    None,
    [],
    [0],
    [0, None],
    ["0", "1"],
    [None, 1],
    "01",
    {"0": 1},
    GONE,
    5,
    [0.1, 0.2, 0.3],
    [0, float("nan")],
]
RANGES += [[float("-inf"), float("inf")], [[], []], [0.5, 0.1], [float("nan"), 1]]
DISPATCH: list[Any] = [None, None, "", "keyId", "name", "p", "KEYID", "age", " ", 5, "missing", GONE]
RAW = ["true", "True", "1", "3.50", "1e400", "nan", "9007199254740993", '{"a":[1]}', "[]", "", "x"]
JUNK: list[Any] = [None, 0, 1, "", "x", "user-1", [], ["x"], {}, {"x": 1}, True, 1.5, GONE]


def pruned(value: Any) -> Any:
    """The value without fields that are not there."""
    if isinstance(value, dict):
        return {name: pruned(entry) for name, entry in value.items() if entry is not GONE}
    if isinstance(value, list):
        return [pruned(entry) for entry in value if entry is not GONE]
    return value


def a_condition(rnd: Random, segments: list[str]) -> dict[str, Any]:
    listed = [json.dumps([name]) for name in segments] + [json.dumps(segments), json.dumps(segments[::-1])]
    listed += [json.dumps(odd) for odd in ([{}, *segments], [*segments, []], [1, None, *segments])]
    if rnd.randrange(4) == 0:
        return {
            "property": rnd.choice([*SEGMENT_OPERATORS, *SEGMENT_OPERATORS, "p"]),
            "op": rnd.choice([None, "", *SEGMENT_OPERATORS]),
            "value": rnd.choice(listed * 3 + [None, "s1", '"s1"', json.dumps({segments[0]: 1}), "5", GONE, '"u"']),
        }
    operator = rnd.choice(OPERATORS * 3 + SEGMENT_OPERATORS + ODD_OPERATORS)
    values = VALUES + LISTS + listed
    if operator in ("IsOneOf", "NotOneOf"):
        values = LISTS * 4 + VALUES + ['"xabcx"', '{"abc":1}']
    return {"op": operator, "property": rnd.choice(PROPERTIES), "value": rnd.choice(values)}


def some_rules(rnd: Random, segments: list[str], *, rollout: bool) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = []
    for _ in range(rnd.randrange(4)):
        conditions = [a_condition(rnd, segments) for _ in range(rnd.choice([0, 1, 1, 1, 2, 3]))]
        rules.append({"id": "r", "conditions": conditions})
        if rollout:
            rules[-1] |= a_rollout(rnd)
    return rules


def a_rollout(rnd: Random) -> dict[str, Any]:
    names = ["A", "B", "C"] * 3 + ["D", None, GONE]
    entries = [{"id": rnd.choice(names), "rollout": rnd.choice(RANGES)} for _ in range(rnd.randrange(4))]
    halves = [{"id": "A", "rollout": [0, 0.5]}, {"id": "B", "rollout": [0.5, 1]}]
    everybody = [{"id": "C", "rollout": [0, 1]}]
    return {"dispatchKey": rnd.choice(DISPATCH), "variations": rnd.choice([entries, halves, everybody])}


def some_keys(rnd: Random) -> Any:
    keys = [rnd.choice([*KEYS, "z", None, 5, []]) for _ in range(rnd.randrange(4))]
    return rnd.choice([keys, keys, [], [], "user-1", None, {"a": 1}] if rnd.random() < 0.5 else [keys])


def a_world(rnd: Random) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A flag and its segments; in one world of many they may refer to each other in a circle."""
    segments: dict[str, dict[str, Any]] = {}
    first = 1 if rnd.randrange(20) == 0 else 0
    for number in (1, 2, 3):
        later = [f"s{n}" for n in range(first or number + 1, 4)] + ["unknown"]
        segment = {
            "included": some_keys(rnd),
            "excluded": rnd.choice([[], some_keys(rnd)]),
            "rules": some_rules(rnd, later, rollout=False),
        }
        segments[f"s{number}"] = maybe_broken(rnd, segment) | {"id": f"s{number}"}
    targets = [
        {"keyIds": some_keys(rnd), "variationId": rnd.choice(["A", "B", "C", "D", GONE])}
        for _ in range(rnd.choice([0, 0, 1, 2]))
    ]
    flag = {
        "name": rnd.choice(["Flag", "Flag", "Flag", None]),
        "variationType": rnd.choice(["string", "boolean", "number", "json", None, "other"]),
        "targetUsers": targets,
        "rules": some_rules(rnd, ["s1", "s2", "s3", "unknown"], rollout=True),
        "isEnabled": rnd.choice([True] * 12 + [False, None, 1, GONE]),
        "disabledVariationId": rnd.choice(["A", "B", "D"]),
        "fallthrough": a_rollout(rnd) | {"includedInExpt": True},
        "insightsEnabled": rnd.choice([True, True, False, None, 0, GONE]),
    }
    identity = {"key": rnd.choice(["ff", "flag-1"])}
    identity["variations"] = [{"id": name, "name": name, "value": rnd.choice(RAW)} for name in "ABC"]
    return maybe_broken(rnd, flag) | identity, segments


def maybe_broken(rnd: Random, whole: Any) -> Any:
    """The value, often with parts anywhere in it replaced by something else."""
    value = copy.deepcopy(whole)
    for _ in range(rnd.choice([0, 0, 0, 0, 0, 1, 2])):
        places = list(walk(value))
        if places:
            container, name = rnd.choice(places)
            container[name] = copy.deepcopy(rnd.choice(JUNK))
    return pruned(value)


def walk(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value: container and name."""
    for name, entry in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, name
        if isinstance(entry, (dict, list)):
            yield from walk(entry)
