"""Which variation a place leads to, and whom an experiment counts."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from fbshared.core.outcomes import FALLTHROUGH, RULE_MATCH, Outcome, Variations
from fbshared.core.ranges import choice_of, default_of
from fbshared.errors import EvaluationError

Raw = dict[str, Any]
Make = Callable[..., Raw]

HALF, END, START = "u7323697048", "u2319734890", "u8349816397"  # keys of exactly these places with the flag ff
NAN, INFINITE = float("nan"), float("inf")


@pytest.fixture
def choose(make_flag: Make) -> Callable[..., Outcome | None]:
    """The outcome of a rule, or of a default rule, for a key."""

    def ask(rule: object, key: str, *, default: bool = False, flag: Raw | None = None, **user: Any) -> Outcome | None:
        variations = Variations(flag or make_flag())
        made = default_of(rule, variations, FALLTHROUGH) if default else choice_of(rule, variations, RULE_MATCH)
        return made if isinstance(made, Outcome) else made(key, {"key": key, "name": "Bob"} | user)

    return ask


def ranges(*bounds: object, **more: Any) -> Raw:
    """A rule whose ranges belong to A, B, A ... in turn."""
    return {"variations": [{"id": "AB"[n % 2], "rollout": b} for n, b in enumerate(bounds)], **more}


def name_of(outcome: Outcome | None) -> str | None:
    return outcome and outcome.variation_id


@pytest.mark.parametrize(
    ("bounds", "key", "expected"),
    [
        (([0, 0.5], [0.5, 1]), HALF, "B"),
        (([0, 0.5], [0.5, 1]), START, "A"),
        (([0, 0.5], [0.5, 1]), END, None),
        (([0, 0], [0, 1]), START, "B"),
        (([0, 0.999995], [0.999995, 1]), END, None),
        (([0, 1],), END, "A"),
        (([0.0, 1.0],), END, "A"),
        (([False, True],), END, "A"),
        (([0, 1.0000000000000002],), END, "A"),
        (([-1, 2],), START, "A"),
        (([-INFINITE, INFINITE],), END, "A"),
        (([0, 0.999999],), HALF, "A"),
        (([0.5, 0.5],), HALF, None),
        (([0.6, 0.4],), HALF, None),
        ((), HALF, None),
        ((None, [0, 1]), HALF, "B"),
        ((5, [0, 1]), HALF, "B"),
        (([], [0, 1]), HALF, "B"),
        (([0], [0, 1]), HALF, "B"),
        ((["0", "1"], [0, 1]), HALF, "B"),
        (([0, None], [0, 1]), HALF, "B"),
        (([NAN, 1], [0, 1]), HALF, "B"),
        (([0, NAN], [0, 1]), HALF, "B"),
        (([0, 0.6, 5], [0, 1]), HALF, "A"),
    ],
)
def test_ranges(choose: Callable[..., Outcome | None], bounds: Any, key: str, expected: str | None) -> None:
    """The first range that holds the place wins: its lower bound included, the upper one not, 1.0 neither."""
    assert expected == name_of(choose(ranges(*bounds), key))


@pytest.mark.parametrize(
    ("bounds", "key", "expected"),
    [
        (([0, 0.5], [0.5, 1]), END, "B"),
        (([0, 0.999995], [0.999995, 1]), END, "B"),
        (([0, 0.5], [0.5, 0.9999999999999999]), END, "B"),
        (([0, 0.5], [0.5, 0.99999]), END, "B"),
        (([0, 0.5], [0.5, 0.9999]), END, None),
        (([0, 1], [1, 1]), END, "A"),
        (([0, 0.9], [1, 1]), END, None),
        (([0, 0.2], [0.8, 1]), HALF, "B"),
        (([0, 0.5], None), END, None),
        ((), HALF, None),
    ],
)
def test_the_default_rule(choose: Callable[..., Outcome | None], bounds: Any, key: str, expected: str | None) -> None:
    """The last range of the default rule takes whom none has taken, if it ends at 1 and is not empty."""
    if expected is None:
        with pytest.raises(EvaluationError):
            choose(ranges(*bounds), key, default=True)
    else:
        assert expected == name_of(choose(ranges(*bounds), key, default=True))


@pytest.mark.parametrize(
    ("dispatch_key", "expected"),
    [
        (None, "B"),
        ("", "B"),
        ("keyId", "B"),
        ("KEYID", "B"),
        ("key", "B"),
        ("p", "A"),
        ("n", "A"),
        ("Name", "C"),
        ("P", "D"),
        (" ", "D"),
        (5, "D"),
        (["p"], "D"),
        ("self", "D"),
    ],
)
def test_dispatch_keys(
    choose: Callable[..., Outcome | None], make_flag: Make, dispatch_key: object, expected: str
) -> None:
    """The property that places a user is found like that of a condition; a missing one is the empty text."""
    flag = make_flag(key="flag-1", variations=[{"id": n, "value": n} for n in "ABCD"])
    # flag-1 alone lies at 0.311, with user-1 at 0.497, with user-2 at 0.666, with user-3 at 0.773
    rule = {"variations": [{"id": "D", "rollout": [0, 0.4]}, {"id": "B", "rollout": [0.4, 0.6]}]}
    rule["variations"] += [{"id": "A", "rollout": [0.6, 0.7]}, {"id": "C", "rollout": [0.7, 1]}]
    user = {"name": "user-3", "p": "user-2", "n": "user-2", "self": "user-2"}
    outcome = choose(rule | {"dispatchKey": dispatch_key}, "user-1", flag=flag, **user)

    assert expected == name_of(outcome)


@pytest.mark.parametrize("rule", [None, 5, "x", [], {}, {"variations": None}, {"variations": 5}])
def test_no_ranges_at_all(choose: Callable[..., Outcome | None], rule: object) -> None:
    """A rule without a list of ranges fails."""
    with pytest.raises(EvaluationError):
        choose(rule, HALF)


@pytest.mark.parametrize(
    "entry", [None, 5, "x", {}, {"id": "A"}, {"id": "C", "rollout": [0, 1]}, {"rollout": [0, 0.9]}]
)
def test_a_broken_entry_fails_when_it_is_reached(choose: Callable[..., Outcome | None], entry: object) -> None:
    """Entries behind the one that takes the user do not matter."""
    first = {"id": "A", "rollout": [0, 0.3]}

    assert "A" == name_of(choose({"variations": [first, entry]}, START))
    with pytest.raises(EvaluationError):
        choose({"variations": [first, entry]}, HALF)


def test_a_user_without_a_place(choose: Callable[..., Outcome | None]) -> None:
    """A key with a lone surrogate lies in no range but the one of everybody."""
    assert choose(ranges([0, 0.5], [0.5, 1]), "\ud800") is None
    assert "B" == name_of(choose(ranges([0, 0.5], [0, 1]), "\ud800"))
    with pytest.raises(EvaluationError):
        choose(ranges([0, 0.5], [0.5, 1]), "\ud800", default=True)


# ---- experiments: flag-1user-1 lies at 0.497, expt + flag-1user-1 at 0.3796


@pytest.mark.parametrize(
    ("bounds", "share", "expected"),
    [
        ([0, 1], 1, True),
        ([0, 1], 0.5, True),
        ([0, 1], 0.379, False),
        ([0, 1], 0.380, True),
        ([0, 0.5], 0.5, True),
        ([0, 0.5], 0.19, True),
        ([0, 0.5], 0.189, False),
        ([0, 0.5], 2, True),
        ([0, 0.5], 0, False),
        ([0, 0.5], -1, False),
        ([0, 0.5], None, True),
        ([0, 0.5], "x", False),
        ([0, 0.5], NAN, False),
        ([-INFINITE, INFINITE], INFINITE, False),
    ],
)
def test_experiments(
    choose: Callable[..., Outcome | None], make_flag: Make, bounds: Any, share: object, expected: bool
) -> None:
    """An included rule counts the share of users that it names, spread over its range."""
    rule = {"variations": [{"id": "A", "rollout": bounds, "exptRollout": share}], "includedInExpt": True}

    assert expected == counted(choose(rule, "user-1", flag=make_flag(key="flag-1")))
    assert not counted(choose(rule | {"includedInExpt": False}, "user-1", flag=make_flag(key="flag-1")))


@pytest.mark.parametrize("included", [True, False, None])
def test_an_experiment_on_all(choose: Callable[..., Outcome | None], make_flag: Make, included: object) -> None:
    """A flag whose experiment includes everybody counts everybody, whatever its rules say."""
    flag = make_flag(exptIncludeAllTargets=True)
    rule = ranges([0, 0.9], includedInExpt=included)

    assert counted(choose(rule, HALF, flag=flag))


def test_an_experiment_without_a_share(choose: Callable[..., Outcome | None]) -> None:
    """A range without a share counts all of its users."""
    assert counted(choose(ranges([0, 0.6], includedInExpt=True), HALF))


def test_an_experiment_does_not_count_users_without_a_place(choose: Callable[..., Outcome | None]) -> None:
    """A user whose text cannot be hashed gets its variation uncounted."""
    rule = {"variations": [{"id": "A", "rollout": [0, 1], "exptRollout": 0.5}], "includedInExpt": True}

    assert not counted(choose(rule, "\ud800"))


def counted(outcome: Outcome | None) -> bool:
    assert outcome is not None
    assert outcome.event is not None
    send = msgpack.unpackb(outcome.event.packed[1:])[-1]
    assert isinstance(send, bool)
    return send
