"""What a flag can give: a variation for a reason, with its value converted and its event packed beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, final

from fbshared.core.conditions import elements
from fbshared.core.events import Tail, evaluation_tail

CLIENT_NOT_READY = "client not ready"
FLAG_NOT_FOUND = "flag not found"
USER_NOT_SPECIFIED = "user not specified"
ERROR = "error in evaluation"
WRONG_TYPE = "wrong type"
FLAG_OFF = "flag off"
TARGET_MATCH = "target match"
RULE_MATCH = "rule match"
FALLTHROUGH = "fall through all rules"


@final
class Outcome:
    """One variation of one flag, given for one reason, and the packed event that tells FeatBit about it.

    ``kind`` is the class of its value. A value that is ``fresh`` is made anew for each evaluation; any other one is
    the ``constant``.
    """

    __slots__ = ("constant", "event", "fresh", "key", "kind", "name", "reason", "text", "variation_id")

    def __init__(self, flag: Mapping[str, Any], variation: object, raw: object, reason: str, send: bool) -> None:
        self.key: str = flag["key"]
        self.name: str = flag["name"]
        self.variation_id = variation if isinstance(variation, str) else str(variation)
        self.text = raw if isinstance(raw, str) else json.dumps(raw)
        self.reason = reason
        self.event: Tail | None = None
        if flag.get("insightsEnabled") is not False:  # null and absence leave them enabled
            self.event = evaluation_tail(self.key, self.variation_id, self.text, reason, send)
        value = _converted(flag["variationType"], raw)
        self.kind: type[object] = type(value)
        self.fresh = isinstance(value, (list, dict))
        self.constant = None if self.fresh else value

    def value(self) -> Any:
        """The converted value; lists and objects are fresh each time, so that nobody changes another one's."""
        return json.loads(self.text) if self.fresh else self.constant


class Variations:
    """The outcomes of one flag, each made once."""

    def __init__(self, flag: Mapping[str, Any]) -> None:
        self.flag_key: str = flag["key"]
        self.experiment_includes_all = bool(flag.get("exptIncludeAllTargets"))
        self._flag = flag if "name" in flag and "variationType" in flag else None
        self._values: dict[object, object] = {}
        self._made: dict[tuple[object, str, bool], Outcome] = {}
        for variation in elements(flag.get("variations")) or ():
            if isinstance(variation, dict) and "id" in variation and "value" in variation:
                try:
                    self._values[variation["id"]] = variation["value"]
                except TypeError:
                    continue  # an id that is a list or an object, which nothing can name

    def outcome(self, variation: object, reason: str, send: bool) -> Outcome | None:
        """The outcome of a variation, None when the flag lacks it, or lacks what every outcome tells."""
        try:
            value = self._values[variation]
        except (KeyError, TypeError):
            return None
        if self._flag is None:
            return None
        made = self._made.get((variation, reason, send))
        if made is None:
            made = Outcome(self._flag, variation, value, reason, send)
            self._made[variation, reason, send] = made
        return made


def _converted(kind: object, raw: Any) -> Any:
    """The value in the type of its flag; what cannot be converted stays as it is."""
    try:
        if kind in ("boolean", "json"):
            return json.loads(raw)
        if kind == "number":
            number = float(raw)
            return int(number) if number.is_integer() else number
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    return raw
