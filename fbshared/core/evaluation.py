"""A flag compiled once to a function of a user.

Compiling decides all that does not depend on the user: which variation has which value, what its event says, which
places belong to it, how a condition reads its property. Nothing is refused while compiling. A broken part becomes a
function that raises when an evaluation comes to it, because the reference answers all users that do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from fbshared.core.conditions import Condition, Predicate, asking, broken, conditions_of, elements, lasting
from fbshared.core.operators import MISSING
from fbshared.core.outcomes import (
    CLIENT_NOT_READY,
    ERROR,
    FALLTHROUGH,
    FLAG_NOT_FOUND,
    FLAG_OFF,
    RULE_MATCH,
    TARGET_MATCH,
    USER_NOT_SPECIFIED,
    WRONG_TYPE,
    Outcome,
    Variations,
)
from fbshared.core.ranges import Choice, Evaluate, choice_of, default_of
from fbshared.core.segments import CompiledSegment, ids_of, in_any
from fbshared.core.users import text_of
from fbshared.errors import EvaluationError

__all__ = [
    "CLIENT_NOT_READY",
    "ERROR",
    "FALLTHROUGH",
    "FLAG_NOT_FOUND",
    "FLAG_OFF",
    "RULE_MATCH",
    "TARGET_MATCH",
    "USER_NOT_SPECIFIED",
    "WRONG_TYPE",
    "CompiledFlag",
    "CompiledSegment",
    "Compiler",
    "Outcome",
]

Conditions = tuple[Condition, ...]
Rule = tuple[Conditions, Outcome | Choice]


class CompiledFlag:
    """A flag as a function of a user.

    ``evaluate(key, user)`` gives the outcome for a valid user with its key, and raises EvaluationError when the
    flag's data gives none. ``same`` is its outcome where all users get the same, else None. ``segments`` are the ids
    of all segments it can reach, nested and unknown ones too. ``conditions`` are those of its rules that the next
    version of the flag can have, too, by what they were made from.
    """

    __slots__ = ("conditions", "evaluate", "key", "name", "same", "segments")

    def __init__(
        self,
        raw: Mapping[str, Any],
        decided: Outcome | Evaluate,
        segments: frozenset[str],
        conditions: Mapping[bytes, Conditions],
    ) -> None:
        self.key: str = raw["key"]
        self.name: str | None = raw.get("name")
        # A function in a slot, not a method: one call less for every evaluation.
        same = decided if type(decided) is Outcome else None
        self.same = same
        self.evaluate: Evaluate = decided if same is None else lambda key, user: same  # type: ignore[assignment]
        self.segments = segments
        self.conditions = conditions


class Compiler:
    """Compiles flags and the segments they need, each segment once.

    Args:
        load_segment: gives the raw segment of an id, None for an unknown or archived one.
        known: gives a compiled segment of an id that still holds, as do the ones that it refers to; None where there
            is none.
    """

    def __init__(
        self,
        load_segment: Callable[[str], Mapping[str, Any] | None],
        known: Callable[[str], CompiledSegment | None] = lambda name: None,
    ) -> None:
        self.compiled: dict[str, CompiledSegment] = {}
        self._load = load_segment
        self._known = known
        self._waiting: list[tuple[CompiledSegment, Mapping[str, Any]]] = []

    def flag(self, raw: Mapping[str, Any], former: CompiledFlag | None = None) -> CompiledFlag:
        """The flag as a function; whatever is broken in it raises only when an evaluation comes to it.

        Args:
            former: another version of the flag, from which conditions are taken over.
        """
        reached: set[str] = set()
        conditions: dict[bytes, Conditions] = {}
        complete = len(self.compiled)
        try:
            known = former.conditions if former is not None else {}
            compile_ = partial(_conditions, partial(self._membership, reached), known, conditions)
            decided = _decide(raw, compile_)
            self._fill()
        except BaseException:  # the loader's: the next flag must not find what is half made
            self._waiting.clear()
            for unfinished in list(self.compiled)[complete:]:
                del self.compiled[unfinished]
            raise
        return CompiledFlag(raw, decided, self._closure(reached), conditions)

    def _membership(self, reached: set[str], value: object) -> Predicate:
        """The condition "user is in a segment" on a condition's value; adds to the reached which ones."""
        ids = ids_of(value)
        reached.update(ids)
        return in_any([segment for name in ids if (segment := self._segment(name)) is not None])

    def _segment(self, name: str) -> CompiledSegment | None:
        if name in self.compiled:
            return self.compiled[name]
        if (known := self._known(name)) is not None:
            self.compiled[name] = known
            for reached in known.segments - self.compiled.keys():
                if (nested := self._known(reached)) is not None:
                    self.compiled[reached] = nested
            return known
        raw = self._load(name)
        if not raw:
            return None
        segment = self.compiled[name] = CompiledSegment(name)
        self._waiting.append((segment, raw))
        return segment

    def _fill(self) -> None:
        """Compile the contents of new segments: a queue, because segments may need each other in a circle."""
        filled = []
        while self._waiting:
            segment, raw = self._waiting.pop()
            reached: set[str] = set()
            segment.fill(raw, partial(self._membership, reached))
            segment.segments = frozenset(reached)
            filled.append(segment)
        for segment in filled:
            segment.segments = self._closure(segment.segments)

    def _closure(self, names: Iterable[str]) -> frozenset[str]:
        """These segments and all that they can reach."""
        found: set[str] = set()
        ahead = set(names)
        while ahead:
            name = ahead.pop()
            found.add(name)
            if name in self.compiled:
                ahead |= self.compiled[name].segments - found
        return frozenset(found)


