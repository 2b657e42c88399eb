"""What the builders make."""

import uuid

import pytest

from fbshared.testing import (
    bootstrap,
    condition,
    flag,
    in_segment,
    not_in_segment,
    rule,
    segment,
    segment_id,
    split,
)


def test_a_plain_flag_serves_true() -> None:
    """Without arguments a flag is boolean, on, and serves its first variation."""
    raw = flag("a")

    assert ["true", "false"] == [variation["value"] for variation in raw["variations"]]
    assert raw["isEnabled"]
    assert raw["variations"][0]["id"] == raw["fallthrough"]["variations"][0]["id"]
    assert raw["variations"][1]["id"] == raw["disabledVariationId"]
    assert "insightsEnabled" not in raw


def test_the_same_call_makes_the_same_flag() -> None:
    """Ids come from keys and values and are GUIDs."""
    assert flag("a", rules=[rule(True)]) == flag("a", rules=[rule(True)])
    assert str(uuid.UUID(flag("a")["id"])) == flag("a")["id"]
    assert flag("a")["variations"][0]["id"] != flag("b")["variations"][0]["id"]


def test_values_become_text() -> None:
    """FeatBit keeps every value as text."""
    raw = flag("a", "json", [{"x": 1}, [], "[1, 2]", 1.5])

    assert ['{"x": 1}', "[]", "[1, 2]", "1.5"] == [variation["value"] for variation in raw["variations"]]


def test_shares_become_ranges() -> None:
    """A split's ranges follow each other and end at one."""
    raw = flag("a", "string", ["x", "y", "z"], serve=split(("x", 0.1), ("z", 0.2), ("y", 0.7), by="plan"))

    assert [[0, 0.1], [0.1, 0.3], [0.3, 1]] == [one["rollout"] for one in raw["fallthrough"]["variations"]]
    assert "plan" == raw["fallthrough"]["dispatchKey"]
    assert raw["fallthrough"]["includedInExpt"] is False


def test_an_experiment_takes_part() -> None:
    """A split with an experiment is included in it with its fraction."""
    served = flag("a", serve=split((True, 0.5), (False, 0.5), experiment=0.2))["fallthrough"]

    assert served["includedInExpt"] is True
    assert [0.2, 0.2] == [one["exptRollout"] for one in served["variations"]]


def test_only_variations_can_be_served() -> None:
    """A value that is no variation is a mistake of the test."""
    with pytest.raises(ValueError, match="no variation of a"):
        flag("a", serve="maybe")


def test_conditions_are_written_as_the_ui_does() -> None:
    """Lists are JSON text, and the value of IsTrue is its name."""
    assert '["de", "fr"]' == condition("country", "IsOneOf", ["de", "fr"])["value"]
    assert "IsTrue" == condition("vip", "IsTrue")["value"]
    assert "3" == condition("age", "BiggerThan", 3)["value"]


def test_segments_are_named_by_key_or_id() -> None:
    """A condition finds the segment that was built with the same key."""
    raw = segment("staff", rules=[[condition("mail", "EndsWith", "@example.com")], []])

    assert raw["id"] in in_segment("staff")["value"]
    assert raw["id"] in not_in_segment("other", raw["id"])["value"]
    assert raw["id"] == segment_id(raw["id"])
    assert "User is in segment" == in_segment("staff")["property"]
    assert in_segment("staff")["op"] is None
    assert [1, 0] == [len(one["conditions"]) for one in raw["rules"]]


def test_versions_may_be_numbers() -> None:
    """Milliseconds become an updatedAt."""
    assert "1970-01-01T00:00:01.5Z" == flag("a", updated_at=1_500)["updatedAt"]
    assert "1970-01-01T00:00:01.5Z" == segment("s", updated_at=1_500)["updatedAt"]


def test_a_bootstrap_is_a_full() -> None:
    """It is the message that a server sends first."""
    assert {
        "messageType": "data-sync",
        "data": {"eventType": "full", "featureFlags": [flag("a")], "segments": []},
    } == bootstrap([flag("a")])
