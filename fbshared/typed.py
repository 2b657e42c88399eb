"""Evaluation for who expects a type.

FeatBit knows four types of flags; what counts is the value that an evaluation gives, as ``variation`` returns it:

========= ===========================================================================================================
asked for a value of that type
========= ===========================================================================================================
bool      true or false: what a boolean flag gives
int       a whole number: what a number flag gives for ``3`` and ``3.0``, not for ``3.5``
float     any number, turned into a float: ``3`` of a number flag is 3.0 here; infinity and NaN are floats, too
str       a text: what a string flag gives, and what a flag of another type gives if its value is not of that type
json      an object or a list: what a JSON flag gives; a text, number, truth value or null in it is none
========= ===========================================================================================================

A JSON flag that holds ``true``, ``3`` or ``"a"`` gives a bool, an int, a str. Any other value is a ``wrong type``: the
answer is the default, and no event is sent, because the user did not get the variation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

from fbshared.common_types import EvalDetail, no_value
from fbshared.core.evaluation import WRONG_TYPE, Outcome

__all__ = ["TypedVariations"]

JSON = dict[str, Any] | list[Any]
User = Mapping[str, Any]

_BOOL = frozenset({bool})
_INT = frozenset({int})
_FLOAT = frozenset({int, float})
_STR = frozenset({str})
_JSON = frozenset({dict, list})
_NONE = object()


class TypedVariations:
    """One method for each type of value, and one with the reason; a part of ``FBClient``. None of them ever raises.

    A default in the configuration wins over the one of the call, if it is of the type.
    """

    __slots__ = ()

    @overload
    def bool_variation(self, key: str, user: User, default: bool) -> bool: ...
    @overload
    def bool_variation(self, key: str, user: User, default: None = None) -> bool | None: ...
    def bool_variation(self, key: str, user: User, default: bool | None = None) -> bool | None:
        """The truth value of a flag for a user; the default where it has none."""
        value: bool | None = self._typed(key, user, default, _BOOL)
        return value

    @overload
    def bool_variation_detail(self, key: str, user: User, default: bool) -> EvalDetail[bool]: ...
    @overload
    def bool_variation_detail(self, key: str, user: User, default: None = None) -> EvalDetail[bool | None]: ...
    def bool_variation_detail(self, key: str, user: User, default: bool | None = None) -> EvalDetail[Any]:
        """As ``bool_variation``, with the reason."""
        return self._typed_detail(key, user, default, _BOOL)

    @overload
    def int_variation(self, key: str, user: User, default: int) -> int: ...
    @overload
    def int_variation(self, key: str, user: User, default: None = None) -> int | None: ...
    def int_variation(self, key: str, user: User, default: int | None = None) -> int | None:
        """The whole number of a flag for a user; the default where it has none."""
        value: int | None = self._typed(key, user, default, _INT)
        return value

    @overload
    def int_variation_detail(self, key: str, user: User, default: int) -> EvalDetail[int]: ...
    @overload
    def int_variation_detail(self, key: str, user: User, default: None = None) -> EvalDetail[int | None]: ...
    def int_variation_detail(self, key: str, user: User, default: int | None = None) -> EvalDetail[Any]:
        """As ``int_variation``, with the reason."""
        return self._typed_detail(key, user, default, _INT)

    @overload
    def float_variation(self, key: str, user: User, default: float) -> float: ...
    @overload
    def float_variation(self, key: str, user: User, default: None = None) -> float | None: ...
    def float_variation(self, key: str, user: User, default: float | None = None) -> float | None:
        """The number of a flag for a user as a float; the default where it has none."""
        value: float | None = self._typed(key, user, default, _FLOAT)
        return value

    @overload
    def float_variation_detail(self, key: str, user: User, default: float) -> EvalDetail[float]: ...
    @overload
    def float_variation_detail(self, key: str, user: User, default: None = None) -> EvalDetail[float | None]: ...
    def float_variation_detail(self, key: str, user: User, default: float | None = None) -> EvalDetail[Any]:
        """As ``float_variation``, with the reason."""
        return self._typed_detail(key, user, default, _FLOAT)

    @overload
    def str_variation(self, key: str, user: User, default: str) -> str: ...
    @overload
    def str_variation(self, key: str, user: User, default: None = None) -> str | None: ...
    def str_variation(self, key: str, user: User, default: str | None = None) -> str | None:
        """The text of a flag for a user; the default where it has none."""
        value: str | None = self._typed(key, user, default, _STR)
        return value

    @overload
    def str_variation_detail(self, key: str, user: User, default: str) -> EvalDetail[str]: ...
    @overload
    def str_variation_detail(self, key: str, user: User, default: None = None) -> EvalDetail[str | None]: ...
    def str_variation_detail(self, key: str, user: User, default: str | None = None) -> EvalDetail[Any]:
        """As ``str_variation``, with the reason."""
        return self._typed_detail(key, user, default, _STR)

    @overload
    def json_variation(self, key: str, user: User, default: JSON) -> JSON: ...
    @overload
    def json_variation(self, key: str, user: User, default: None = None) -> JSON | None: ...
    def json_variation(self, key: str, user: User, default: JSON | None = None) -> JSON | None:
        """The object or list of a flag for a user, the caller's own to change; the default where it has none."""
        value: JSON | None = self._typed(key, user, default, _JSON)
        return value

    @overload
    def json_variation_detail(self, key: str, user: User, default: JSON) -> EvalDetail[JSON]: ...
    @overload
    def json_variation_detail(self, key: str, user: User, default: None = None) -> EvalDetail[JSON | None]: ...
    def json_variation_detail(self, key: str, user: User, default: JSON | None = None) -> EvalDetail[Any]:
        """As ``json_variation``, with the reason."""
        return self._typed_detail(key, user, default, _JSON)

    # -- inside ----------------------------------------------------------------------------------------------

    def _typed(self, key: str, user: User, default: Any, kinds: frozenset[type]) -> Any:
        outcome = self._evaluate(key, user)
        if isinstance(outcome, Outcome):
            value = _value(outcome, kinds)
            if value is not _NONE:
                self._send(user, outcome)
                return value
        return self._typed_default(key, default, kinds)

    def _typed_detail(self, key: str, user: User, default: Any, kinds: frozenset[type]) -> EvalDetail[Any]:
        outcome = self._evaluate(key, user)
        if isinstance(outcome, Outcome):
            value = _value(outcome, kinds)
            if value is not _NONE:
                self._send(user, outcome)
                return EvalDetail(outcome.reason, value, outcome.key, outcome.name, outcome.variation_id)
            return EvalDetail(WRONG_TYPE, self._typed_default(key, default, kinds), outcome.key, outcome.name)
        return no_value(outcome, key, self._typed_default(key, default, kinds))

    def _typed_default(self, key: str, default: Any, kinds: frozenset[type]) -> Any:
        chosen = self._default(key, default)
        return chosen if type(chosen) in kinds else default

    # What the client has.

    def _evaluate(self, key: str, user: User) -> Outcome | str:
        raise NotImplementedError

    def _send(self, user: User, outcome: Outcome) -> None:
        raise NotImplementedError

    def _default(self, key: str, default: Any) -> Any:
        raise NotImplementedError


def _value(outcome: Outcome, kinds: frozenset[type]) -> Any:
    """The value if it is of one of these classes, a whole number as a float where that is one; else ``_NONE``."""
    if outcome.kind not in kinds:
        return _NONE
    if kinds is not _FLOAT:
        return outcome.value()
    try:
        number: int | float = outcome.value()
        return float(number)
    except OverflowError:  # a whole number of a JSON flag that no float reaches
        return _NONE
