"""The order in which a flag decides, and where a broken one fails."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgpack
import pytest

from fbshared.core.evaluation import CompiledFlag, Compiler, Outcome
from fbshared.core.items import parse_item
from fbshared.core.model import FLAG, unpack
from fbshared.errors import EvaluationError, MessageError

Raw = dict[str, Any]
Make = Callable[..., Raw]

USER = {"key": "u1", "name": "Bob", "p": "abc"}
YES = {"property": "p", "op": "Equal", "value": "abc"}
NO = {"property": "p", "op": "Equal", "value": "other"}
GONE = object()


@pytest.fixture
def compiled(make_flag: Make) -> Callable[..., CompiledFlag]:
    """A compiled flag with some fields replaced or taken away."""

    def compile_flag(**fields: Any) -> CompiledFlag:
        raw = {name: value for name, value in make_flag(**fields).items() if value is not GONE}
        return Compiler(lambda name: None).flag(raw)

    return compile_flag


def rule(variation: str, *conditions: Raw, bounds: tuple[float, float] = (0, 1)) -> Raw:
    return {"conditions": list(conditions), "variations": [{"id": variation, "rollout": list(bounds)}]}


def packed(*rules: Raw) -> Raw:
    """A flag's rules as they are in its blob."""
    blob = parse_item(FLAG, {"key": "ff", "rules": list(rules)}).blob
    return {"rules": unpack(blob)["rules"]}


def told(outcome: Outcome) -> tuple[str, str]:
    return outcome.variation_id, outcome.reason


def test_off(compiled: Callable[..., CompiledFlag]) -> None:
    """A flag that is off gives its off variation to everybody, and does not look at the rest."""
    rest = {"targetUsers": None, "rules": None, "fallthrough": None, "exptIncludeAllTargets": True}
    outcome = compiled(isEnabled=False, **rest).evaluate("u1", USER)

    assert ("B", "flag off") == told(outcome)
    assert msgpack.unpackb(outcome.event.packed[1:])[-1] is False


def test_targets(compiled: Callable[..., CompiledFlag]) -> None:
    """The first target with the key wins, before any rule; keys are compared exactly."""
    targets = [{"keyIds": ["u2", "u1"], "variationId": "B"}, {"keyIds": ["u1"], "variationId": "A"}]
    flag = compiled(targetUsers=targets, rules=[rule("A")])

    assert ("B", "target match") == told(flag.evaluate("u1", USER))
    assert ("A", "rule match") == told(flag.evaluate("U1", USER))


@pytest.mark.parametrize("expected", [True, False])
def test_targets_in_experiments(compiled: Callable[..., CompiledFlag], expected: bool) -> None:
    """Targeted users count in an experiment that includes everybody."""
    targets = [{"keyIds": ["u1"], "variationId": "B"}]
    outcome = compiled(targetUsers=targets, exptIncludeAllTargets=expected).evaluate("u1", USER)

    assert expected == msgpack.unpackb(outcome.event.packed[1:])[-1]


@pytest.mark.parametrize("expected", [True, False])
def test_rules_in_experiments(compiled: Callable[..., CompiledFlag], expected: bool) -> None:
    """An experiment that includes everybody counts whom a rule, or the default rule, gives what it gives to all."""
    flag = compiled(exptIncludeAllTargets=expected, rules=[rule("B", YES)])

    for user in (USER, {}):
        assert msgpack.unpackb(flag.evaluate("u1", user).event.packed[1:])[-1] is expected


def test_odd_target_keys(compiled: Callable[..., CompiledFlag]) -> None:
    """What can be no key is passed over."""
    flag = compiled(targetUsers=[{"keyIds": [[], {}, None, 5, "u1"], "variationId": "B"}])

    assert ("B", "target match") == told(flag.evaluate("u1", USER))


def test_rules(compiled: Callable[..., CompiledFlag]) -> None:
    """The first rule of which all conditions hold decides."""
    flag = compiled(rules=[rule("A", YES, NO), rule("B", YES, YES), rule("A", YES)])

    assert ("B", "rule match") == told(flag.evaluate("u1", USER))


def test_a_rule_without_conditions_holds(compiled: Callable[..., CompiledFlag]) -> None:
    """An empty list of conditions has none that fails."""
    assert ("B", "rule match") == told(compiled(rules=[rule("B")]).evaluate("u1", USER))


def test_a_rule_that_takes_nobody_leads_to_the_default_rule(compiled: Callable[..., CompiledFlag]) -> None:
    """After a rule that matches and gives nothing, later rules are not tried."""
    flag = compiled(rules=[rule("B", YES, bounds=(0, 0)), rule("B", YES)])

    assert ("A", "fall through all rules") == told(flag.evaluate("u1", USER))


def test_default(compiled: Callable[..., CompiledFlag]) -> None:
    """Who is in no target and no rule gets the default rule's variation."""
    assert ("A", "fall through all rules") == told(compiled(rules=[rule("B", NO)]).evaluate("u1", USER))
    assert ("A", "fall through all rules") == told(compiled().evaluate("u1", USER))


NOWHERE = [{"id": "A", "rollout": [0, 0]}]


