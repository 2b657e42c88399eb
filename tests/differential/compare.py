"""One evaluation by the reference SDK and by us: equal, or different for a known cause.

Every deviation is proved by its cause and not by its look: with the cause taken out of the input, or where the
reference gives nothing at all, what must be answered is known again.
"""

from __future__ import annotations

import copy
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from fbshared.core.evaluation import FALLTHROUGH, Compiler
from fbshared.core.events import make_pack, pack_user, payload, record
from fbshared.core.items import parse_item
from fbshared.core.model import FLAG, SEGMENT, unpack
from fbshared.core.prepared import read_of
from fbshared.core.users import key_of, well_formed
from fbshared.errors import EvaluationError

_logger_class = logging.getLoggerClass()
from fbclient.common_types import FBUser  # noqa: E402
from fbclient.evaluator import Evaluator  # noqa: E402
from fbclient.event_types import FlagEvent  # noqa: E402
from fbclient.utils import cast_variation_by_flag_type  # noqa: E402

logging.setLoggerClass(_logger_class)  # importing the reference changes it for the whole process
logging.getLogger("fbclient.utils").setLevel(logging.CRITICAL)  # and it logs every evaluation

EQUAL = "equal"
UNEXPLAINED = "UNEXPLAINED"
NO_RANGE_LAST = "no range takes the user: the default rule's last one does, the reference crashes"
NO_RANGE_ERROR = "no range takes the user: an error in evaluation, the reference crashes"
ACCIDENT = "IsOneOf on a JSON text or object: no elements, the reference searches its letters or names"
ODD_NAMES = "a user with an attribute 'self' or without a text as name: it is dropped, the reference fails"
CIRCLE = "segments in a circle: no match, the reference's answer depends on its stack"
SURROGATES = "a lone surrogate in an event: U+FFFD, the reference sends what FeatBit cannot read"
DEVIATIONS = (NO_RANGE_LAST, NO_RANGE_ERROR, ACCIDENT, ODD_NAMES, CIRCLE, SURROGATES)

_ENOUGH = 2000  # segments looked up in one evaluation, of which there are three

Flag = dict[str, Any]
Segments = Mapping[str, Flag]
User = dict[Any, Any]


class Answer(NamedTuple):
    """What one evaluation gives."""

    variation_id: str
    text: str
    reason: str
    value: str
    event: Any


FAILED = "error in evaluation"
ENDLESS = "endless"  # the ways around a circle double with every round
NOTHING = "nothing"  # the reference has no answer, which is an exception in its client


class Reference:
    """The reference's answer; without circles, as if a segment that is being evaluated were none."""

    def __init__(self, flag: Flag, segments: Segments, user: User, *, circles: bool = True) -> None:
        self._circles = circles
        self._segments = segments
        self._lookups = 0
        answer = self._evaluate(flag, user)
        self.answer = answer if self._lookups <= _ENOUGH else ENDLESS

    def _evaluate(self, flag: Flag, user: User) -> Answer | str:
        prepared = flag | {"variationMap": {v["id"]: v["value"] for v in flag["variations"]}}
        try:
            fb_user = FBUser.from_dict(user)
            sent = FlagEvent(fb_user)
            result = Evaluator(None, self._segment).evaluate(prepared, fb_user, sent)
        except Exception:  # noqa: BLE001 - it answers "error in evaluation" for whatever is raised
            return FAILED
        if result is None:
            return NOTHING
        value = cast_variation_by_flag_type(result.flag_type, result.value)
        event = sent.to_json_dict() if sent.is_send_event else None
        return Answer(result.id, result.value, result.reason, repr(value), _comparable(event))

    def _segment(self, id_: str) -> Flag | None:
        self._lookups += 1
        if self._lookups > _ENOUGH:
            raise RuntimeError
        segment = self._segments.get(id_)
        return segment if self._circles or segment is None or not _is_active(segment) else None


