"""Reading a large JSON text piece by piece: what is in its lists is converted one by one, as soon as it is read.

The whole text at once would be many times its size as Python objects, and nothing else of the process would run until
all of them are made. A small text is read at once, which takes less time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Union

from fbshared.errors import MessageError

__all__ = ["Plan", "read"]

# What becomes of some members of an object: of a list, each element goes through a function; of an object, its members
# have a plan of their own. All others are what JSON says.
Plan = Mapping[str, Union["Plan", Callable[[object], object]]]

_SMALL = 1 << 16

_value = json.JSONDecoder().raw_decode
_space = re.compile(r"[ \t\n\r]*").match


def read(text: str | bytes, plan: Plan) -> Any:
    """The value in a text; of members that the plan names with another type than it says, what JSON says.

    Raises:
        MessageError: it is not JSON.
    """
    try:
        if len(text) < _SMALL:
            return _converted(json.loads(text), plan)
        if not isinstance(text, str):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        value, at = _planned(text, _behind_space(text, 0), plan)
        if _behind_space(text, at) != len(text):
            raise ValueError("more behind the value")
    except (ValueError, RecursionError, IndexError) as error:
        raise MessageError("not JSON") from error
    return value


def _converted(value: Any, plan: Plan | Callable[[object], object]) -> Any:
    """The value with what the plan says of it."""
    if callable(plan):
        return [plan(element) for element in value] if isinstance(value, list) else value
    if isinstance(value, dict):
        for name in plan.keys() & value.keys():
            value[name] = _converted(value[name], plan[name])
    return value


def _planned(text: str, at: int, plan: Plan | Callable[[object], object] | None) -> tuple[Any, int]:
    """The value at a place, and the place behind it."""
    if callable(plan) and text[at] == "[":
        return _list(text, at, plan)
    if isinstance(plan, Mapping) and text[at] == "{":
        return _object(text, at, plan)
    return _value(text, at)


def _object(text: str, at: int, plan: Plan) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    at = _behind_space(text, at + 1)
    if text[at] == "}":
        return found, at + 1
    while True:
        if text[at] != '"':
            raise ValueError("a member without a name")
        name, at = _value(text, at)
        at = _behind(text, at, ":")
        found[name], at = _planned(text, at, plan.get(name))
        at = _behind_space(text, at)
        if text[at] == "}":
            return found, at + 1
        at = _behind(text, at, ",")


def _list(text: str, at: int, convert: Callable[[object], object]) -> tuple[list[Any], int]:
    found: list[Any] = []
    at = _behind_space(text, at + 1)
    if text[at] == "]":
        return found, at + 1
    while True:
        element, at = _value(text, at)
        found.append(convert(element))
        at = _behind_space(text, at)
        if text[at] == "]":
            return found, at + 1
        at = _behind(text, at, ",")


def _behind(text: str, at: int, sign: str) -> int:
    """The place of what follows on a sign, which may have space around it."""
    at = _behind_space(text, at)
    if text[at] != sign:
        raise ValueError(f"no {sign}")
    return _behind_space(text, at + 1)


def _behind_space(text: str, at: int) -> int:
    found = _space(text, at)
    assert found is not None  # it may be empty
    return found.end()
