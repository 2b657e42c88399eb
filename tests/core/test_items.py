"""A FeatBit object as an item: what is kept of it, and its version."""

from typing import Any

import msgpack
import pytest

from fbshared.core.items import parse_item, version_of
from fbshared.core.model import FLAG, SEGMENT, Item, unpack
from fbshared.errors import MessageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-01-16T02:56:19.531Z", 1673837779531),
        ("2023-01-16T02:56:19.5319999Z", 1673837779531),
        ("2023-01-16T02:56:19.531999999Z", 1673837779531),
        ("2023-01-16T02:56:19.5Z", 1673837779500),
        ("2023-01-16T02:56:19Z", 1673837779000),
        ("2023-01-16T02:56Z", 1673837760000),
        ("2023-01-16T02:56:19.531", 1673837779531),
        ("2023-01-16T03:56:19.531+01:00", 1673837779531),
        ("2023-01-16T01:26:19.531-0130", 1673837779531),
        ("2023-01-16 02:56:19.531Z", 1673837779531),
        ("1970-01-01T00:00:00Z", 0),
        ("1960-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00Z", 0),
        ("0000-01-01T00:00:00Z", 0),
        ("2023-02-30T00:00:00Z", 0),
        ("2023-01-16T24:00:00Z", 0),
        ("2023-01-16T00:60:00Z", 0),
        ("2023-01-16T00:00:60Z", 0),
        ("2023-01-16T02:56:19.5319999999Z", 0),
        ("２０２３-01-16T02:56:19Z", 0),
        ("2023-01-16", 0),
        ("yesterday", 0),
        ("", 0),
        (None, 0),
        (1673837779531, 0),
        ([], 0),
    ],
)
def test_versions(text: object, expected: int) -> None:
    """A version is the time in ms, cut off and not rounded; 0 when there is none."""
    assert expected == version_of(text)


def test_a_flag_is_reduced() -> None:
    """An item keeps what evaluation needs, null and absence as they are, and nothing else."""
    raw = {
        "id": "uuid",
        "key": "ff",
        "name": None,
        "tags": ["x"],
        "variations": [{"id": "A", "name": "long", "value": "1", "more": 5}, {"id": "B"}, None],
        "rules": [
            {"id": "1", "conditions": None, "name": "r", "variations": [{"id": "A", "exptRollout": 1}, 7]},
            {"conditions": [{"op": "IsTrue"}], "includedInExpt": False, "dispatchKey": "k"},
            None,
        ],
        "fallthrough": {"dispatchKey": None, "includedInExpt": 1, "variations": [{"id": "B", "exptRollout": 1}]},
        "updatedAt": "1970-01-01T00:00:01Z",
    }
    item = parse_item(FLAG, raw)

    assert (FLAG, "ff", 1000, False) == (item.kind, item.key, item.version, item.archived)
    assert {
        "key": "ff",
        "name": None,
        "variations": [{"id": "A", "value": "1"}, {"id": "B"}, None],
        "rules": [
            {"conditions": None, "variations": [{"id": "A"}, 7]},
            {"conditions": msgpack.packb([{"op": "IsTrue"}]), "dispatchKey": "k"},
            None,
        ],
        "fallthrough": {"includedInExpt": 1, "variations": [{"id": "B", "exptRollout": 1}]},
    } == unpack(item.blob)


def test_a_segment_is_reduced() -> None:
    """A segment is known by its id and keeps its lists and rules."""
    raw = {"id": "s1", "key": "k", "name": "n", "included": ["u1"], "excluded": None, "isArchived": False}
    item = parse_item(SEGMENT, raw)

    assert (SEGMENT, "s1", 0) == (item.kind, item.key, item.version)
    assert {"id": "s1", "included": ["u1"], "excluded": None} == unpack(item.blob)


@pytest.mark.parametrize("variations", [None, "x", 5, {}])
def test_variations_that_are_none(variations: object) -> None:
    """A broken flag is kept as it is: only an evaluation that needs the broken part fails."""
    assert variations == unpack(parse_item(FLAG, {"key": "ff", "variations": variations}).blob)["variations"]


def test_an_archived_item_is_a_tombstone() -> None:
    """Nothing but identity and version is kept of an archived item."""
    raw = {"key": "ff", "isArchived": True, "updatedAt": "1970-01-01T00:00:01Z"}

    assert Item(FLAG, "ff", 1000, True, b"") == parse_item(FLAG, raw)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (FLAG, None),
        (FLAG, []),
        (FLAG, "ff"),
        (FLAG, {}),
        (FLAG, {"id": "ff"}),
        (FLAG, {"key": ""}),
        (FLAG, {"key": None}),
        (FLAG, {"key": 5}),
        (FLAG, {"key": "\ud800"}),
        (FLAG, {"key": "ff", "rules": 2**64}),
        (FLAG, {"key": "ff", "rules": nested(3000)}),
        (FLAG, {"key": "ff", "rules": object()}),
        (SEGMENT, {"key": "s1"}),
        (SEGMENT, {"id": "s1", "included": [2**64]}),
    ],
)
def test_refused_items(kind: int, raw: object) -> None:
    """What has no identity or cannot be packed is refused, with a reason that has none of the data in it."""
    with pytest.raises(MessageError) as refusal:
        parse_item(kind, raw)

    assert str(refusal.value) in ("not an object", "no usable key", "too deep or too large")


def test_texts_survive() -> None:
    """Lone surrogates, which JSON can carry, come back as they were."""
    assert "\ud800" == unpack(parse_item(FLAG, {"key": "ff", "name": "\ud800"}).blob)["name"]
