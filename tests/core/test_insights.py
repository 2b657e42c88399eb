"""The written insights say what the objects say that they are written from."""

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core import insights
from fbshared.core.events import IDENTIFY_TAIL, evaluation_tail, make_pack, metrics_tail, pack_user, payload, record
from fbshared.core.insights import Insights
from fbshared.errors import MessageError

lawful = settings(deadline=None, derandomize=True, database=None, max_examples=300)

texts = st.text(st.characters(codec=None) | st.sampled_from('"\\\ud800\udc00\U0001f600é'), max_size=8)
keys = texts.filter(str.strip)
values = texts | st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.lists(texts, max_size=2)
users = st.builds(
    lambda identity, key, name, others: {**others, identity: key, "name": name},
    st.sampled_from(["key", "keyid"]),
    keys,
    keys,
    st.dictionaries(texts | st.sampled_from(["KeyId", "Name", "self", "age"]), values, max_size=4),
)
tails = (
    st.builds(evaluation_tail, texts, texts, texts | st.just('"timestamp":0'), texts, st.booleans())
    | st.lists(st.tuples(keys, st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=3).map(
        metrics_tail
    )
    | st.just(IDENTIFY_TAIL)
)
WRITER = Insights()  # one for all, so that what is kept serves other records


def outcome(write: Any, packed: bytes) -> Any:
    try:
        return write(packed)
    except MessageError as error:
        return str(error)


@lawful
@given(users, tails, st.integers(0, 2**63 - 1))
def test_what_is_written(user: dict[str, Any], tail: Any, time_ns: int) -> None:
    """The text is that of the object, whatever the user and the event are."""
    packed = record(pack_user(make_pack(), user), tail, time_ns)

    assert json.dumps(payload(packed), separators=(",", ":")) == WRITER.one(packed)


parts = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=3) | st.floats() | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=10,
)


@lawful
@given(
    st.just({"key": "a", "name": "b"}) | parts,
    st.integers(0, 3) | parts,
    st.lists(st.text(max_size=2) | st.integers(0, 1) | st.booleans(), min_size=5, max_size=5) | parts,
    st.binary(min_size=8, max_size=8) | st.binary(max_size=9),
)
def test_what_is_no_record(user: Any, kind: Any, content: Any, last: bytes) -> None:
    """What the object is refused for, the text is refused for, also beside a record that is as good as the same."""
    for sends in (True, 1):
        packed = b"".join(map(msgpack.packb, (user, kind, ["a", "b", "c", "d", sends]))) + last
        assert outcome(lambda each: json.dumps(payload(each), separators=(",", ":")), packed) == outcome(
            WRITER.one, packed
        )
    packed = b"".join(map(msgpack.packb, (user, kind, content))) + last
    assert outcome(lambda each: json.dumps(payload(each), separators=(",", ":")), packed) == outcome(WRITER.one, packed)


def test_a_body() -> None:
    """All records are in one list; what is none is left out and not counted."""
    good = [record(pack_user(make_pack(), {"key": key, "name": "x"}), IDENTIFY_TAIL, 1) for key in "ab"]
    body, count = Insights().body([good[0], b"", b"nonsense", good[1]])

    assert (2, ["a", "b"]) == (count, [insight["user"]["keyId"] for insight in json.loads(body)])
    assert ("[]", 0) == Insights().body([b"\xc1"])


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and attribute names without end, which may come from outside, take no memory without end."""
    monkeypatch.setattr(insights, "_MOST_KEPT", 10)
    writer = Insights()
    for number in range(35):
        user = pack_user(make_pack(), {"key": "a", "name": "b", f"attribute {number}": "x"})
        packed = record(user, evaluation_tail("flag", "id", str(number), "reason", True), number)
        assert json.dumps(payload(packed), separators=(",", ":")) == writer.one(packed)

    assert len(writer._variations) <= 10
    assert len(writer._names) <= 10
