"""Which flag the demo shows: any environment must do, and the flip must be seen by every user."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fbshared.errors import MessageError

OTHER = "demo-other-variation"


@dataclass(frozen=True, slots=True)
class Choice:
    """A flag and two of its variations with different values, by id."""

    flag: Mapping[str, Any]
    before: str
    after: str

    @property
    def key(self) -> str:
        return str(self.flag["key"])

    def serving(self, variation: str) -> dict[str, Any]:
        """The flag as it would be with one variation for everybody, and its events switched on."""
        return {
            **self.flag,
            "isEnabled": True,
            "isArchived": False,
            "insightsEnabled": True,
            "targetUsers": [],
            "rules": [],
            "fallthrough": {
                "dispatchKey": None,
                "includedInExpt": False,
                "variations": [{"id": variation, "rollout": [0, 1], "exptRollout": 1}],
            },
        }

    def value(self, variation: str) -> str:
        return next(str(v["value"]) for v in self.flag["variations"] if v["id"] == variation)


def choose(flags: list[Any]) -> Choice:
    """The first living flag that has two different values; one with a single value gets another one.

    Raises:
        MessageError: there is no flag at all that could be shown.
    """
    living = [flag for flag in flags if _is_usable(flag)]
    for flag in living:
        first = flag["variations"][0]
        for other in flag["variations"][1:]:
            if other["id"] != first["id"] and _meaning(other["value"]) != _meaning(first["value"]):
                return Choice(flag, first["id"], other["id"])
    if not living:
        raise MessageError("no flag to show: every flag is archived, broken or without variations")
    return _with_another_variation(living[0])


def _is_usable(flag: Any) -> bool:
    if not isinstance(flag, dict) or flag.get("isArchived") or not flag.get("key"):
        return False
    variations = flag.get("variations")
    return isinstance(variations, list) and bool(variations) and all(map(_is_variation, variations))


def _is_variation(variation: Any) -> bool:
    return (
        isinstance(variation, dict) and isinstance(variation.get("id"), str) and isinstance(variation.get("value"), str)
    )


def _meaning(text: str) -> Any:
    """What a value says, so that "1" and "1.0" are not taken for a change."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _with_another_variation(flag: Mapping[str, Any]) -> Choice:
    only = flag["variations"][0]
    values = {
        "boolean": "false" if only["value"].lower() == "true" else "true",
        "number": "1" if _meaning(only["value"]) == 0 else "0",
        "json": '{"flipped": true}',
    }
    value = values.get(flag.get("variationType") or "string", f"{only['value']} (flipped)")
    other = {"id": OTHER, "name": OTHER, "value": value}
    return Choice({**flag, "variations": [only, other]}, only["id"], OTHER)
