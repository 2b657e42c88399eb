"""Messages of any shape, and what we say."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core.model import FLAG, SEGMENT
from fbshared.core.wire import PING, SyncMessage, data_sync, parse, parse_bootstrap
from fbshared.errors import MessageError


def test_what_we_say() -> None:
    """Requests are the literals of the protocol."""
    assert '{"messageType":"data-sync","data":{"timestamp":0}}' == data_sync(0)
    assert {"messageType": "ping", "data": None} == json.loads(PING)


def message(event_type: object = "full", flags: object = (), segments: object = ()) -> str:
    data = {"eventType": event_type, "featureFlags": flags, "segments": segments}
    return json.dumps({"messageType": "data-sync", "data": data})


def test_full_and_patch() -> None:
    """A data-sync message gives its items, flags first."""
    full = parse(message("full", [{"key": "ff"}], [{"id": "s1"}]))
    patch = parse(message("patch").encode())

    assert full is not None
    assert (True, [(FLAG, "ff"), (SEGMENT, "s1")]) == (full.full, [(i.kind, i.key) for i in full.items])
    assert SyncMessage(False, (), ()) == patch


def test_a_broken_item_harms_no_other() -> None:
    """Refused items are told by their place in the message, without their content."""
    flags: list[Any] = [{"key": "a"}, None, {"key": "b"}, {"key": "secret", "rules": 2**70}]
    full = parse(message("full", flags, [5]))

    assert full is not None
    assert ["a", "b"] == [item.key for item in full.items]
    assert (
        "flag 1: not an object",
        "flag 3: too deep or too large",
        "segment 0: not an object",
    ) == full.rejected


@pytest.mark.parametrize(
    "text",
    [
        '{"messageType":"pong","data":{}}',
        '{"messageType":"something-new"}',
        '{"messageType":["data-sync"]}',
        "{}",
        "[]",
        "5",
        '"data-sync"',
        "null",
    ],
)
def test_other_messages(text: str) -> None:
    """A pong, and whatever a server may say one day, means nothing and is no error."""
    assert parse(text) is None


BROKEN: list[Any] = [
    "",
    "{",
    b"\xff\xfe\xfd",
    "[" * 100_000,
    '{"a":' + "9" * 5000 + "}",
    '{"messageType":"data-sync"}',
    '{"messageType":"data-sync","data":null}',
    '{"messageType":"data-sync","data":[]}',
    '{"messageType":"data-sync","data":{}}',
    message("other"),
    message(None),
    message(["full"]),
    message("full", None),
    message("full", {}),
    message("full", "x"),
    message("full", [], None),
    message("patch", [], {}),
]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_broken_messages(text: str | bytes) -> None:
    """What is no JSON, or only claims to be data-sync, is refused."""
    with pytest.raises(MessageError):
        parse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["key", "id", "rules"]), inner),
    max_leaves=8,
)


@settings(deadline=None, derandomize=True, database=None)
@given(JSON, JSON, JSON)
def test_any_json(event_type: Any, flags: Any, segments: Any) -> None:
    """JSON of any shape is a message or is refused."""
    for texts in (message(event_type, flags, segments), message("full", [flags, flags], [segments])):
        try:
            parse(texts)
        except MessageError:
            pass


def test_bootstrap() -> None:
    """A bootstrap is a full, as the service answers it."""
    assert "ff" == parse_bootstrap(message("full", [{"key": "ff"}])).items[0].key


@pytest.mark.parametrize("text", [message("patch"), '{"messageType":"pong"}', "{", "[]"])
def test_no_bootstrap(text: str) -> None:
    """A patch or anything else is no bootstrap."""
    with pytest.raises(MessageError):
        parse_bootstrap(text)
