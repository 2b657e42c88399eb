"""Builders of FeatBit objects, for tests that care about one field of them."""

from collections.abc import Callable
from typing import Any

import pytest

Raw = dict[str, Any]


@pytest.fixture
def make_flag() -> Callable[..., Raw]:
    """Makes an enabled flag that gives everybody variation A; fields can be replaced."""

    def make(**fields: Any) -> Raw:
        return {
            "id": "0001",
            "key": "ff",
            "name": "A flag",
            "variationType": "string",
            "variations": [{"id": n, "name": n, "value": f"value {n}"} for n in ("A", "B")],
            "targetUsers": [],
            "rules": [],
            "isEnabled": True,
            "disabledVariationId": "B",
            "fallthrough": {"dispatchKey": None, "includedInExpt": False, "variations": [part("A", 0, 1)]},
            "exptIncludeAllTargets": False,
            "isArchived": False,
            "updatedAt": "2024-01-01T00:00:00.000Z",
        } | fields

    return make


@pytest.fixture
def make_segment() -> Callable[..., Raw]:
    """Makes an empty segment; fields can be replaced."""

    def make(name: str, **fields: Any) -> Raw:
        return {
            "id": name,
            "included": [],
            "excluded": [],
            "rules": [],
            "isArchived": False,
            "updatedAt": "2024-01-01T00:00:00.000Z",
        } | fields

    return make


@pytest.fixture
def make_part() -> Callable[..., Raw]:
    """Makes one entry of a rollout."""
    return part


def part(variation: str, lower: float, upper: float, expt: float = 1) -> Raw:
    return {"id": variation, "rollout": [lower, upper], "exptRollout": expt}
