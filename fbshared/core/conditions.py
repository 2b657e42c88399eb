"""A condition compiled to a test of one property, or to a function of a user; a broken one raises when it is reached.

Most conditions test the text of an attribute. They are kept apart as name, test and what it has to say: whoever walks
through them reads the attribute itself, and the test alone is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from fbshared.core.operators import MISSING, Test, test_of
from fbshared.core.users import BUILT_IN, attribute, text_of
from fbshared.errors import EvaluationError

# The arguments are the user's key, the user, and the ids of the segments that are being evaluated already.
Predicate = Callable[[str, Mapping[str, Any], tuple[str, ...]], bool]
# An attribute's name and the ``Test`` of its text, or None and a ``Predicate``; and what that gives when it holds.
Condition = tuple[str | None, Callable[..., bool], bool]

IN_SEGMENT = "User is in segment"
NOT_IN_SEGMENT = "User is not in segment"


def conditions_of(rule: object, membership: Callable[[object], Predicate]) -> tuple[Condition, ...]:
    """All conditions of a rule, in order.

    Args:
        membership: makes the condition "user is in a segment" of a condition's value.
    """
    raw = elements(rule.get("conditions")) if isinstance(rule, dict) else None
    if raw is None:
        return ((None, broken("a rule without conditions"), True),)
    return tuple(_condition(entry, membership) for entry in raw)


def all_hold(
    conditions: tuple[Condition, ...], key: str, user: Mapping[str, Any], active: tuple[str, ...] = ()
) -> bool:
    """Whether every condition holds for a user; ``core.evaluation`` has this loop written out."""
    for name, test, wanted in conditions:
        if (test(key, user, active) if name is None else test(text_of(user.get(name)))) is not wanted:
            return False
    return True


def elements(raw: object) -> list[Any] | None:
    """What a loop over a JSON value sees, None when that fails."""
    if isinstance(raw, list):
        return raw
    return list(raw) if isinstance(raw, (str, dict)) else None


def broken(why: str) -> Predicate:
    """The function that fails with a reason."""

    def condition(key: str, user: Mapping[str, Any], active: tuple[str, ...]) -> NoReturn:
        raise EvaluationError(why)

    return condition


def _condition(raw: object, membership: Callable[[object], Predicate]) -> Condition:
    if not isinstance(raw, dict) or "op" not in raw:
        return None, broken("a condition without an operator"), True
    name = raw["op"]
    if not name:  # a condition on segments has its operator in place of the property
        if "property" not in raw:
            return None, broken("a condition without a property"), True
        name = raw["property"]
        if "Than" in str(name):  # found there, a comparison never holds
            name = "Than"
    if name == IN_SEGMENT:
        return None, membership(raw.get("value")), True
    if name == NOT_IN_SEGMENT:
        return None, membership(raw.get("value")), False
    try:
        found = test_of(name, raw.get("value", MISSING))
    except EvaluationError as error:
        return None, broken(str(error)), True
    if found is None:
        return None, _never, True
    if "property" not in raw:
        return None, broken("a condition without a property"), True
    return _on_property(raw["property"], *found)


def _on_property(name: object, test: Test, wanted: bool) -> Condition:
    """The test of one property of the user; which one it is, is decided here and not per evaluation."""
    if not isinstance(name, str) or name == "self":
        return None, lambda key, user, active: test(None), wanted
    built_in = BUILT_IN.get(name.lower())
    if built_in == "key":
        return None, lambda key, user, active: test(key), wanted
    if built_in == "name":
        return None, lambda key, user, active: test(attribute(user, "name")), wanted
    return name, test, wanted


def _never(key: str, user: Mapping[str, Any], active: tuple[str, ...]) -> bool:
    return False
