"""A user is the application's plain dict; it is read lazily and never copied on the way to a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BUILT_IN = {"key": "key", "keyid": "key", "name": "name"}  # property, lower-cased -> what it names

_PRINTABLE = frozenset((bool, int, float))  # always a number or a truth value as text
_DROPPED = frozenset((type(None), list, tuple, dict, set, bytes))  # never; and long to print


def key_of(user: object) -> str | None:
    """The key of a valid user, None for what the reference calls "user not specified"."""
    if not isinstance(user, dict):
        return None
    try:
        key = user.get("key") or user.get("keyid")
        name = user.get("name")
    except Exception:  # noqa: BLE001 - the application's own objects decide what they raise
        return None
    if not (isinstance(key, str) and isinstance(name, str) and key.strip() and name.strip()):
        return None
    return key if key.__class__ is str else str.__str__(key)


def attribute(user: Mapping[str, Any], name: str) -> str | None:
    """The user's property as text, None when it is missing or no text, number or truth value."""
    what = BUILT_IN.get(name) or BUILT_IN.get(name.lower())
    if what == "key":
        return key_of(user)
    if what == "name":
        return str(user["name"])
    return text_of(user.get(name)) if name != "self" else None


def text_of(value: object) -> str | None:
    """An attribute's value as text: str, bool and whatever prints as a number have one."""
    kind = value.__class__
    if kind is str:
        return value  # type: ignore[return-value]  # the comparison is faster than isinstance, unknown to mypy
    if kind in _DROPPED:
        return None
    try:
        text = str(value)
        if kind not in _PRINTABLE and not isinstance(value, str):
            float(text)
    except Exception:  # noqa: BLE001 - the application's own objects decide what they raise
        return None
    return text


def plain(user: Mapping[str, Any]) -> dict[str, str]:
    """A valid user reduced to what FeatBit is told: texts only, still a valid user of the same properties."""
    reduced = {"key": key_of(user) or "", "name": str.__str__(user["name"])}
    raw: dict[Any, Any] = dict(user)
    for name, value in raw.items():
        if isinstance(name, str) and name.lower() not in BUILT_IN and name != "self":
            text = text_of(value)
            if text is not None:
                reduced[str.__str__(name)] = text
    return reduced


def normalised(user: Mapping[str, Any]) -> dict[str, Any]:
    """A valid user as an insight event carries it."""
    texts = {name: well_formed(text) for name, text in plain(user).items()}
    key, name = texts.pop("key"), texts.pop("name")
    properties = [{"name": well_formed(name), "value": value} for name, value in texts.items()]
    return {"keyId": key, "name": name, "customizedProperties": properties}


def well_formed(text: str) -> str:
    """The text with U+FFFD in place of every lone surrogate, which no UTF-8 can carry."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
