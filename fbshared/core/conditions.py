"""A condition compiled to a function of a user; a broken one to a function that raises when it is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from fbshared.core.operators import MISSING, Test, test_of
from fbshared.core.users import BUILT_IN, attribute, text_of
from fbshared.errors import EvaluationError

# The arguments are the user's key, the user, and the ids of the segments that are being evaluated already.
Condition = Callable[[str, Mapping[str, Any], tuple[str, ...]], bool]

IN_SEGMENT = "User is in segment"
NOT_IN_SEGMENT = "User is not in segment"


def conditions_of(rule: object, membership: Callable[[object], Condition]) -> tuple[Condition, ...]:
    """All conditions of a rule, in order.

    Args:
        membership: makes the condition "user is in a segment" of a condition's value.
    """
    raw = elements(rule.get("conditions")) if isinstance(rule, dict) else None
    if raw is None:
        return (broken("a rule without conditions"),)
    return tuple(_condition(entry, membership) for entry in raw)


def elements(raw: object) -> list[Any] | None:
    """What a loop over a JSON value sees, None when that fails."""
    if isinstance(raw, list):
        return raw
    return list(raw) if isinstance(raw, (str, dict)) else None


def broken(why: str) -> Condition:
    """The condition that fails with a reason."""

    def condition(key: str, user: Mapping[str, Any], active: tuple[str, ...]) -> NoReturn:
        raise EvaluationError(why)

    return condition


def _condition(raw: object, membership: Callable[[object], Condition]) -> Condition:
    if not isinstance(raw, dict) or "op" not in raw:
        return broken("a condition without an operator")
    name = raw["op"]
    if not name:  # a condition on segments has its operator in place of the property
        if "property" not in raw:
            return broken("a condition without a property")
        name = raw["property"]
        if "Than" in str(name):  # found there, a comparison never holds
            name = "Than"
    if name == IN_SEGMENT:
        return membership(raw.get("value"))
    if name == NOT_IN_SEGMENT:
        inside = membership(raw.get("value"))
        return lambda key, user, active: not inside(key, user, active)
    try:
        test = test_of(name, raw.get("value", MISSING))
    except EvaluationError as error:
        return broken(str(error))
    if test is None:
        return _never
    if "property" not in raw:
        return broken("a condition without a property")
    return _on_property(raw["property"], test)


def _on_property(name: object, test: Test) -> Condition:
    """The test of one property of the user; which one it is, is decided here and not per evaluation."""
    if not isinstance(name, str) or name == "self":
        return lambda key, user, active: test(None)
    built_in = BUILT_IN.get(name.lower())
    if built_in == "key":
        return lambda key, user, active: test(key)
    if built_in == "name":
        return lambda key, user, active: test(attribute(user, "name"))

    def condition(key: str, user: Mapping[str, Any], active: tuple[str, ...]) -> bool:
        value = user.get(name)
        return test(value if value.__class__ is str else text_of(value))

    return condition


def _never(key: str, user: Mapping[str, Any], active: tuple[str, ...]) -> bool:
    return False
