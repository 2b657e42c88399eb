"""Records as the JSON text that FeatBit gets, which is ``core.events.payload`` of each, written out.

Most of an evaluation's insight is the same in many others: what is said about the flag, and the names of the user's
attributes. It is kept as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from fbshared.core.events import EVALUATION, parts_of, payload_of
from fbshared.core.users import BUILT_IN, text_of, well_formed
from fbshared.errors import MessageError

__all__ = ["Insights"]

_MOST_KEPT = 4096  # texts of a kind


class Insights:
    """Writes insights; one thread's alone."""

    def __init__(self) -> None:
        self._variations: dict[tuple[Any, ...], tuple[str, str]] = {}
        self._names: dict[object, str] = {}

    def body(self, records: Iterable[bytes]) -> tuple[str, int]:
        """The JSON list of all records' insights, and how many; what is no record is left out."""
        texts = []
        for record in records:
            try:
                texts.append(self.one(record))
            except MessageError:
                continue
        return f"[{','.join(texts)}]", len(texts)

    def one(self, record: bytes) -> str:
        """One record's insight.

        Raises:
            MessageError: these bytes are no record of this layout, or one that FeatBit would refuse.
        """
        user, kind, content, timestamp = parts_of(record)
        # A truth value equals a number as a key, too.
        if kind == EVALUATION and content.__class__ is list and [*map(type, content)] == _TYPES:
            told = self._variations.get(tuple(content)) or self._keep_variation(user, content)
            return f"{self._user(user)}{told[0]}{timestamp}{told[1]}"
        return _compact(payload_of(user, kind, content, timestamp))

    def _keep_variation(self, user: dict[str, Any], content: list[Any]) -> tuple[str, str]:
        """What is in front of the time and behind it."""
        variations = payload_of(user, EVALUATION, content, 0)["variations"]
        before, _, behind = _compact({"variations": variations}).partition(_TIME)
        kept = "," + before[1:] + _TIME[:-1], behind
        _make_room(self._variations)[tuple(content)] = kept
        return kept

    def _user(self, user: Mapping[Any, Any]) -> str:
        """The beginning of an insight, as ``normalised`` has it."""
        key, name = user.get("key") or user["keyid"], user["name"]
        names = self._names
        properties = []
        for attribute, value in user.items():
            begin = names.get(attribute)
            if begin is None:
                begin = self._keep_name(attribute)
            text = value if value.__class__ is str else text_of(value)
            if begin and text is not None:
                properties.append(f"{begin}{quoted(text if text.isascii() else well_formed(text))}}}")
        identity = f'"keyId":{quoted(well_formed(key))},"name":{quoted(well_formed(name))}'
        return f'{{"user":{{{identity},"customizedProperties":[{",".join(properties)}]}}'

    def _keep_name(self, attribute: object) -> str:
        """How a property begins; empty for what is none."""
        told = isinstance(attribute, str) and attribute.lower() not in BUILT_IN and attribute != "self"
        begin = f'{{"name":{quoted(well_formed(str(attribute)))},"value":' if told else ""
        _make_room(self._names)[attribute] = begin
        return begin


_TYPES = [str, str, str, str, bool]
_TIME = '"timestamp":0'
_compact = json.JSONEncoder(separators=(",", ":")).encode


def _make_room(kept: dict[Any, Any]) -> dict[Any, Any]:
    if len(kept) >= _MOST_KEPT:
        kept.clear()
    return kept
