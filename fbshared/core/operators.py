"""The operators of conditions: a table of how each one asks about a user's property, None when the user has none.

An operator is given the condition's value once and returns the question: a set where the answer is whether the
property's text is in it, which is asked without any call, and else a test of the property as the user has it.
Whatever it cannot work with it answers as the reference does: often with "no", and with an EvaluationError where the
whole evaluation fails there.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from fbshared.core.patterns import search_for
from fbshared.core.users import text_of
from fbshared.errors import EvaluationError

Test = Callable[[object], bool]
Question = frozenset[str] | Test

MISSING: Final = object()  # a condition without the field "value"; null is None
NOTHING: Final[frozenset[str]] = frozenset()
_FAR = 1e-4
_decode = json.JSONDecoder().raw_decode


def question_of(name: object, value: object) -> tuple[Question, bool, bool] | None:
    """What an operator makes of a condition's value, the answer with which the condition holds, and whether there
    always is one: other questions raise EvaluationError for some users.

    None for an unknown operator.

    Raises:
        EvaluationError: the operator fails whatever the user is like.
    """
    # The substring decides first, in the reference too, and makes an unknown comparison of any such name.
    if "Than" in str(name):
        compare = _COMPARISONS.get(name, _neither) if isinstance(name, str) else _neither
        return _numeric(compare, value), True, value is not MISSING
    if not isinstance(name, str) or name not in _OPERATORS:
        return None
    build, negated = _OPERATORS[name]
    question = build(value)
    return question, not negated, build is not _regex or isinstance(question, frozenset)


def _numeric(compare: Callable[[float, float], bool], value: object) -> Question:
    bound = _number(value)
    if bound is None:
        return _uncomparable if value is MISSING else NOTHING
    low, high = bound - _FAR, bound + _FAR
    below, above = compare(0.0, 1.0), compare(1.0, 0.0)

    def test(value: Any) -> bool:
        kind = value.__class__
        if kind is int:
            try:
                number = value * 1.0  # to the nearest float, as its text would be read
            except OverflowError:
                number = _read(value)
        elif kind is str:
            try:
                number = float(value)
            except ValueError:
                return False
        else:
            number = value if kind is float else _read(value)
        # Rounding is slow, keeps the order, and keeps the bound: it matters only close to that.
        if number > high:
            return above
        if number < low:
            return below
        return compare(round(number, 5), bound)

    return test


def _uncomparable(value: object) -> bool:
    text = text_of(value)
    try:
        float(text if text is not None else "none")
    except ValueError:
        return False
    raise EvaluationError("a condition without a value")


def _read(value: object) -> float:
    """The number that a property's text reads as; where it reads as none that of which no comparison is true."""
    text = text_of(value)
    try:
        return math.nan if text is None else float(text)
    except ValueError:
        return math.nan


def _number(value: object) -> float | None:
    """What Python's float makes of the printed value, to five decimals."""
    try:
        return round(float(str(value)), 5)
    except ValueError:
        return None


def _equal(value: object) -> Question:
    wanted = _wanted(value)
    return NOTHING if wanted is None else frozenset((wanted,))


def _one_of(value: object) -> Question:
    """Only a JSON list has elements; the reference also looks into JSON texts and objects, by accident."""
    listed = json_of(value)
    return frozenset([each for each in listed if isinstance(each, str)]) if isinstance(listed, list) else NOTHING


def _contains(value: object) -> Question:
    wanted = _wanted(value)
    if wanted is None:
        return NOTHING

    def test(value: object) -> bool:
        # ``text_of`` alone would do; it is called only for what is no text.
        text = value if value.__class__ is str else text_of(value)
        return text is not None and wanted in text

    return test


def _at_an_end(value: object, has: Callable[[str, str], bool]) -> Question:
    wanted = _wanted(value)
    if wanted is None:
        return NOTHING

    def test(value: object) -> bool:
        text = value if value.__class__ is str else text_of(value)
        return text is not None and has(text, wanted)

    return test


def _true(value: object) -> Question:
    return lambda value: (text := text_of(value)) is not None and text.lower() == "true"


def _false(value: object) -> Question:
    return lambda value: (text := text_of(value)) is not None and text.lower() == "false"


def _regex(value: object) -> Question:
    wanted = _wanted(value)
    if wanted is None:
        return NOTHING
    try:
        search = search_for(wanted)
    except Exception:  # noqa: BLE001 - also OverflowError, RecursionError, and warnings that somebody made errors
        return _bad_regex
    return lambda value: (text := text_of(value)) is not None and search(text)


def _bad_regex(value: object) -> bool:
    if text_of(value) is None:
        return False
    raise EvaluationError("a condition with an invalid regular expression")


def _neither(number: float, bound: float) -> bool:
    return False


def _wanted(value: object) -> str | None:
    """The condition's value as text, None for null, which nothing equals or contains."""
    if value is MISSING:
        raise EvaluationError("a condition without a value")
    return None if value is None else str(value)


def json_of(value: object) -> Any:
    """What is written as JSON in a condition's value, None when nothing is."""
    try:
        # ``json.loads`` searches for spaces on both sides first, which takes longer than a short list.
        if value.__class__ is str and value[:1] == "[":
            found, end = _decode(value)
            if end == len(value):
                return found
        return json.loads(value)  # type: ignore[arg-type]  # anything: what is no text has no JSON
    except (ValueError, TypeError, RecursionError):
        return None


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "BiggerEqualThan": operator.ge,
    "BiggerThan": operator.gt,
    "LessEqualThan": operator.le,
    "LessThan": operator.lt,
}

_OPERATORS: dict[str, tuple[Callable[[object], Question], bool]] = {
    "Equal": (_equal, False),
    "NotEqual": (_equal, True),
    "Contains": (_contains, False),
    "NotContain": (_contains, True),
    "IsOneOf": (_one_of, False),
    "NotOneOf": (_one_of, True),
    "StartsWith": (partial(_at_an_end, has=str.startswith), False),
    "EndsWith": (partial(_at_an_end, has=str.endswith), False),
    "IsTrue": (_true, False),
    "IsFalse": (_false, False),
    "MatchRegex": (_regex, False),
    "NotMatchRegex": (_regex, True),
}
