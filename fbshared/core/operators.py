"""The operators of conditions: a table of how each one tests a user's text, None when the user has none.

An operator is given the condition's value once and returns the test. Whatever it cannot work with it answers as
the reference does: often with "no", and with an EvaluationError where the whole evaluation fails there.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from typing import Any, Final

from fbshared.core.patterns import search_for
from fbshared.errors import EvaluationError

Test = Callable[[str | None], bool]

MISSING: Final = object()  # a condition without the field "value"; null is None
_FAR = 1e-4


def test_of(name: object, value: object) -> tuple[Test, bool] | None:
    """The test that an operator makes of a condition's value, and what it gives when the condition holds.

    None for an unknown operator.

    Raises:
        EvaluationError: the operator fails whatever the user is like.
    """
    # The substring decides first, in the reference too, and makes an unknown comparison of any such name.
    if "Than" in str(name):
        return _numeric(_COMPARISONS.get(name, _neither) if isinstance(name, str) else _neither, value), True
    if not isinstance(name, str) or name not in _OPERATORS:
        return None
    build, negated = _OPERATORS[name]
    return build(value), not negated


def _numeric(compare: Callable[[float, float], bool], value: object) -> Test:
    bound = _number(value)
    if bound is None and value is not MISSING:
        return _never
    low, high = (bound or 0.0) - _FAR, (bound or 0.0) + _FAR
    below, above = compare(0.0, 1.0), compare(1.0, 0.0)

    def test(text: str | None) -> bool:
        if text is None:
            return False
        try:
            number = float(text)
        except ValueError:
            return False
        if bound is None:
            raise EvaluationError("a condition without a value")
        # Rounding is slow, keeps the order, and keeps the bound: it matters only close to that.
        if number > high:
            return above
        if number < low:
            return below
        return compare(round(number, 5), bound)

    return test


def _number(value: object) -> float | None:
    """What Python's float makes of the printed value, to five decimals."""
    try:
        return round(float(str(value)), 5)
    except ValueError:
        return None


def _equal(value: object) -> Test:
    wanted = _wanted(value)
    # A set's own method is called in half the time that a function of ours takes.
    return _never if wanted is None else frozenset((wanted,)).__contains__


def _contains(value: object) -> Test:
    wanted = _wanted(value)
    return _never if wanted is None else lambda text: text is not None and wanted in text


def _starts(value: object) -> Test:
    wanted = _wanted(value)
    return _never if wanted is None else lambda text: text is not None and text.startswith(wanted)


def _ends(value: object) -> Test:
    wanted = _wanted(value)
    return _never if wanted is None else lambda text: text is not None and text.endswith(wanted)


def _one_of(value: object) -> Test:
    """Only a JSON list has elements; the reference also looks into JSON texts and objects, by accident."""
    listed = json_of(value)
    texts = frozenset(e for e in listed if isinstance(e, str)) if isinstance(listed, list) else frozenset()
    return texts.__contains__


def _true(value: object) -> Test:
    return lambda text: text is not None and text.lower() == "true"


def _false(value: object) -> Test:
    return lambda text: text is not None and text.lower() == "false"


def _regex(value: object) -> Test:
    wanted = _wanted(value)
    if wanted is None:
        return _never
    try:
        search = search_for(wanted)
    except Exception:  # noqa: BLE001 - also OverflowError, RecursionError, and warnings that somebody made errors
        return _bad_regex
    return lambda text: text is not None and search(text)


def _bad_regex(text: str | None) -> bool:
    if text is None:
        return False
    raise EvaluationError("a condition with an invalid regular expression")


def _never(text: str | None) -> bool:
    return False


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
        return json.loads(value)  # type: ignore[arg-type]  # anything: what is no text has no JSON
    except (ValueError, TypeError, RecursionError):
        return None


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "BiggerEqualThan": operator.ge,
    "BiggerThan": operator.gt,
    "LessEqualThan": operator.le,
    "LessThan": operator.lt,
}

_OPERATORS: dict[str, tuple[Callable[[object], Test], bool]] = {
    "Equal": (_equal, False),
    "NotEqual": (_equal, True),
    "Contains": (_contains, False),
    "NotContain": (_contains, True),
    "IsOneOf": (_one_of, False),
    "NotOneOf": (_one_of, True),
    "StartsWith": (_starts, False),
    "EndsWith": (_ends, False),
    "IsTrue": (_true, False),
    "IsFalse": (_false, False),
    "MatchRegex": (_regex, False),
    "NotMatchRegex": (_regex, True),
}
