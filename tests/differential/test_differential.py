"""The comparison with the reference SDK finds what differs, and takes nothing else for a known cause."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fbclient")

from fbshared.testing.data import condition, flag, in_segment, not_in_segment, rule, segment
from tests.differential.__main__ import run
from tests.differential.compare import (
    ACCIDENT,
    CIRCLE,
    DEVIATIONS,
    EQUAL,
    FAILED,
    NO_RANGE_ERROR,
    NO_RANGE_LAST,
    ODD_NAMES,
    SURROGATES,
    UNEXPLAINED,
    Answer,
    ours,
    shrunk,
    verdict,
)

pytestmark = pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")

ROOT = Path(__file__).parents[2]
USER = {"key": "u1", "name": "Ann", "p": "abc"}
LONG = "u2319734890"  # with the flag "ff" its place is exactly 1.0


def a_flag(**fields: Any) -> dict[str, Any]:
    return flag("ff", "string", ["A", "B"], serve="A", off="B", **fields)


def halves(upper: float) -> dict[str, Any]:
    raw = a_flag()
    names = [variation["id"] for variation in raw["variations"]]
    ranges = [{"id": names[0], "rollout": [0, 0.5]}, {"id": names[1], "rollout": [0.5, upper]}]
    raw["fallthrough"] |= {"dispatchKey": None, "variations": ranges}
    return raw


def in_circles() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Two flags of which the reference answers one otherwise, whatever the depth of its stack."""
    around, outside = segment("s1", rules=[[not_in_segment("s1")]]), segment("s2", rules=[[not_in_segment("s1")]])
    segments = {raw["id"]: raw for raw in (around, outside)}
    return [(a_flag(rules=[rule("B", in_segment(name))]), segments) for name in ("s1", "s2")]


CAUSES = [
    (EQUAL, a_flag(), {}, USER),
    (NO_RANGE_LAST, halves(1), {}, USER | {"key": LONG}),
    (NO_RANGE_ERROR, halves(0.9), {}, USER | {"key": LONG}),
    (ACCIDENT, a_flag(rules=[rule("B", condition("p", "IsOneOf", '"xabcx"'))]), {}, USER),
    (ODD_NAMES, a_flag(), {}, USER | {"self": "me"}),
    (ODD_NAMES, a_flag(), {}, USER | {5: "five"}),
    (SURROGATES, a_flag(), {}, USER | {"q": "\ud800"}),
]


@pytest.mark.parametrize(("cause", "raw", "segments", "user"), CAUSES)
def test_each_deviation_is_recognised_by_its_cause(cause: str, raw: Any, segments: Any, user: Any) -> None:
    """A case made for one cause is recognised as that one."""
    assert cause == verdict(raw, segments, user)


def test_a_circle_of_segments_is_recognised() -> None:
    """Where the reference goes around in circles, ours is its answer with the circle broken, and no other one."""
    cases = in_circles()

    assert {EQUAL, CIRCLE} == {verdict(raw, segments, USER) for raw, segments in cases}
    assert {UNEXPLAINED} == {verdict(raw, segments, USER, lambda *_: "wrong") for raw, segments in cases}


def test_a_circle_that_takes_for_ever_is_recognised() -> None:
    """A reference that would go around for ever is stopped, and ours has the answer with the circle broken."""
    around = segment("s1", rules=[[not_in_segment("s1"), in_segment("s1")], [in_segment("s1")]])
    raw = a_flag(rules=[rule("B", in_segment("s1"))])

    assert CIRCLE == verdict(raw, {around["id"]: around}, USER)


@pytest.mark.parametrize(("cause", "raw", "segments", "user"), CAUSES)
def test_a_wrong_answer_is_never_explained(cause: str, raw: Any, segments: Any, user: Any) -> None:
    """With the cause in the input, another answer than the one that it calls for is still a difference."""

    def wrong(*case: Any) -> Answer | str:
        answer = ours(*case)
        return answer._replace(variation_id="wrong") if isinstance(answer, Answer) else "wrong"

    assert UNEXPLAINED == verdict(raw, segments, user, wrong)


@pytest.mark.parametrize("field", ["variation_id", "text", "reason", "value", "event"])
def test_every_part_of_an_answer_is_compared(field: str) -> None:
    """An answer that differs in one part alone differs."""

    def changed(*case: Any) -> Answer | str:
        answer = ours(*case)
        assert isinstance(answer, Answer)
        return answer._replace(**{field: "other"})

    assert UNEXPLAINED == verdict(a_flag(), {}, USER, changed)
    assert UNEXPLAINED == verdict(a_flag(), {}, USER, lambda *_: FAILED)


def test_a_counterexample_is_made_small() -> None:
    """What does not matter for a difference is taken out of the case."""
    raw = a_flag(rules=[rule("B", condition("p", "Equal", "abc")), rule("A", condition("q", "Equal", "abc"))])

    def fails(case: list[Any]) -> bool:
        answer = ours(*case)
        return isinstance(answer, Answer) and answer.reason == "rule match"

    small = shrunk([raw, {}, USER | {"q": "abc"}], fails)

    assert [] == small[0]["rules"][0]["conditions"]
    assert ["key", "name"] == list(small[2])
    assert "updatedAt" not in small[0]


def test_a_seed_gives_the_same_comparisons_and_no_unknown_difference() -> None:
    """A short run finds deviations of known causes only, and finds the same ones again."""
    counts = run(7, 1500)

    assert 1500 == counts.total()
    assert counts.keys() <= {EQUAL, *DEVIATIONS}
    assert counts[NO_RANGE_ERROR]
    assert counts == run(7, 1500)


def test_the_command_says_what_it_counted() -> None:
    """The command names every deviation with its count, and its exit code is 0 when there is none of another cause."""
    command = [sys.executable, "-m", "tests.differential", "--seed", "3", "--comparisons", "300"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=150)

    assert 0 == done.returncode, done.stderr
    assert [] == [name for name in (EQUAL, *DEVIATIONS, UNEXPLAINED) if name not in done.stdout]
    assert "300  comparisons" in done.stdout
