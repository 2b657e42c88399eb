"""What the insight endpoint accepts: one pure function from a request body to events.

The body is bound to the server's model as a whole, so a wrong type anywhere refuses all of it. Where the
answer of a real server is not known (a null in place of a string, say), this one refuses.
"""

import json
from typing import Any, NoReturn

from fbshared.testing.records import Found

_INT64 = 2**63
_METRIC_TEXTS = ("route", "type", "appType", "eventName")


class RefusedError(Exception):
    """The server answers this status instead of accepting the request."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def read(body: bytes) -> Found:
    """The (kind, user, entry) triples of an acceptable body, in order; RefusedError otherwise."""
    objects = _parse(body)
    if type(objects) is not list:
        raise RefusedError(400)
    found: Found = []
    for item in objects:
        if item is None:
            raise RefusedError(500)
        if type(item) is not dict:
            raise RefusedError(400)
        user: Any = item.get("user")
        known = _known(user)
        variations = [entry for entry in _entries(item.get("variations")) if _is_variation(entry)]
        metrics = _entries(item.get("metrics"))
        for entry in metrics:
            _check_metric(entry)
        if not known:
            continue
        found += [("variation", user, entry) for entry in variations]
        found += [("metric", user, entry) for entry in metrics]
        if not (item.get("variations") or metrics):
            found.append(("user", user, {}))
    return found


def _parse(body: bytes) -> Any:
    try:
        parsed = json.loads(body.decode(), parse_constant=_no_constant)
        # Half a surrogate pair comes as an escape only; Python's parser lets it pass, the server's does not.
        if b"\\ud" in body.lower():
            json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise RefusedError(400) from None
    return parsed


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _entries(value: Any) -> list[Any]:
    if value is None:
        return []
    if type(value) is not list:
        raise RefusedError(400)
    return value


def _known(user: Any) -> bool:
    """Whether the user is one; an object without a usable user is skipped and not refused."""
    if user is None:
        return False
    if type(user) is not dict:
        raise RefusedError(400)
    key, name = user.get("keyId"), user.get("name")
    properties = user.get("customizedProperties", [])
    if (key is not None and type(key) is not str) or (name is not None and type(name) is not str):
        raise RefusedError(400)
    if type(properties) is not list:
        raise RefusedError(400)
    for entry in properties:
        if type(entry) is not dict or type(entry.get("name")) is not str or type(entry.get("value")) is not str:
            raise RefusedError(400)
    return bool(key and not key.isspace())


def _is_variation(entry: Any) -> bool:
    """Whether the entry counts: one without a variation is skipped and not refused."""
    if (
        type(entry) is not dict
        or type(entry.get("featureFlagKey")) is not str
        or type(entry.get("sendToExperiment", False)) is not bool
    ):
        raise RefusedError(400)
    _check_timestamp(entry)
    variation = entry.get("variation")
    if variation is None:
        return False
    if type(variation) is not dict or type(variation.get("id")) is not str or type(variation.get("value")) is not str:
        raise RefusedError(400)
    return True


def _check_metric(entry: Any) -> None:
    if type(entry) is not dict or type(entry.get("numericValue", 0)) not in (int, float):
        raise RefusedError(400)
    for field in _METRIC_TEXTS:
        if type(entry.get(field)) is not str:
            raise RefusedError(400)
    _check_timestamp(entry)


def _check_timestamp(entry: dict[str, Any]) -> None:
    timestamp = entry.get("timestamp", 0)
    if type(timestamp) is not int or not -_INT64 <= timestamp < _INT64:
        raise RefusedError(400)