def _is_active(segment: Flag) -> bool:
    """Whether the reference is evaluating this segment: its functions on the stack know which one they are at."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "match_segment" and frame.f_locals.get("segment") is segment:
            return True
        frame = frame.f_back
    return False


def ours(flag: Flag, segments: Segments, user: User) -> Answer | str:
    """Our answer, by way of packed items, a former version from before there were segments, and a record as in a
    ring."""
    packed = {name: parse_item(SEGMENT, raw).blob for name, raw in segments.items()}
    compiler = Compiler(lambda name: unpack(packed[name]) if name in packed else None)
    key = key_of(read_of(user))
    assert key is not None
    raw = unpack(parse_item(FLAG, flag).blob)
    compiled = compiler.flag(raw, Compiler(lambda name: None).flag(raw))
    try:
        outcome = compiled.evaluate(key, read_of(user))
    except EvaluationError:
        return FAILED
    assert compiled.same in (None, outcome)
    event = None
    if outcome.event is not None:
        event = payload(record(pack_user(make_pack(), user), outcome.event, 0))
    return Answer(outcome.variation_id, outcome.text, outcome.reason, repr(outcome.value()), _comparable(event))


def verdict(flag: Flag, segments: Segments, user: User, evaluate: Callable[..., Answer | str] = ours) -> str:
    """EQUAL, the name of the deviation whose cause is there, or UNEXPLAINED."""
    expected, actual = Reference(flag, segments, user).answer, evaluate(flag, segments, user)
    if expected == actual:
        return EQUAL
    if _matches(expected, actual, flag):
        return NO_RANGE_ERROR if actual == FAILED else NO_RANGE_LAST
    if _matches(_well_formed(expected), actual, flag):
        return SURROGATES
    usual = {name: value for name, value in user.items() if isinstance(name, str) and name != "self"}
    if usual != user and _matches(_well_formed(Reference(flag, segments, usual).answer), actual, flag):
        return ODD_NAMES
    if _matches(_well_formed(Reference(flag, segments, usual, circles=False).answer), actual, flag):
        return CIRCLE
    mended = copy.deepcopy((flag, dict(segments)))
    accident = _mend_accidents(mended)
    if accident and _matches(_well_formed(Reference(*mended, usual, circles=False).answer), actual, flag):
        return ACCIDENT
    return UNEXPLAINED


def _matches(expected: Answer | str, actual: Answer | str, flag: Flag) -> bool:
    """Whether our answer is what the reference's calls for; where that has none, the last range or an error."""
    if expected != NOTHING:
        return expected == actual
    name = _last_resort(flag)
    if name is None:
        return actual == FAILED
    return isinstance(actual, Answer) and (name, FALLTHROUGH) == (actual.variation_id, actual.reason)


def _last_resort(flag: Flag) -> str | None:
    """Where a default rule leads whom none of its ranges takes: to its last variation, if that ends at 1."""
    entries = flag["fallthrough"]["variations"]
    entry = entries[-1:] if isinstance(entries, list) else []
    match entry:
        case [{"id": str(name), "rollout": [int() | float() as lower, int() | float() as upper, *_]}]:
            known = name in [variation["id"] for variation in flag["variations"]]
            possible = known and "variationType" in flag and "name" in flag
            return name if possible and upper >= 1 - 1e-5 and upper > lower else None
    return None


def _mend_accidents(part: Any) -> bool:
    """Give every membership condition on a JSON text or object an empty list; whether there was one."""
    mended = False
    for entry in _entries(part):
        if isinstance(entry, (dict, list, tuple)):
            mended |= _mend_accidents(entry)
    if isinstance(part, dict) and _is_membership(part) and _is_accident(part.get("value")):
        part["value"] = "[]"
        mended = True
    return mended


def _is_membership(condition: Flag) -> bool:
    """Whether this is IsOneOf or NotOneOf, which the reference also takes from the property."""
    name = condition.get("op") or condition.get("property")
    return name in ("IsOneOf", "NotOneOf") if isinstance(name, str) else False


def _is_accident(value: object) -> bool:
    try:
        return isinstance(json.loads(value), (str, dict))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _comparable(event: Any) -> Any:
    """The event without its time and without what the reference does not say any more."""
    if event is not None:
        for variation in event["variations"]:
            variation.pop("timestamp")
            variation.pop("sendToExperiment", None)
    return event


def _well_formed(answer: Any) -> Any:
    if isinstance(answer, Answer):
        return answer._replace(event=_cleaned(answer.event))
    return answer


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {name: _cleaned(entry) for name, entry in value.items()}
    return [_cleaned(entry) for entry in value] if isinstance(value, list) else value


def _entries(part: Any) -> Iterator[Any]:
    yield from part.values() if isinstance(part, dict) else part if isinstance(part, (list, tuple)) else ()


def shrunk(case: list[Any], fails: Callable[[list[Any]], bool]) -> list[Any]:
    """The case with as much taken away as can be while it still fails."""
    smaller = True
    while smaller:
        smaller = False
        for path in sorted(_paths(case), key=len):
            try:
                without = _without(case, path)
                if fails(without):
                    case, smaller = without, True
                    break
            except Exception:  # noqa: BLE001 - too little is left to evaluate at all
                continue
    return case


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    names = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for name in names:
        if path:  # flag, segments and user themselves stay
            yield (*path, name)
        yield from _paths(value[name], (*path, name))


def _without(case: list[Any], path: tuple[Any, ...]) -> list[Any]:
    copied = copy.deepcopy(case)
    container: Any = copied
    for name in path[:-1]:
        container = container[name]
    del container[path[-1]]
    return copied