def _conditions(
    membership: Callable[[object], Predicate],
    known: Mapping[bytes, Conditions],
    kept: dict[bytes, Conditions],
    rule: object,
) -> Conditions:
    """The conditions of a rule, taken over where they are known; what lasts is kept."""
    packed = rule.get("conditions") if isinstance(rule, dict) else None
    if not isinstance(packed, bytes):
        return conditions_of(rule, membership)
    found = known.get(packed)
    if found is None:
        found = conditions_of(rule, membership)
        if not lasting(found):
            return found
    kept[packed] = found
    return found


def _decide(flag: Mapping[str, Any], compile_: Callable[[object], Conditions]) -> Outcome | Evaluate:
    """The outcome of all users where there is one, else the function of a user."""
    variations = Variations(flag)
    if "isEnabled" not in flag:
        return _failing("a flag that is neither on nor off")
    if not flag["isEnabled"]:
        off = variations.outcome(flag.get("disabledVariationId", MISSING), FLAG_OFF, False)
        return _failing("an unknown variation when off") if off is None else off
    targets, stop = _targets(flag, variations)
    default = default_of(flag.get("fallthrough"), variations, FALLTHROUGH)
    rules = [] if stop else _rules(flag, compile_, variations)
    if stop or rules is None:
        rules = [((asking(broken(stop or "a flag without rules")),), default)]
    if targets or rules:
        return _in_order(targets, rules, default)
    return default


def _targets(flag: Mapping[str, Any], variations: Variations) -> tuple[dict[str, Outcome | None], str]:
    """The outcome of every targeted key, None for an unknown variation, and why others cannot pass, if so."""
    targets: dict[str, Outcome | None] = {}
    entries = elements(flag.get("targetUsers"))
    if entries is None:
        return targets, "a flag without targets"
    for entry in entries:
        keys = elements(entry.get("keyIds")) if isinstance(entry, dict) else None
        if keys is None:
            return targets, "targets without keys"
        send = variations.experiment_includes_all
        outcome = variations.outcome(entry.get("variationId", MISSING), TARGET_MATCH, send)
        for key in keys:
            if isinstance(key, str):
                targets.setdefault(key, outcome)  # the first entry with the key counts
    return targets, ""


def _rules(
    flag: Mapping[str, Any], compile_: Callable[[object], Conditions], variations: Variations
) -> list[Rule] | None:
    entries = elements(flag.get("rules"))
    if entries is None:
        return None
    return [(compile_(rule), choice_of(rule, variations, RULE_MATCH)) for rule in entries]


def _in_order(targets: dict[str, Outcome | None], rules: list[Rule], default: Outcome | Evaluate) -> Evaluate:
    def evaluate(key: str, user: Mapping[str, Any]) -> Outcome:
        if key in targets:
            outcome = targets[key]
            if outcome is None:
                raise EvaluationError("a target with an unknown variation")
            return outcome
        get = user.get
        for conditions, choice in rules:
            # ``conditions.all_hold``, written out: most flags with rules spend their time here.
            for name, texts, test, wanted in conditions:
                if texts is not None:
                    value = get(name)
                    if value.__class__ is not str and value is not None:
                        value = text_of(value)
                    if (value in texts) is not wanted:
                        break
                elif name is not None:
                    if test(get(name)) is not wanted:
                        break
                elif test(key, user, ()) is not wanted:
                    break
            else:
                outcome = choice if type(choice) is Outcome else choice(key, user)
                if outcome is not None:
                    return outcome
                break  # a rule that matches and gives nothing leads to the default rule, not to the next one
        return default if type(default) is Outcome else default(key, user)

    return evaluate


def _failing(why: str) -> Evaluate:
    def evaluate(key: str, user: Mapping[str, Any]) -> Outcome:
        raise EvaluationError(why)

    return evaluate
