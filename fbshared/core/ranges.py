"""The ranges of a rule: which variation has which part of the line, and whom an experiment counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fbshared.core.conditions import elements
from fbshared.core.hashes import md5
from fbshared.core.operators import MISSING
from fbshared.core.outcomes import Outcome, Variations
from fbshared.core.rollout import END, first_integer, mark, place
from fbshared.core.users import BUILT_IN, attribute
from fbshared.errors import EvaluationError

# Gives the outcome of a user, None when no range takes it.
Choice = Callable[[str, Mapping[str, Any]], Outcome | None]
# Gives the outcome of a user or raises EvaluationError.
Evaluate = Callable[[str, Mapping[str, Any]], Outcome]

# First place, end, outcome, the end of the places that the experiment counts, the outcome that it counts.
# No outcome is an unknown variation: it is an error once the range is hit.
Range = tuple[int, int, Outcome | None, int, Outcome | None]

_NOWHERE = -1  # the place of a text that has none
_EVERYONE = (_NOWHERE, END + 2)
_NEARLY_ALL = 1 - 1e-5


def choice_of(rule: object, variations: Variations, reason: str) -> Outcome | Choice:
    """The variation that a rule's ranges give a user; none of them may. An outcome is that of all users."""
    return _choice(rule, variations, reason, last=False)


def default_of(rule: object, variations: Variations, reason: str) -> Outcome | Evaluate:
    """The variation that the default rule gives a user; an outcome is that of all users.

    When its last range ends at 1, but for rounding, that also takes whom no range has taken: a place can be
    exactly 1.0, which lies in no range, and behind the default rule there is nothing.
    """
    return _choice(rule, variations, reason, last=True)  # type: ignore[return-value]  # it ends with everyone


def _choice(rule: object, variations: Variations, reason: str, *, last: bool) -> Outcome | Choice:
    if not isinstance(rule, dict) or (raw := elements(rule.get("variations"))) is None:
        return _failing
    counts = bool(rule.get("includedInExpt"))
    if len(raw) == 1 and not counts and not variations.experiment_includes_all and _is_whole(raw[0]):
        # What most rules are, without the steps below: all users get one variation, and nobody is counted.
        return variations.outcome(raw[0].get("id", MISSING), reason, False) or _failing
    ranges: list[Range] = []
    for entry in raw:
        ranges.append(_range(entry, variations, reason, counts))
        if ranges[-1][:2] == _EVERYONE:  # nobody comes to what follows
            if len(ranges) == 1 and not ranges[0][3]:
                return ranges[0][2] or _failing
            break
    if last and raw and (bounds := _bounds(raw[-1])) and bounds[1] >= _NEARLY_ALL and bounds[0] < bounds[1]:
        ranges.append((0, END + 2, *_range(raw[-1], variations, reason, counts)[2:]))
    if last:  # whoever comes to the end
        ranges.append((*_EVERYONE, None, 0, None))
    if not ranges:
        return lambda key, user: None
    return _by_place(variations.flag_key, rule.get("dispatchKey"), ranges)


def _is_whole(entry: object) -> bool:
    return isinstance(entry, dict) and entry.get("rollout") == [0, 1]


def _range(entry: object, variations: Variations, reason: str, counts: bool) -> Range:
    """One entry of a rollout; what is no range takes nobody, what is no entry at all fails for everybody."""
    if not isinstance(entry, dict) or "rollout" not in entry:
        return (*_EVERYONE, None, 0, None)
    bounds = _bounds(entry)
    if bounds is None:
        return (0, 0, None, 0, None)
    span = _EVERYONE if bounds[0] == 0 and bounds[1] == 1 else (mark(bounds[0]), mark(bounds[1]))
    counted_below = _counted_below(entry, bounds) if counts else 0
    if variations.experiment_includes_all:
        counted_below = END + 1
    variation = entry.get("id", MISSING)
    counted = variations.outcome(variation, reason, True) if counted_below else None
    if counted_below > END:  # everybody: no second look at the line
        return (*span, counted, 0, None)
    return (*span, variations.outcome(variation, reason, False), counted_below, counted)


def _counted_below(entry: dict[str, Any], bounds: tuple[float, float]) -> int:
    """The end of the places that the experiment counts: its fraction, of the line, spread over the range."""
    fraction, width = entry.get("exptRollout"), bounds[1] - bounds[0]
    if fraction is None:
        fraction = 1
    if not isinstance(fraction, (int, float)) or not fraction or not width:
        return 0
    share = fraction / width
    if share != share:  # NaN: infinite bounds
        return 0
    return END + 1 if share >= 1 else mark(share)


def _bounds(entry: object) -> tuple[float, float] | None:
    """Both bounds of a range, None when they are no numbers."""
    raw = entry.get("rollout") if isinstance(entry, dict) else None
    if not isinstance(raw, list) or len(raw) < 2:
        return None
    lower, upper = raw[:2]
    if not isinstance(lower, (int, float)) or not isinstance(upper, (int, float)):
        return None
    if lower != lower or upper != upper:  # NaN
        return None
    return lower, upper


def _by_place(flag_key: str, dispatch_key: object, ranges: list[Range]) -> Choice:
    read = _reader(dispatch_key)

    def choice(key: str, user: Mapping[str, Any]) -> Outcome | None:
        text = flag_key + (key if read is None else read(user))
        try:
            here = abs(first_integer(md5(text.encode()).digest())[0])  # ``place``, written out
        except UnicodeEncodeError:
            here = _NOWHERE
        for start, end, outcome, counted_below, counted in ranges:
            if start <= here < end:
                if outcome is None:
                    raise EvaluationError("a rule that gives no variation")
                if counted_below and here >= 0 and place("expt" + text) < counted_below:
                    return counted
                return outcome
        return None

    return choice


def _reader(dispatch_key: object) -> Callable[[Mapping[str, Any]], str] | None:
    """How the property that places users is read, None when that is the key; who lacks it has the text ""."""
    if not dispatch_key:
        return None
    if not isinstance(dispatch_key, str):
        return lambda user: ""
    if BUILT_IN.get(dispatch_key.lower()) == "key":
        return None
    return lambda user: attribute(user, dispatch_key) or ""


def _failing(key: str, user: Mapping[str, Any]) -> Outcome | None:
    raise EvaluationError("a rule with a broken rollout")
