"""What goes into a record comes out as the insight object that FeatBit expects."""

import json
import math
from collections import UserDict, defaultdict
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core.events import (
    EVALUATION,
    IDENTIFY,
    IDENTIFY_TAIL,
    LARGEST_RAW_USER,
    METRIC,
    Tail,
    evaluation_tail,
    make_pack,
    metrics_tail,
    pack_user,
    payload,
    record,
)
from fbshared.core.users import key_of, normalised
from fbshared.errors import MessageError

USER = {"key": "u1", "name": "Bob", "country": "fr"}
TOLD = {"keyId": "u1", "name": "Bob", "customizedProperties": [{"name": "country", "value": "fr"}]}
NOW = 1_700_000_000_123  # milliseconds, as FeatBit counts
MS = 1_000_000


def packed(user: dict[Any, Any] = USER) -> bytes:
    return pack_user(make_pack(), user)


def tail(kind: int, content: object) -> Tail:
    """A tail that no event has."""
    return Tail(bytes([kind]) + msgpack.packb(content))


def test_evaluation() -> None:
    """An evaluation event has the fields of FeatBit's protocol."""
    evaluated = evaluation_tail("flag", "id-1", "true", "rule match", True)

    assert {
        "user": TOLD,
        "variations": [
            {
                "featureFlagKey": "flag",
                "sendToExperiment": True,
                "timestamp": NOW,
                "variation": {"id": "id-1", "value": "true", "reason": "rule match"},
            }
        ],
    } == payload(record(packed(), evaluated, NOW * MS + 999_999))


def test_metric() -> None:
    """A metric event has the fields of FeatBit's protocol."""
    assert {
        "user": TOLD,
        "metrics": [
            {
                "route": "index/metric",
                "type": "CustomEvent",
                "eventName": "checkout",
                "numericValue": 1.0,
                "appType": "pythonserverside",
                "timestamp": NOW,
            }
        ],
    } == payload(record(packed(), metrics_tail([("checkout", 1)]), NOW * MS))


def test_identify() -> None:
    """An identify event is the user alone."""
    assert {"user": TOLD} == payload(record(packed(), IDENTIFY_TAIL, NOW * MS))


class Odd(dict[str, Any]):
    """A dict that can be read by name only."""

    def __iter__(self) -> Any:
        raise RuntimeError("no")

    def keys(self) -> Any:
        raise RuntimeError("no")


def circle() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    "odd",
    [
        datetime(2024, 1, 1, tzinfo=timezone.utc),
        10**30,
        object(),
        {1, 2},
        UserDict(),
        circle(),
        msgpack.ExtType(1, b""),
        msgpack.Timestamp(1),
        "\ud800",
        b"\xff",
        None,
        {"a": [None] * 5},
        [[]] * (2 * LARGEST_RAW_USER),
        math.inf,
    ],
)
def test_users_that_hold_anything(odd: object) -> None:
    """Whatever an application puts into a user, the record has what FeatBit is told about it."""
    for user in ({**USER, "odd": odd}, {**USER, 5: odd}, defaultdict(str, {**USER, "odd": odd})):
        told = payload(record(packed(user), IDENTIFY_TAIL, NOW * MS))["user"]

        assert normalised(user) == told
        json.dumps(told, allow_nan=False).encode()


def test_a_user_is_decimal() -> None:
    """A number that cannot be packed travels as its text."""
    told = payload(record(packed({**USER, "n": Decimal("1.5")}), IDENTIFY_TAIL, NOW * MS))["user"]

    assert {"name": "n", "value": "1.5"} in told["customizedProperties"]


def test_what_is_never_told_takes_no_room() -> None:
    """A user full of what FeatBit is not told is reduced before it is put into a ring."""
    assert len(packed({**USER, "cart": list(range(LARGEST_RAW_USER))})) < 100


