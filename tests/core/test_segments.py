"""Who is in a segment, also when segments refer to each other, and when they are broken."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from fbshared.core.evaluation import CompiledSegment, Compiler
from fbshared.core.segments import ids_of, may_refer, references
from fbshared.errors import EvaluationError

Raw = dict[str, Any]
Make = Callable[..., Raw]

IN, NOT_IN = "User is in segment", "User is not in segment"


def refers(to: str, op: str = IN) -> Raw:
    return {"property": op, "op": None, "value": to}


def rule(*conditions: Raw) -> Raw:
    return {"conditions": list(conditions)}


class Environment:
    """Compiles a flag with the segments given, and counts what was loaded."""

    def __init__(self, flag: Raw, *segments: Raw) -> None:
        self.raw = {raw["id"]: raw for raw in segments}
        self.loaded: list[str] = []
        self.compiler = Compiler(self.load)
        self.flag = self.compiler.flag(flag)

    def load(self, name: str) -> Raw | None:
        self.loaded.append(name)
        return self.raw.get(name)


@pytest.fixture
def is_in(make_flag: Make, make_part: Make) -> Callable[..., bool]:
    """Whether a user takes a rule with one condition on segments."""

    def ask(condition: Raw, *segments: Raw, key: str = "u1", **attributes: Any) -> bool:
        only = rule(condition) | {"variations": [make_part("B", 0, 1)], "dispatchKey": None}
        environment = Environment(make_flag(rules=[only]), *segments)
        outcome = environment.flag.evaluate(key, {"key": key, "name": "n"} | attributes)
        return outcome.reason == "rule match"

    return ask


ABC = {"property": "p", "op": "Equal", "value": "abc"}
BAD = {"property": "p", "op": "MatchRegex", "value": "["}

TABLE: list[tuple[Raw, bool]] = [
    ({"included": ["u1"]}, True),
    ({"included": ["u1"], "excluded": ["u1"]}, False),
    ({"included": ["u2"]}, False),
    ({"included": [[], {}, None, "u1"]}, True),
    ({"included": "xu1x"}, True),
    ({"included": {"u1": 1}}, True),
    ({"included": None}, False),
    ({"excluded": None, "included": ["u1"]}, False),
    ({"excluded": ["u1"], "included": None}, False),
    ({"rules": [rule(ABC)]}, True),
    ({"rules": [rule()]}, True),
    ({"rules": [rule(ABC, {**ABC, "value": "x"}), rule(ABC)]}, True),
    ({"rules": [rule({**ABC, "value": "x"})]}, False),
    ({"rules": [rule(BAD), rule(ABC)]}, False),
    ({"rules": [rule(ABC), rule(BAD)]}, True),
    ({"rules": None}, False),
    ({"rules": None, "included": ["u1"]}, True),
    ({"rules": [None]}, False),
]


@pytest.mark.parametrize(("fields", "expected"), TABLE)
def test_membership(is_in: Callable[..., bool], make_segment: Make, fields: Raw, expected: bool) -> None:
    """Excluded keys, included keys, then rules; trouble on the way means "not in", and "not in" holds then."""
    segment = make_segment("s1", **fields)

    assert expected == is_in(refers('["s1"]'), segment, p="abc")
    assert (not expected) == is_in(refers('["s1"]', NOT_IN), segment, p="abc")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('["s1"]', True),
        ('["unknown"]', False),
        ('["unknown","s1"]', True),
        ('["empty","s1"]', False),
        ('["s1",{}]', True),
        ('[{},"s1"]', False),
        ('[1,null,"s1"]', True),
        ('{"s1":1}', True),
        ('"s1"', False),
        ("s1", False),
        ("[]", False),
        (None, False),
        (5, False),
    ],
)
def test_lists_of_segments(is_in: Callable[..., bool], make_segment: Make, value: object, expected: bool) -> None:
    """Any segment of the list is enough; an unknown one matches nobody, an odd or broken one ends the list."""
    segments = make_segment("s1", included=["u1"]), {"id": "empty"}

    assert expected == is_in(refers(value), *segments)  # type: ignore[arg-type]
    assert (not expected) == is_in(refers(value, NOT_IN), *segments)  # type: ignore[arg-type]


def test_an_empty_object_is_no_segment(make_flag: Make) -> None:
    """What the loader gives empty counts as unknown, and stays among the reachable ones."""
    only = rule(refers('["s1"]')) | {"variations": []}
    compiler = Compiler(lambda name: {})
    flag = compiler.flag(make_flag(rules=[only]))

    assert {} == compiler.compiled
    assert {"s1"} == flag.segments


def test_nested_segments(is_in: Callable[..., bool], make_segment: Make) -> None:
    """A segment's rule can ask for another segment."""
    outer = make_segment("s1", rules=[rule(refers('["s2"]'))])

    assert is_in(refers('["s1"]'), outer, make_segment("s2", included=["u1"]))
    assert not is_in(refers('["s1"]'), outer, make_segment("s2"))


@pytest.mark.parametrize(("op", "expected"), [(IN, False), (NOT_IN, True)])
def test_a_circle(is_in: Callable[..., bool], make_segment: Make, op: str, expected: bool) -> None:
    """A segment that is being evaluated already counts as not matching."""
    first = make_segment("s1", rules=[rule(refers('["s2"]'))])
    second = make_segment("s2", rules=[rule(refers('["s1"]', op))])

    assert expected == is_in(refers('["s1"]'), first, second)


