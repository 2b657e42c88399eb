"""The sample shows everything that FeatBit can say."""

import json
import uuid
from typing import Any

from fbshared.testing import sample_environment

DATA = sample_environment()["data"]
FLAGS: list[dict[str, Any]] = DATA["featureFlags"]
SEGMENTS: list[dict[str, Any]] = DATA["segments"]


def test_every_kind_of_flag_is_there() -> None:
    """All types, a disabled one, an archived one, one without insights, one in an experiment."""
    assert {"boolean", "string", "number", "json"} == {raw["variationType"] for raw in FLAGS}
    assert any(not raw["isEnabled"] for raw in FLAGS)
    assert any(raw["isArchived"] for raw in FLAGS)
    assert any(raw.get("insightsEnabled") is False for raw in FLAGS)
    assert any(raw["fallthrough"]["includedInExpt"] for raw in FLAGS)
    assert {None, "keyId", "household"} == {raw["fallthrough"]["dispatchKey"] for raw in FLAGS}


def test_identities_are_unique() -> None:
    """Keys of flags, and ids of all that has one, differ."""
    variations = [variation["id"] for raw in FLAGS for variation in raw["variations"]]
    ids = [raw["id"] for raw in FLAGS + SEGMENTS] + variations

    assert len(FLAGS) == len({raw["key"] for raw in FLAGS})
    assert len(ids) == len(set(ids))
    assert ids == [str(uuid.UUID(one)) for one in ids]


def test_segment_conditions_lead_somewhere() -> None:
    """Every segment that a rule asks for exists."""
    conditions = [one for raw in FLAGS for rule in raw["rules"] for one in rule["conditions"]]
    asked = {one for c in conditions if c["op"] is None for one in json.loads(c["value"])}

    assert asked
    assert asked <= {raw["id"] for raw in SEGMENTS}


def test_it_is_new_every_time() -> None:
    """Changing one sample does not change the next."""
    sample_environment()["data"]["featureFlags"].clear()

    assert sample_environment()["data"]["featureFlags"] == FLAGS
