"""Evaluation against the reference SDK: same variation, value, reason and event for any data and any user."""

import copy
import json
import logging
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from fbshared.core.evaluation import FALLTHROUGH, Compiler, Outcome
from fbshared.core.events import make_packer, pack_user, payload, record
from fbshared.core.model import FLAG, SEGMENT, parse_item, unpack
from fbshared.core.prepared import FBUser as PreparedUser
from fbshared.core.prepared import read_of
from fbshared.core.users import key_of, normalised
from fbshared.errors import EvaluationError, UserError

pytest.importorskip("fbclient")
logging.setLoggerClass(logging.Logger)  # importing the reference changes it for the whole process
logging.getLogger("fbclient.utils").setLevel(logging.CRITICAL)  # and it logs every evaluation

from fbclient.common_types import FBUser  # noqa: E402
from fbclient.evaluator import Evaluator  # noqa: E402
from fbclient.event_types import FlagEvent  # noqa: E402
from fbclient.utils import cast_variation_by_flag_type  # noqa: E402

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
    user: dict[str, Any] = {"key": rnd.choice(KEYS), "name": rnd.choice(["Bob", "é", "10"])}
    return user | {rnd.choice(NAMES): rnd.choice(TEXTS + OBJECTS) for _ in range(rnd.randrange(7))}


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


def has_accidental_elements(value: object) -> bool:
    """A JSON text or object instead of a list: the reference searches it by accident, and we do not."""
    try:
        return isinstance(json.loads(value), (str, dict))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


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
        values = [value for value in LISTS * 4 + VALUES if not has_accidental_elements(value)]
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
    """A flag, and segments of which each refers to later ones only: circles are ours alone."""
    segments: dict[str, dict[str, Any]] = {}
    for number in (1, 2, 3):
        later = [f"s{n}" for n in range(number + 1, 4)] + ["unknown"]
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


# ---- both evaluations


def reference(flag: dict[str, Any], segments: Mapping[str, Any], user: dict[str, Any]) -> Any:
    """What the reference gives: variation, text, reason, value, event; None for a crash, or "nothing"."""
    prepared = flag | {"variationMap": {v["id"]: v["value"] for v in flag["variations"]}}
    fb_user = FBUser.from_dict(user)
    sent = FlagEvent(fb_user)
    try:
        result = Evaluator(None, segments.get).evaluate(prepared, fb_user, sent)
    except Exception:  # noqa: BLE001 - its crash is what is recorded
        return None
    if result is None:
        return "nothing"
    value = cast_variation_by_flag_type(result.flag_type, result.value)
    event = sent.to_json_dict() if sent.is_send_event else None
    return result.id, result.value, result.reason, repr(value), timeless(event)


def ours(flag: dict[str, Any], segments: Mapping[str, Any], user: Mapping[str, Any]) -> Any:
    """The same from our side, by way of packed items and a record; None for an EvaluationError."""
    packed = {name: parse_item(SEGMENT, raw).blob for name, raw in segments.items()}
    compiler = Compiler(lambda name: unpack(packed[name]) if name in packed else None)
    key = key_of(read_of(user))
    assert key is not None
    compiled = compiler.flag(unpack(parse_item(FLAG, flag).blob))
    try:
        outcome: Outcome = compiled.evaluate(key, read_of(user))
    except EvaluationError:
        return None
    assert compiled.same in (None, outcome)
    event = None
    if outcome.event is not None:
        event = payload(record(pack_user(make_packer(), user), outcome.event, 0))
    return outcome.variation_id, outcome.text, outcome.reason, repr(outcome.value()), timeless(event)


def prepared(user: dict[str, Any]) -> PreparedUser:
    """The user without the attributes that a prepared one refuses, which no rule sees."""
    made = PreparedUser(user["key"], user["name"])
    for name, value in user.items():
        try:
            made = PreparedUser.from_dict({**made, name: value})
        except UserError:
            continue
    return made


def timeless(event: Any) -> Any:
    if event is not None:
        for variation in event["variations"]:
            variation.pop("timestamp")
            variation.pop("sendToExperiment", None)  # which the reference no longer says
    return event


def last_resort(flag: dict[str, Any]) -> str | None:
    """Where a default rule leads whom none of its ranges takes: to its last variation, if that ends at 1."""
    entries = flag["fallthrough"]["variations"]
    entry = entries[-1:] if isinstance(entries, list) else []
    match entry:
        case [{"id": str(name), "rollout": [int() | float() as lower, int() | float() as upper, *_]}]:
            possible = name in ("A", "B", "C") and "variationType" in flag
            return name if possible and upper >= 1 - 1e-5 and upper > lower else None
    return None


@settings(max_examples=2000, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**40))
def test_evaluation_equals_the_reference(seed: int) -> None:
    """Flags, segments and users of any shape, broken ones too, give what the reference gives."""
    rnd = Random(seed)  # drawing every part from hypothesis itself is thirty times slower
    flag, segments = a_world(rnd)
    for user in [a_user(rnd) for _ in range(3)]:
        expected = reference(flag, segments, user)
        event("fails" if expected is None else expected if expected == "nothing" else expected[2])
        actual = ours(flag, segments, user)
        if expected == "nothing":
            name = last_resort(flag)

            assert (name, name and FALLTHROUGH) == ((actual or (None,))[0], actual and actual[2])
        else:
            assert expected == actual
        assert actual == ours(flag, segments, prepared(user))


PARTS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(OBJECTS)
RAW_USERS = st.dictionaries(
    st.sampled_from(["key", "keyid", "name", "keyId", "Key", *NAMES])
    | st.text(max_size=4).filter(lambda n: n != "self"),
    PARTS | st.lists(PARTS, max_size=2),
    max_size=8,
)


@settings(max_examples=600, deadline=None, derandomize=True, database=None)
@given(RAW_USERS | st.builds(lambda raw: {"key": "k", "name": "n"} | raw, RAW_USERS))
def test_users_equal_the_reference(user: dict[str, Any]) -> None:
    """A user is valid for us when it is for the reference, and FeatBit is told the same about it."""
    try:
        expected = FBUser.from_dict(user)
    except ValueError:
        assert key_of(user) is None
        return

    assert expected.get("key") == key_of(user)
    assert expected.to_json_dict() == normalised(user)