def test_a_circle_does_not_depend_on_where_it_is_entered(make_flag: Make, make_segment: Make) -> None:
    """The compiled form of a segment in a circle answers for itself, whoever was compiled first."""
    first = make_segment("s1", rules=[rule(refers('["s2"]')), rule(ABC)])
    second = make_segment("s2", rules=[rule(refers('["s1"]'))])
    only = rule(refers('["s2"]')) | {"variations": [], "dispatchKey": None}
    environment = Environment(make_flag(rules=[only]), first, second)
    user = {"key": "u1", "name": "n", "p": "abc"}

    assert environment.compiler.compiled["s1"].matches("u1", user)
    assert environment.compiler.compiled["s2"].matches("u1", user)
    assert {"s1", "s2"} == environment.compiler.compiled["s2"].segments


def test_a_long_chain(is_in: Callable[..., bool], make_segment: Make) -> None:
    """A chain deeper than the stack compiles, and counts as "not in" instead of failing."""
    chain = [make_segment(f"s{n}", rules=[rule(refers(f'["s{n + 1}"]'))]) for n in range(1200)]
    last = make_segment("s1200", included=["u1"])

    assert not is_in(refers('["s0"]'), *chain, last)
    assert is_in(refers('["s1190"]'), *chain, last)


def test_a_broken_segment_says_so() -> None:
    """Asked directly, a segment without lists fails instead of guessing."""
    segment = CompiledSegment("s1")
    segment.fill({}, lambda value: pytest.fail("no conditions"))

    with pytest.raises(EvaluationError):
        segment.matches("u1", {})


def test_each_segment_is_loaded_once(make_flag: Make, make_segment: Make) -> None:
    """Many references to a segment make one compiled form of it."""
    rules = [rule(refers('["s1","s2"]')) | {"variations": []} for _ in range(3)]
    inner = make_segment("s2", rules=[rule(refers('["s1"]'))])
    environment = Environment(make_flag(rules=rules), make_segment("s1"), inner)

    assert ["s1", "s2"] == sorted(environment.loaded)
    assert {"s1", "s2"} == environment.compiler.compiled.keys()


def test_reachable_segments(make_flag: Make, make_segment: Make) -> None:
    """A flag knows every segment it can reach: nested ones and unknown ones."""
    only = rule(refers('["s1"]')) | {"variations": []}
    inner = make_segment("s1", rules=[rule(refers('["s2","u1"]'))])
    last = make_segment("s2", rules=[rule(refers('["u2"]'))])
    environment = Environment(make_flag(rules=[only]), inner, last)

    assert {"s1", "s2", "u1", "u2"} == environment.flag.segments
    assert {"s2", "u1", "u2"} == environment.compiler.compiled["s1"].segments
    assert {"u2"} == environment.compiler.compiled["s2"].segments


def test_known_segments_are_taken_over(make_flag: Make, make_segment: Make) -> None:
    """What still holds is not loaded again, nested segments included."""
    only = rule(refers('["s1"]')) | {"variations": []}
    flag = make_flag(rules=[only])
    inner = make_segment("s1", rules=[rule(refers('["s2"]'))])
    before = Environment(flag, inner, make_segment("s2"), make_segment("s3")).compiler
    after = Compiler(lambda name: pytest.fail("loaded"), before.compiled.get)
    again = after.flag(flag)

    assert before.compiled == after.compiled
    assert {"s1", "s2"} == again.segments


def test_a_failing_loader_leaves_nothing_half_made(make_flag: Make, make_segment: Make) -> None:
    """When loading fails, the error passes, and the next flag starts as if nothing had happened."""
    only = rule(refers('["s1","s2"]')) | {"variations": []}
    segments: dict[str, Any] = {"s1": make_segment("s1")}
    compiler = Compiler(segments.__getitem__)
    with pytest.raises(KeyError):
        compiler.flag(make_flag(rules=[only]))

    assert {} == compiler.compiled

    segments["s2"] = make_segment("s2")
    compiler.flag(make_flag(rules=[only]))

    assert {"s1", "s2"} == compiler.compiled.keys()


@pytest.mark.parametrize(
    ("value", "expected"), [('["a","b"]', ["a", "b"]), ('["a",[],"b"]', ["a"]), ("5", []), (None, [])]
)
def test_ids(value: object, expected: list[str]) -> None:
    """The ids are the texts of a JSON list, up to what the reference would stumble over."""
    assert expected == ids_of(value)


REFERENCES: list[tuple[Any, set[str]]] = [
    ([rule(ABC, refers('["a","b"]')), rule(refers('["c"]', NOT_IN))], {"a", "b", "c"}),
    ([rule(BAD, refers('["a"]')), {"conditions": 5}, None, {}, rule(refers('["b"]'))], {"a", "b"}),
    ([rule({"op": IN, "value": '["a"]'}), rule({"op": NOT_IN, "property": "p", "value": '["b"]'})], {"a", "b"}),
    ([rule({"op": "Equal", "property": IN, "value": '["a"]'})], set()),
    ([rule({"property": IN, "value": '["a"]'}, {"op": ""}, "text")], set()),
    ([rule(refers('["a", {}, "b"]'), refers("[")) | {"more": IN}], {"a"}),
    ("text", set()),
    (None, set()),
]


@pytest.mark.parametrize(("rules", "found"), REFERENCES)
def test_references(make_flag: Make, rules: Any, found: set[str]) -> None:
    """The segments that rules name are those that compiling them comes to; of a flag that is off, too."""
    assert found == references({"rules": rules, "isEnabled": False})
    assert found == Compiler(lambda name: None).flag(make_flag(rules=rules)).segments
    assert may_refer(msgpack.packb(rules)) or not found
    assert frozenset() == references({})


def test_what_names_no_segment() -> None:
    """An item without either operator is seen to name no segment without being decoded."""
    assert not may_refer(msgpack.packb({"rules": [rule(ABC)]}))
