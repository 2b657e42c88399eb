"""What becomes of an evaluation context."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from openfeature.evaluation_context import EvaluationContext

from fbshared.core.users import normalised
from fbshared.openfeature.context import user_of


def sent(value: Any) -> str | None:
    """What FeatBit is told of an attribute with this value."""
    user = user_of(EvaluationContext("u1", {"it": value}))
    assert user is not None
    properties = normalised(user)["customizedProperties"]
    found: dict[str, str] = {each["name"]: each["value"] for each in properties}
    return found.get("it")


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
NOON = datetime(2026, 1, 5, 12, 0, 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ("", ""),
        ("Świętopełk", "Świętopełk"),
        (True, "True"),
        (False, "False"),
        (36, "36"),
        (-1.5, "-1.5"),
        (NOON, "2026-01-05T12:00:00+00:00"),
        (NOON.replace(tzinfo=timezone(timedelta(hours=1))), "2026-01-05T12:00:00+01:00"),
        (["a", 1, True, None], '["a",1,true,null]'),
        (("a", "b"), '["a","b"]'),
        ([], "[]"),
        ({"a": {"b": [1.5, NOON]}}, '{"a":{"b":[1.5,"2026-01-05T12:00:00+00:00"]}}'),
        (MappingProxyType({"a": MappingProxyType({"ł": 1})}), '{"a":{"ł":1}}'),
        (None, None),
        ({1, 2}, None),
        ([{1, 2}], None),
        ([b"bytes"], None),
        (CIRCLE, None),
        (uuid.UUID(int=1), None),
    ],
)
def test_attributes(value: Any, expected: str | None) -> None:
    """Every type that OpenFeature allows has a text, and what is none of them is missing."""
    assert expected == sent(value)


@pytest.mark.parametrize(
    ("targeting_key", "attributes", "key", "name"),
    [
        ("u1", {}, "u1", "u1"),
        ("u1", {"name": "Ada"}, "u1", "Ada"),
        ("u1", {"name": " "}, "u1", "u1"),
        ("u1", {"name": 5}, "u1", "u1"),
        ("u1", {"key": "other", "keyid": "other", "targetingKey": "other"}, "u1", "u1"),
        (None, {"key": "u2"}, "u2", "u2"),
        (" ", {"key": 5, "keyid": "u3"}, "u3", "u3"),
    ],
)
def test_key_and_name(targeting_key: str | None, attributes: Mapping[str, Any], key: str, name: str) -> None:
    """The targeting key is the key, and where there is no name it is the name too."""
    assert {"key": key, "name": name} == user_of(EvaluationContext(targeting_key, attributes))


@pytest.mark.parametrize(
    "context", [None, EvaluationContext(), EvaluationContext(""), EvaluationContext(None, {"a": 1})]
)
def test_nobody(context: EvaluationContext | None) -> None:
    """Without a key there is no user."""
    assert user_of(context) is None


def test_what_is_no_json_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """An attribute that cannot be sent is logged by its name, once, and never with its value."""
    for _ in range(3):
        user_of(EvaluationContext("u1", {"mine": ["secret", {1}]}))

    assert [("fbshared.openfeature", logging.WARNING)] == [(one.name, one.levelno) for one in caplog.records]
    assert "'mine'" in caplog.text
    assert "secret" not in caplog.text
