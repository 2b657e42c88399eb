"""A condition compiled to a test of one property, or to a function of a user; a broken one raises when it is reached.

Most conditions ask about one attribute. They are kept apart as name, question and the answer that makes them hold:
whoever walks through them reads the attribute itself, and looks into a set without any call. What may fail is never
among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from fbshared.core.model import unpack_part
from fbshared.core.operators import MISSING, NOTHING, Question, question_of
from fbshared.core.users import BUILT_IN, attribute, text_of
from fbshared.errors import EvaluationError

# The arguments are the user's key, the user, and the ids of the segments that are being evaluated already.
Predicate = Callable[[str, Mapping[str, Any], tuple[str, ...]], bool]
# An attribute's name and the set that its text must be in, or the name, None and a ``Test`` of it, or twice None and a
# ``Predicate``; and the answer with which it holds.
Condition = tuple[Any, frozenset[str] | None, Callable[..., bool], bool]

IN_SEGMENT = "User is in segment"
NOT_IN_SEGMENT = "User is not in segment"


def conditions_of(rule: object, membership: Callable[[object], Predicate]) -> tuple[Condition, ...]:
    """All conditions of a rule, in order.

    Args:
        membership: makes the condition "user is in a segment" of a condition's value.
    """
    raw = raw_conditions(rule)
    if raw is None:
        return (asking(broken("a rule without conditions")),)
    # A set is asked in half the time; where nothing can fail, the order changes no answer.
    in_sets: list[Condition] = []
    others: list[Condition] = []
    sure = True
    for entry in raw:
        condition = _condition(entry, membership)
        name, texts, _, _ = condition
        sure = sure and name is not None
        (others if texts is None or not sure else in_sets).append(condition)
    return (*in_sets, *others)


def raw_conditions(rule: object) -> list[Any] | None:
    """The conditions in a rule, unpacked where they are packed; None where there are none.

    Raises:
        MessageError: what is packed cannot be read.
    """
    raw = rule.get("conditions") if isinstance(rule, dict) else None
    return elements(unpack_part(raw) if isinstance(raw, bytes) else raw)


def lasting(conditions: tuple[Condition, ...]) -> bool:
    """Whether the same bytes always make conditions like these.

    So it is with those that cannot fail and ask for something: an empty set may stand for a list that could not be
    read so deep in the caller's stack, and a segment may change.
    """
    return all(name is not None and texts != NOTHING for name, texts, _, _ in conditions)


def all_hold(
    conditions: tuple[Condition, ...], key: str, user: Mapping[str, Any], active: tuple[str, ...] = ()
) -> bool:
    """Whether every condition holds for a user; ``core.evaluation`` has this loop written out."""
    for name, texts, test, wanted in conditions:
        if texts is not None:
            value = user.get(name)
            if value.__class__ is not str and value is not None:
                value = text_of(value)
            answer = value in texts
        elif name is not None:
            answer = test(user.get(name))
        else:
            answer = test(key, user, active)
        if answer is not wanted:
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
        return asking(broken("a condition without an operator"))
    name = raw["op"]
    if not name:  # a condition on segments has its operator in place of the property
        if "property" not in raw:
            return asking(broken("a condition without a property"))
        name = raw["property"]
        if "Than" in str(name):  # found there, a comparison never holds
            name = "Than"
    if name == IN_SEGMENT:
        return asking(membership(raw.get("value")))
    if name == NOT_IN_SEGMENT:
        return asking(membership(raw.get("value")), wanted=False)
    try:
        found = question_of(name, raw.get("value", MISSING))
    except EvaluationError as error:
        return asking(broken(str(error)))
    if found is None:
        return asking(_never)
    if "property" not in raw:
        return asking(broken("a condition without a property"))
    return _on_property(raw["property"], *found)


def _on_property(name: object, question: Question, wanted: bool, sure: bool) -> Condition:
    """The question about one property of the user; which one it is, is decided here and not per evaluation."""
    texts, test = (question, question.__contains__) if isinstance(question, frozenset) else (None, question)
    if not isinstance(name, str) or name == "self":
        return asking(lambda key, user, active: test(None), wanted)
    built_in = BUILT_IN.get(name.lower())
    if built_in == "key":
        return asking(lambda key, user, active: test(key), wanted)
    if built_in == "name":
        return asking(lambda key, user, active: test(attribute(user, "name")), wanted)
    if not sure:
        return asking(lambda key, user, active: test(user.get(name)), wanted)
    return name, texts, test, wanted


def asking(predicate: Predicate, wanted: bool = True) -> Condition:
    """The condition that a function of the user is."""
    return None, None, predicate, wanted


def _never(key: str, user: Mapping[str, Any], active: tuple[str, ...]) -> bool:
    return False
