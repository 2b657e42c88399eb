"""Which bodies the insight endpoint accepts and what it makes of them."""

import json
from typing import Any

import pytest

from fbshared.testing.insights import RefusedError, read

USER = {"keyId": "u1", "name": "Ada", "customizedProperties": [{"name": "plan", "value": "pro"}]}
VARIATION = {
    "featureFlagKey": "dark-mode",
    "sendToExperiment": True,
    "timestamp": 1_700_000_000_123,
    "variation": {"id": "v1", "value": "true", "reason": "target match"},
}
METRIC = {
    "route": "index/metric",
    "type": "CustomEvent",
    "eventName": "checkout",
    "numericValue": 1.5,
    "appType": "pythonserverside",
    "timestamp": 1_700_000_000_123,
}


def body(*objects: Any) -> bytes:
    return json.dumps(objects).encode()


def test_an_event_for_every_entry() -> None:
    """One object may carry several entries; one without any is the event of its user."""
    both = {"user": USER, "variations": [VARIATION, VARIATION], "metrics": [METRIC]}

    found = read(body(both, {"user": USER}, {"user": USER, "variations": None, "metrics": []}))

    assert [
        ("variation", USER, VARIATION),
        ("variation", USER, VARIATION),
        ("metric", USER, METRIC),
        ("user", USER, {}),
        ("user", USER, {}),
    ] == found


@pytest.mark.parametrize("user", [None, {}, {"keyId": None}, {"keyId": ""}, {"keyId": " \t"}])
def test_objects_without_a_user_are_skipped(user: Any) -> None:
    """The rest of the batch is accepted."""
    found = read(body({"user": user, "variations": [VARIATION]}, {"variations": [VARIATION]}, {"user": USER}))

    assert [("user", USER, {})] == found


def test_an_empty_batch_is_accepted() -> None:
    """No objects, no events, no complaint."""
    assert [] == read(b"[]")


def test_a_null_variation_is_skipped() -> None:
    """An entry without a variation does not harm its neighbours."""
    entries = [VARIATION | {"variation": None}, VARIATION]

    assert [("variation", USER, VARIATION)] == read(body({"user": USER, "variations": entries}))


def test_optional_fields_may_be_absent() -> None:
    """Numbers and flags have defaults, the name of a user too."""
    variation = {"featureFlagKey": "a", "variation": {"id": "v1", "value": ""}}

    found = read(body({"user": {"keyId": "u1", "name": None}, "variations": [variation]}))

    assert [("variation", {"keyId": "u1", "name": None}, variation)] == found


def test_text_beyond_ascii_is_accepted() -> None:
    """Raw UTF-8 and escaped surrogate pairs are both text."""
    user = USER | {"name": "Ädä 🏁"}

    assert [("user", user, {})] == read(json.dumps([{"user": user}]).encode())
    assert [("user", user, {})] == read(json.dumps([{"user": user}], ensure_ascii=False).encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{}",
        b"[1]",
        b"[[]]",
        b'[{"user":"u1"}]',
        b'[{"user":{"keyId":1}}]',
        b'[{"user":{"keyId":"u1","name":1}}]',
        b'[{"user":{"keyId":"u1","name":"\\uD83D"}}]',
        b'[{"user":{"keyId":"u1","name":"\xff"}}]',
        b'[{"user":{"keyId":"u1","customizedProperties":{}}}]',
        b'[{"user":{"keyId":"u1","customizedProperties":[1]}}]',
        b'[{"user":{"keyId":"u1"},"variations":{}}]',
        b'[{"user":{"keyId":"u1"},"metrics":[null]}]',
        b'[{"user":{"keyId":"u1"},"variations":[null]}]',
        b"[" * 100_000,
    ],
)
def test_what_does_not_fit_the_model_is_refused(text: bytes) -> None:
    """A body that is no list of insight objects gets 400."""
    with pytest.raises(RefusedError) as refused:
        read(text)

    assert 400 == refused.value.status


@pytest.mark.parametrize("value", [1, 1.5, True, None, [], {}])
def test_attributes_are_text(value: Any) -> None:
    """One number as a user's attribute refuses the whole batch."""
    user = USER | {"customizedProperties": [{"name": "plan", "value": value}]}

    with pytest.raises(RefusedError):
        read(body({"user": USER}, {"user": user}))


@pytest.mark.parametrize(
    "change",
    [
        {"featureFlagKey": None},
        {"sendToExperiment": 1},
        {"timestamp": 1.0},
        {"timestamp": "1"},
        {"timestamp": True},
        {"timestamp": None},
        {"timestamp": 2**63},
        {"variation": "v1"},
        {"variation": {"id": None, "value": ""}},
        {"variation": {"id": "v1", "value": True}},
    ],
)
def test_variations_of_a_wrong_type_are_refused(change: dict[str, Any]) -> None:
    """Every field of a variation has its type, even for a user who would be skipped."""
    for user in (USER, None):
        with pytest.raises(RefusedError):
            read(body({"user": user, "variations": [VARIATION | change]}))


@pytest.mark.parametrize(
    "change",
    [
        {"route": None},
        {"type": 1},
        {"appType": None},
        {"eventName": 1},
        {"numericValue": True},
        {"numericValue": "1"},
        {"numericValue": None},
        {"numericValue": float("nan")},
        {"numericValue": float("inf")},
        {"timestamp": 1.5},
    ],
)
def test_metrics_of_a_wrong_type_are_refused(change: dict[str, Any]) -> None:
    """Every field of a metric has its type; NaN and Infinity are not JSON."""
    with pytest.raises(RefusedError):
        read(body({"user": USER, "metrics": [METRIC | change]}))


def test_a_null_object_breaks_the_server() -> None:
    """A null in the batch is answered with 500, as by FeatBit 5."""
    with pytest.raises(RefusedError) as refused:
        read(b"[null]")

    assert 500 == refused.value.status
