"""Which property a condition reads, which operator it has, and when a broken one is noticed."""

from collections.abc import Mapping
from typing import Any

import pytest

from fbshared.core.conditions import Predicate, all_hold, broken, conditions_of, elements
from fbshared.core.operators import _COMPARISONS, _OPERATORS
from fbshared.errors import EvaluationError

USER = {"key": "u1", "name": "Bob", "p": "abc", "n": 5, "self": "abc", "Equal": "abc"}


def inside(value: object) -> Predicate:
    """A membership that holds for the value "yes"."""

    def condition(key: str, user: Mapping[str, Any], active: tuple[str, ...]) -> bool:
        return value == "yes"

    return condition


def holds(*raw: object) -> bool:
    return all_hold(conditions_of({"conditions": list(raw)}, inside), "u1", USER)


TABLE = [
    ({"property": "p", "op": "Equal", "value": "abc"}, True),
    ({"property": "P", "op": "Equal", "value": "abc"}, False),
    ({"property": "n", "op": "Equal", "value": "5"}, True),
    ({"property": "name", "op": "Equal", "value": "Bob"}, True),
    ({"property": "Name", "op": "Equal", "value": "Bob"}, True),
    ({"property": "key", "op": "Equal", "value": "u1"}, True),
    ({"property": "keyId", "op": "Equal", "value": "u1"}, True),
    ({"property": "KeyID", "op": "Equal", "value": "u1"}, True),
    ({"property": None, "op": "NotEqual", "value": "abc"}, True),
    ({"property": "self", "op": "NotEqual", "value": "abc"}, True),
    ({"property": "p", "op": None, "value": "abc"}, False),
    ({"property": "p", "op": "Unknown", "value": "abc"}, False),
    ({"op": "Unknown"}, False),
    ({"property": "Equal", "op": None, "value": "abc"}, True),
    ({"property": "BiggerThan", "op": None, "value": "abc"}, False),
    ({"property": "User is in segment", "op": None, "value": "yes"}, True),
    ({"property": "User is in segment", "op": "", "value": "no"}, False),
    ({"property": "User is not in segment", "op": None, "value": "yes"}, False),
    ({"property": "User is not in segment", "op": None}, True),
    ({"property": "User is in segment", "op": "Equal", "value": "yes"}, False),
    ({"property": "p", "op": "User is in segment", "value": "yes"}, True),
    ({"op": "User is in segment", "value": "yes"}, True),
]


@pytest.mark.parametrize(("raw", "expected"), TABLE)
def test_conditions(raw: object, expected: bool) -> None:
    """A condition finds its operator and its property as the reference does."""
    assert expected == holds(raw)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "Equal",
        [],
        {},
        {"property": "p", "value": "abc"},
        {"op": None, "value": "abc"},
        {"op": "Equal", "value": "abc"},
        {"op": "IsOneOf", "value": "[]"},
        {"op": "Equal", "property": "p"},
    ],
)
def test_a_broken_condition_counts_when_it_is_reached(raw: object) -> None:
    """A broken condition behind one that does not hold harms nobody; reached, it fails."""
    assert not holds({"property": "p", "op": "Equal", "value": "other"}, raw)
    with pytest.raises(EvaluationError):
        holds({"property": "p", "op": "Equal", "value": "abc"}, raw)


@pytest.mark.parametrize("rule", [None, "x", {}, {"conditions": None}, {"conditions": 5}, {"conditions": "x"}])
def test_a_rule_without_conditions_is_broken(rule: object) -> None:
    """Conditions that cannot be looped over fail."""
    conditions = conditions_of(rule, inside)

    with pytest.raises(EvaluationError):
        all_hold(conditions, "u1", USER)


class Odd:
    """What no attribute should be: it has no hash and no text."""

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        raise RuntimeError("mine")


@pytest.mark.parametrize("odd", [None, [], {}, set(), b"", Odd(), object(), "\ud800"])
@pytest.mark.parametrize("value", ["abc", None, "[", '["abc"]', 5])
def test_whatever_the_attribute_is(odd: object, value: object) -> None:
    """Every operator has an answer for what is no text, and it is that for no attribute at all."""
    for op in [*_OPERATORS, *_COMPARISONS]:
        raw = {"property": "p", "op": op, "value": value}
        conditions = conditions_of({"conditions": [raw, raw]}, inside)

        def answer(user: dict[str, Any], conditions: Any = conditions) -> object:
            try:
                return all_hold(conditions, "u1", user)
            except EvaluationError as error:
                return str(error)

        assert isinstance(odd, str) or answer({}) == answer({"p": odd}), op


@pytest.mark.parametrize("empty", [[], "", {}])
def test_no_conditions_hold(empty: object) -> None:
    """A rule with an empty list of conditions has none that could fail."""
    assert () == conditions_of({"conditions": empty}, inside)


@pytest.mark.parametrize(
    ("raw", "expected"), [([1], [1]), ("ab", ["a", "b"]), ({"a": 1}, ["a"]), (5, None), (None, None)]
)
def test_elements(raw: object, expected: object) -> None:
    """Texts and objects have elements too: what a loop in Python sees."""
    assert expected == elements(raw)


def test_broken_says_why() -> None:
    """The reason is in the error."""
    with pytest.raises(EvaluationError, match="because"):
        broken("because")("u1", USER, ())