@pytest.mark.parametrize(
    "fields",
    [
        {"isEnabled": GONE},
        {"isEnabled": False, "disabledVariationId": "C"},
        {"isEnabled": False, "disabledVariationId": GONE},
        {"targetUsers": None},
        {"targetUsers": GONE},
        {"targetUsers": [None]},
        {"targetUsers": [{}]},
        {"targetUsers": [{"keyIds": None}]},
        {"targetUsers": [{"keyIds": ["u1"], "variationId": "C"}]},
        {"targetUsers": [{"keyIds": ["u1"]}]},
        {"targetUsers": [{"keyIds": ["u1"], "variationId": []}]},
        {"rules": None},
        {"rules": GONE},
        {"rules": [None]},
        {"rules": [{"conditions": None, "variations": []}]},
        {"rules": [{"conditions": [], "variations": None}]},
        {"rules": [rule("C", YES)]},
        {"rules": [rule("B", {"property": "p", "op": "MatchRegex", "value": "["})]},
        {"fallthrough": None},
        {"fallthrough": GONE},
        {"fallthrough": {"variations": []}},
        {"fallthrough": {"variations": NOWHERE}},
        {"fallthrough": {"variations": [{"id": "C", "rollout": [0, 1]}]}},
        {"variations": None},
        {"variations": GONE},
        {"name": GONE},
        {"variationType": GONE},
    ],
)
def test_broken_flags(compiled: Callable[..., CompiledFlag], fields: Raw) -> None:
    """Compiling never fails; an evaluation that comes to the broken part does."""
    flag = compiled(**fields)

    with pytest.raises(EvaluationError):
        flag.evaluate("u1", USER)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"targetUsers": [{"keyIds": ["u1"], "variationId": "B"}, None]}, "target match"),
        ({"targetUsers": [{"keyIds": ["u1"], "variationId": "B"}], "rules": None}, "target match"),
        ({"rules": [rule("B", YES), None]}, "rule match"),
        ({"rules": [rule("B", YES)], "fallthrough": None}, "rule match"),
        ({"rules": [rule("C", NO)]}, "fall through all rules"),
    ],
)
def test_a_broken_part_that_is_not_reached(compiled: Callable[..., CompiledFlag], fields: Raw, expected: str) -> None:
    """Users who are answered before the broken part get their answer."""
    assert expected == compiled(**fields).evaluate("u1", USER).reason


def test_flags_know_themselves(compiled: Callable[..., CompiledFlag]) -> None:
    """A compiled flag has its key and its name, if there is one."""
    assert ("ff", "A flag", frozenset()) == (compiled().key, compiled().name, compiled().segments)
    assert compiled(name=GONE).name is None


def test_conditions_are_taken_over(make_flag: Make) -> None:
    """Rules with the same conditions have those of the flag's former version, and what they lead to of their own."""
    compiler = Compiler(lambda name: None)
    former = compiler.flag(make_flag(**packed(rule("A", YES, NO), rule("B", YES))))
    flag = compiler.flag(make_flag(**packed(rule("B", YES, NO), rule("A", YES), rule("B", NO))), former)

    assert ("B", "rule match") == told(former.evaluate("u1", USER))
    assert ("A", "rule match") == told(flag.evaluate("u1", USER))
    assert (2, 3) == (len(former.conditions), len(flag.conditions))
    assert all(conditions is flag.conditions[raw] for raw, conditions in former.conditions.items())
    assert {} == compiler.flag(make_flag(rules=[]), flag).conditions


@pytest.mark.parametrize(
    "condition",
    [
        {"property": "p", "op": "MatchRegex", "value": "a"},
        {"property": "p", "op": "MatchRegex", "value": "("},
        {"property": "p", "op": "IsOneOf", "value": "no list"},
        {"property": "p", "op": "IsOneOf", "value": "[]"},
        {"property": "p", "op": "Unknown", "value": "a"},
        {"property": "p", "value": "a"},
        {"property": "User is in segment", "op": "", "value": '["s"]'},
        {"property": "key", "op": "Equal", "value": "u1"},
    ],
)
def test_what_is_not_taken_over(make_flag: Make, condition: Raw) -> None:
    """What depends on more than its bytes, or may have been compiled in a bad moment, is compiled anew."""
    flag = Compiler(lambda name: None).flag(make_flag(**packed(rule("A", YES, condition))))

    assert {} == flag.conditions


def test_conditions_that_were_compiled_too_deep(make_flag: Make) -> None:
    """A list that cannot be read so far down in the caller's stack is empty for this version of the flag alone."""
    raw = make_flag(**packed(rule("A", {"property": "p", "op": "IsOneOf", "value": "[" * 50 + '"abc"' + "]" * 50})))
    listed = make_flag(**packed(rule("A", {"property": "p", "op": "IsOneOf", "value": '["abc"]'})))

    def deep(level: int) -> CompiledFlag | None:
        try:
            return deep(level + 1)
        except RecursionError:
            with suppress(RecursionError):
                return Compiler(lambda name: None).flag(listed)
            raise

    former = deep(0)
    assert former is not None
    flag = Compiler(lambda name: None).flag(listed, former)

    assert ("A", "rule match") == told(flag.evaluate("u1", USER))
    assert {} == Compiler(lambda name: None).flag(raw).conditions


def test_conditions_that_cannot_be_unpacked(make_flag: Make) -> None:
    """Bytes that are no conditions are told from a rule without any."""
    with pytest.raises(MessageError):
        Compiler(lambda name: None).flag(make_flag(rules=[{"conditions": b"\xc1"}]))
    flag = Compiler(lambda name: None).flag(make_flag(rules=[{"conditions": msgpack.packb(5)}]))
    with pytest.raises(EvaluationError):
        flag.evaluate("u1", USER)
