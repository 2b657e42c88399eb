"""A segment compiled to a function of a user, and the condition on a list of segments."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from fbshared.core.conditions import (
    IN_SEGMENT,
    NOT_IN_SEGMENT,
    Condition,
    Predicate,
    all_hold,
    asking,
    broken,
    conditions_of,
    elements,
    raw_conditions,
)
from fbshared.core.operators import json_of
from fbshared.errors import EvaluationError

_BOTH = b"in segment"  # in the names of both operators


class CompiledSegment:
    """A segment as a function of a user.

    ``segments`` are the ids of all segments it can reach, nested and unknown ones included. Segments may refer to
    each other in a circle: one that is being evaluated already counts as not matching.
    """

    __slots__ = ("_excluded", "_included", "_rules", "id", "segments")

    def __init__(self, id: str) -> None:  # noqa: A002 - FeatBit's word
        self.id = id
        self.segments: frozenset[str] = frozenset()
        self._excluded: Container[str] | None = ()
        self._included: Container[str] | None = ()
        self._rules: tuple[tuple[Condition, ...], ...] = ()

    def fill(self, raw: Mapping[str, Any], membership: Callable[[object], Predicate]) -> None:
        """Compile the content; apart from the birth, because segments may need each other."""
        self._excluded = _keys(raw.get("excluded"))
        self._included = _keys(raw.get("included"))
        rules = elements(raw.get("rules"))
        if rules is None:
            self._rules = ((asking(broken("a segment without rules")),),)
        else:
            self._rules = tuple(conditions_of(rule, membership) for rule in rules)

    def matches(self, key: str, user: Mapping[str, Any], active: tuple[str, ...] = ()) -> bool:
        """Whether the user is in this segment, reached through the active ones.

        Raises:
            EvaluationError: the evaluation came to a broken part; conditions take this for "not in".
        """
        if self._excluded is None:
            raise EvaluationError("a segment without excluded keys")
        if key in self._excluded:
            return False
        if self._included is None:
            raise EvaluationError("a segment without included keys")
        if key in self._included:
            return True
        active = (*active, self.id)
        return any(all_hold(conditions, key, user, active) for conditions in self._rules)


def in_any(segments: list[CompiledSegment]) -> Predicate:
    """The function that tells whether some of these segments matches; any trouble on the way means "no"."""

    def condition(key: str, user: Mapping[str, Any], active: tuple[str, ...]) -> bool:
        try:
            for segment in segments:
                if segment.id not in active and segment.matches(key, user, active):
                    return True
        except (EvaluationError, RecursionError):
            pass
        return False

    return condition


def ids_of(value: object) -> list[str]:
    """The segment ids in a condition's value, up to the first element that cannot be one.

    The reference fails, and so answers "no", when it looks up a list or an object.
    """
    ids = []
    for element in elements(json_of(value)) or ():
        if isinstance(element, (list, dict)):
            break
        if isinstance(element, str):
            ids.append(element)
    return ids


def may_refer(blob: bytes) -> bool:
    """Whether a flag or a segment in msgpack can name any segment; far cheaper than looking."""
    return _BOTH in blob


def references(raw: Mapping[str, Any]) -> frozenset[str]:
    """The ids of all segments that a flag's or a segment's own rules name."""
    found: set[str] = set()
    for rule in elements(raw.get("rules")) or ():
        for condition in raw_conditions(rule) or ():
            if _is_membership(condition):
                found.update(ids_of(condition.get("value")))
    return frozenset(found)


def _is_membership(condition: object) -> bool:
    """Whether a condition asks for segments, as it is compiled: the property stands for a missing operator."""
    if not isinstance(condition, dict) or "op" not in condition:
        return False
    return (condition["op"] or condition.get("property")) in (IN_SEGMENT, NOT_IN_SEGMENT)


def _keys(raw: object) -> Container[str] | None:
    """What "contains" is asked of; in a text it finds parts of it, as in the reference."""
    if isinstance(raw, list):
        return frozenset(element for element in raw if isinstance(element, str))
    return raw if isinstance(raw, (str, dict)) else None
