"""What a variation gives: its converted value, its texts and its event."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from fbshared.core.outcomes import RULE_MATCH, Outcome, Variations

Raw = dict[str, Any]
Make = Callable[..., Raw]

INFINITE = float("inf")

TABLE = [
    ("boolean", "true", True),
    ("boolean", "True", "True"),
    ("boolean", "yes", "yes"),
    ("boolean", "1", 1),
    ("number", "3.14", 3.14),
    ("number", "3.0", 3),
    ("number", "9007199254740993", 9007199254740992),
    ("number", "1e400", INFINITE),
    ("number", "abc", "abc"),
    ("number", None, None),
    ("number", True, 1),
    ("number", 10**400, 10**400),
    ("json", '{"a":[1]}', {"a": [1]}),
    ("json", "{", "{"),
    ("json", "[" * 100_000, "[" * 100_000),
    ("json", None, None),
    ("json", "null", None),
    ("json", "9" * 5000, "9" * 5000),
    ("string", "true", "true"),
    ("string", ["a"], ["a"]),
    (None, "5", "5"),
    ("other", "5", "5"),
    (["json"], "5", "5"),
]


@pytest.mark.parametrize(("kind", "raw", "expected"), TABLE)
def test_values(make_flag: Make, kind: object, raw: object, expected: object) -> None:
    """A value has the type of its flag, and stays what it is when it cannot have it."""
    value = Outcome(make_flag(variationType=kind), "A", raw, RULE_MATCH, False).value()

    assert (expected, type(expected)) == (value, type(value))


@pytest.mark.parametrize(("kind", "raw"), [("json", '{"a":[1]}'), ("json", "[1]"), ("string", ["a"])])
def test_values_are_fresh(make_flag: Make, kind: str, raw: object) -> None:
    """Whoever changes a list or an object changes only their own."""
    outcome = Outcome(make_flag(variationType=kind), "A", raw, RULE_MATCH, False)
    first = outcome.value()
    before = list(first)
    first.clear()

    assert before == list(outcome.value())


def test_event(make_flag: Make) -> None:
    """The event says flag, variation, text, reason and whether it counts in experiments."""
    outcome = Outcome(make_flag(), "A", "x", RULE_MATCH, True)

    assert ["ff", "A", "x", "rule match", True] == msgpack.unpackb(outcome.event.packed[1:])
    assert ("ff", "A flag", "A", "x", "rule match") == (
        outcome.key,
        outcome.name,
        outcome.variation_id,
        outcome.text,
        outcome.reason,
    )


@pytest.mark.parametrize(("enabled", "expected"), [(False, True), (None, False), (0, False), (True, False)])
def test_events_are_switched_off_by_false_alone(make_flag: Make, enabled: object, expected: bool) -> None:
    """Only an explicit false of the flag means no events."""
    outcome = Outcome(make_flag(insightsEnabled=enabled), "A", "x", RULE_MATCH, True)

    assert expected == (outcome.event is None)


@pytest.mark.parametrize(("raw", "expected"), [(None, "null"), (True, "true"), (5, "5"), (["a"], '["a"]')])
def test_an_event_has_a_text(make_flag: Make, raw: object, expected: str) -> None:
    """A value that is no text is told as JSON, because the service refuses the whole batch otherwise."""
    assert expected == Outcome(make_flag(), 7, raw, RULE_MATCH, False).text
    assert "7" == Outcome(make_flag(), 7, raw, RULE_MATCH, False).variation_id


def test_outcomes_are_made_once(make_flag: Make) -> None:
    """The same variation for the same reason is the same object."""
    variations = Variations(make_flag())

    assert variations.outcome("A", RULE_MATCH, True) is variations.outcome("A", RULE_MATCH, True)
    assert variations.outcome("A", RULE_MATCH, True) is not variations.outcome("A", RULE_MATCH, False)


@pytest.mark.parametrize("variation", ["C", None, [], {}, object()])
def test_unknown_variations(make_flag: Make, variation: object) -> None:
    """There is no outcome of a variation that the flag does not have."""
    assert Variations(make_flag()).outcome(variation, RULE_MATCH, True) is None


@pytest.mark.parametrize("field", ["name", "variationType"])
def test_incomplete_flags(make_flag: Make, field: str) -> None:
    """A flag without a name or a type has no outcomes at all."""
    flag = make_flag()
    del flag[field]

    assert Variations(flag).outcome("A", RULE_MATCH, True) is None


@pytest.mark.parametrize("raw", [None, 5, "x", [None, "x", {}, {"id": "A"}, {"id": [], "value": "x"}]])
def test_broken_variations(make_flag: Make, raw: object) -> None:
    """Variations that are none are not there, and harm no other."""
    assert Variations(make_flag(variations=raw)).outcome("A", RULE_MATCH, True) is None


def test_the_last_of_two_equal_ids_counts(make_flag: Make) -> None:
    """An id that is there twice names the later variation."""
    twice = [{"id": "A", "value": "1"}, {"id": "A", "value": "2"}]
    outcome = Variations(make_flag(variations=twice)).outcome("A", RULE_MATCH, True)

    assert outcome is not None
    assert "2" == outcome.text
