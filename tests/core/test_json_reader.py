"""Reading piece by piece gives what reading all at once gives."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core import json_reader
from fbshared.core.json_reader import Plan, read
from fbshared.errors import MessageError

lawful = settings(deadline=None, derandomize=True, database=None, max_examples=300)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcdx"), inner, max_size=4),
    max_leaves=20,
)
PLAN: Plan = {"a": lambda element: ("converted", element), "b": {"c": lambda element: [element], "d": {}}}


@pytest.fixture(autouse=True, scope="module", params=["piecewise", "at once"])
def size(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every text counts as large, or as small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_reader, "_SMALL", 0 if request.param == "piecewise" else 1 << 30)
        yield


def expected(value: Any, plan: Any) -> Any:
    if callable(plan) and isinstance(value, list):
        return [plan(element) for element in value]
    if isinstance(plan, dict) and isinstance(value, dict):
        return {name: expected(member, plan.get(name)) for name, member in value.items()}
    return value


def outcome(text: str | bytes, plan: Plan) -> Any:
    try:
        return read(text, plan)
    except MessageError as error:
        return str(error)


def at_once(text: str | bytes, plan: Plan) -> Any:
    try:
        return expected(json.loads(text), plan)
    except (ValueError, RecursionError):
        return "not JSON"


@lawful
@given(values, st.sampled_from([None, 1, "\t"]), st.booleans(), st.sampled_from(["utf-8", "utf-16", "utf-32-le"]))
def test_any_value(value: Any, indent: Any, ascii_only: bool, encoding: str) -> None:
    """Every value is read, with and without space, as text and in all encodings of JSON; what the plan names is
    converted where it is a list, and left as it is where it is something else."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    assert expected(value, PLAN) == read(text, PLAN)
    encoded = text.encode(encoding, "surrogatepass")
    assert at_once(encoded, PLAN) == outcome(encoded, PLAN)


@lawful
@given(values, st.data())
def test_any_text(value: Any, data: st.DataObject) -> None:
    """A text that is cut, or has something else in a place, is refused just when it would be all at once."""
    text = json.dumps({"a": [value], "b": {"c": [value, 1], "d": value}}, indent=data.draw(st.sampled_from([None, 1])))
    place = data.draw(st.integers(0, len(text)))
    other = data.draw(st.sampled_from(["", " ", ",", ":", '"', "}", "]", "{", "[", "1", "\n", "null", "\x00", "\xa0"]))
    for broken in (text[:place], text[:place] + other + text[place:], text[:place] + other + text[place + 1 :]):
        assert at_once(broken, PLAN) == outcome(broken, PLAN)


@pytest.mark.parametrize(
    "text",
    ["", " ", "[", "{", '{"a"', '{"a":', '{"a":[', '{"a":[1', '{"a":[1,', '{"a":[1]', "\ufeff{}", "[1] 2", "{1:2}"],
)
def test_what_is_not_json(text: str) -> None:
    """It is refused, and nothing else happens."""
    assert "not JSON" == outcome(text, PLAN) == at_once(text, PLAN)


def test_a_member_that_comes_twice() -> None:
    """The last one counts."""
    text = '{"a": [1], "b": 1, "b": {"c": [2]}, "a": [3, 4], "x": 1, "x": 2}'

    assert {"a": [("converted", 3), ("converted", 4)], "b": {"c": [[2]]}, "x": 2} == read(text, PLAN)


def test_depth_and_numbers() -> None:
    """What is too deep is refused; what only JavaScript writes is read, as the standard library does."""
    assert "not JSON" == outcome('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}", PLAN)
    found = read('{"a": [NaN, Infinity]}', {"a": lambda element: element})

    assert math.isnan(found["a"][0])
    assert math.inf == found["a"][1]