def test_a_dict_that_cannot_be_copied() -> None:
    """A user that cannot even be looped over is told by key and name."""
    user = Odd(USER)

    assert key_of(user) == "u1"
    assert {"keyId": "u1", "name": "Bob", "customizedProperties": []} == payload(
        record(packed(user), IDENTIFY_TAIL, NOW * MS)
    )["user"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, [1.0]),
        (0, [0.0]),
        (-1.5, [-1.5]),
        (Decimal("2.5"), [2.5]),
        (math.nan, []),
        (math.inf, []),
        (10**400, []),
        (True, []),
        ("1", []),
        (b"1", []),
        (None, []),
        (object(), []),
    ],
)
def test_metric_values(value: Any, expected: list[float]) -> None:
    """Only finite numbers are sent: one wrong value would cost the service's acceptance of a whole batch."""
    tail = metrics_tail([("other", 1.0), ("checkout", value), ("", 1.0)])

    assert [["other", 1.0], *(["checkout", number] for number in expected)] == msgpack.unpackb(tail.packed[1:])


def test_texts_that_utf8_cannot_carry() -> None:
    """Lone surrogates in a flag's data or an event's name do not reach the request."""
    evaluation = payload(record(packed(), evaluation_tail("f\ud800", "v\ud800", "t\ud800", "r", False), NOW * MS))
    metric = payload(record(packed(), metrics_tail([("m\ud800", 1.0)]), NOW * MS))

    assert "ud800" not in json.dumps([evaluation, metric])
    assert "t\ufffd" == evaluation["variations"][0]["variation"]["value"]


GOOD = evaluation_tail("f", "v", "t", "r", True)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\xc1",
        b"\x93",
        b"\xff" * 20,
        b"{}",
        msgpack.packb(5),
        msgpack.packb([1, 2, 3]),
        msgpack.packb({b"\x01": 1}),
        b"\x81\x90\x00",
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
        b"\xa2\xff\xff",
        record(packed(), GOOD, NOW)[:-1],
        record(packed(), GOOD, NOW) + b"\x00",
        record(packed(), tail(EVALUATION, None), NOW),
        record(packed(), tail(EVALUATION, ["f", "v", "t", "r", 1]), NOW),
        record(packed(), tail(EVALUATION, ["f", None, "t", "r", True]), NOW),
        record(packed(), GOOD, 2**63),
        record(msgpack.packb({"key": "u1"}), GOOD, NOW),
        record(msgpack.packb([]), GOOD, NOW),
        record(packed(), metrics_tail([]), NOW),
        record(packed(), tail(METRIC, [["m", math.nan]]), NOW),
        record(packed(), tail(METRIC, [["m", 1]]), NOW),
        record(packed(), tail(METRIC, [5]), NOW),
        record(packed(), tail(METRIC, None), NOW),
        record(packed(), tail(IDENTIFY, ["f", "v", "t", "r", True]), NOW),
        record(packed(), tail(3, None), NOW),
        GOOD.packed + NOW.to_bytes(8, "little"),
        packed() + NOW.to_bytes(8, "little"),
        msgpack.packb([USER, EVALUATION, ["f", "v", "t", "r", True], "now"])[1:],
        msgpack.packb([USER, [], None])[1:] + NOW.to_bytes(8, "little"),
    ],
)
def test_broken_records(broken: bytes) -> None:
    """Bytes that are no record are refused as such, and nothing else happens."""
    with pytest.raises(MessageError):
        payload(broken)


@settings(deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """Any bytes at all are a record or are refused."""
    try:
        payload(data)
    except MessageError:
        pass


TEXT = st.text(max_size=8)
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=4) | st.lists(TEXT, max_size=2)
)
USERS = st.builds(
    lambda raw, key: {**raw, "key": key, "name": "n"},
    st.dictionaries(TEXT | st.integers(), VALUES, max_size=5),
    st.text(min_size=1).filter(lambda key: bool(key.strip())),
)


@settings(deadline=None, derandomize=True, database=None)
@given(USERS, TEXT, TEXT, TEXT, st.booleans(), st.integers(0, 2**63 - 1))
def test_records_keep_everything(
    user: dict[Any, Any], key: str, variation: str, text: str, send: bool, now: int
) -> None:
    """What is put into a record is what comes out of it, whatever the texts are."""
    insight = payload(record(packed(user), evaluation_tail(key, variation, text, "reason", send), now))

    assert {
        "user": normalised(user),
        "variations": [
            {
                "featureFlagKey": key,
                "sendToExperiment": send,
                "timestamp": now // MS,
                "variation": {"id": variation, "value": text, "reason": "reason"},
            }
        ],
    } == insight
