"""An evaluation context as a FeatBit user.

================================  =========================================================================
in the context                    in the user
================================  =========================================================================
targeting key                     ``key``; where there is none, the attribute ``key`` or ``keyid``
attribute ``name``                ``name``; where there is none, the key
text, number, truth value         the same attribute, which FeatBit compares as text: ``True`` is ``"True"``
date and time                     its ISO 8601 text, ``2026-01-05T09:30:00+00:00``; UTC where it has no zone
list, mapping, also nested        its JSON text without spaces, ``["a","b"]``, dates in it as above
None, and whatever is no JSON     nothing: the attribute is missing
================================  =========================================================================
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from openfeature.evaluation_context import EvaluationContext

__all__ = ["user_of"]

log = logging.getLogger("fbshared.openfeature")

_NOT_ATTRIBUTES = frozenset(("key", "keyid", "name", "targetingKey"))
_STRUCTURES = (list, tuple, Mapping)

_told: set[object] = set()
_MOST_TOLD = 100


def user_of(context: EvaluationContext | None) -> dict[str, Any] | None:
    """The user that a context describes, None where nothing in it is a key."""
    if context is None:
        return None
    attributes = context.attributes
    key = _first_text(context.targeting_key, attributes.get("key"), attributes.get("keyid"))
    if key is None:
        return None
    user: dict[str, Any] = {"key": key, "name": _first_text(attributes.get("name")) or key}
    for name, value in attributes.items():
        if name not in _NOT_ATTRIBUTES:
            user[name] = _flat(name, value)
    return user


def _first_text(*values: object) -> str | None:
    return next((value for value in values if isinstance(value, str) and value.strip()), None)


def _flat(name: object, value: object) -> object:
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, _STRUCTURES):
        try:
            return json.dumps(value, default=_json_ready, ensure_ascii=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError):
            if name not in _told and len(_told) < _MOST_TOLD:
                _told.add(name)
                log.warning("attribute %r of an evaluation context is no JSON; it is left out", name)
            return None
    return value


def _json_ready(value: object) -> object:
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError("no JSON")


def _iso(moment: datetime) -> str:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)).isoformat()
