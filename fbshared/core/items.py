"""A FeatBit object as an item: what evaluation needs of it, packed, and its version."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from fbshared.core.model import FLAG, Item, pack_part
from fbshared.errors import MessageError

_IDENTITY = ("key", "id")  # by kind
_KEPT = (
    (
        "key",
        "name",
        "variationType",
        "variations",
        "targetUsers",
        "rules",
        "isEnabled",
        "disabledVariationId",
        "fallthrough",
        "exptIncludeAllTargets",
        "insightsEnabled",
    ),
    ("id", "included", "excluded", "rules"),
)

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:[Zz]|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_EPOCH = date(1970, 1, 1).toordinal()


def parse_item(kind: int, raw: object) -> Item:
    """The item that a FeatBit object describes.

    Only an object without a usable identity is refused, or one that cannot be packed: what else may be wrong
    with a flag shows when an evaluation comes to the wrong part.

    Raises:
        MessageError: the reason, without any of the data.
    """
    if not isinstance(raw, dict):
        raise MessageError("not an object")
    key = raw.get(_IDENTITY[kind])
    if not isinstance(key, str) or not key or not _encodable(key):
        raise MessageError("no usable key")
    version = version_of(raw.get("updatedAt"))
    if raw.get("isArchived"):
        return Item(kind, key, version, True, b"")
    reduced = {name: raw[name] for name in _KEPT[kind] if name in raw}
    try:
        if kind == FLAG:
            _reduce(reduced)
        blob = pack_part(reduced)
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise MessageError("too deep or too large") from error
    return Item(kind, key, version, False, blob)


def version_of(updated_at: object) -> int:
    """The version in ms of an ISO-8601 time, truncated as the server does it; 0 when it is not understood.

    A time without an offset is taken as UTC. Rounding up instead would put the cursor behind items of the
    same millisecond that have not been sent yet.
    """
    match = _ISO.fullmatch(updated_at) if isinstance(updated_at, str) else None
    if match is None:
        return 0
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = match.groups()[6:]
    try:
        days = date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return 0
    if hour > 23 or minute > 59 or second > 59:
        return 0
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second
    if sign:
        offset = int(offset_hours) * 3600 + int(offset_minutes) * 60
        seconds += -offset if sign == "+" else offset
    return max(0, seconds * 1000 + int((fraction or "")[:3].ljust(3, "0")))


def _reduce(flag: dict[str, Any]) -> None:
    """Keep what evaluation needs of the parts of a flag."""
    variations, rules = flag.get("variations"), flag.get("rules")
    if isinstance(variations, list):
        flag["variations"] = [_with(variation, "id", "value") for variation in variations]
    if isinstance(rules, list):
        flag["rules"] = [_reduced_rule(rule) for rule in rules]
    if "fallthrough" in flag:
        flag["fallthrough"] = _reduced_rule(flag["fallthrough"])


def _reduced_rule(rule: object) -> object:
    """What evaluation needs of a flag's rule, without what means the same when it is missing. Its conditions are packed
    by themselves: who compiled the same bytes before, for the flag's former version, neither unpacks nor compiles
    them."""
    if not isinstance(rule, dict):
        return rule
    reduced = {name: rule[name] for name in ("conditions", "variations") if name in rule}
    reduced |= {name: rule[name] for name in ("dispatchKey", "includedInExpt") if rule.get(name)}
    if isinstance(reduced.get("conditions"), list):
        reduced["conditions"] = pack_part(reduced["conditions"])
    if isinstance(reduced.get("variations"), list) and "includedInExpt" not in reduced:
        reduced["variations"] = [_with(entry, "id", "rollout") for entry in reduced["variations"]]
    return reduced


def _with(raw: object, *names: str) -> object:
    """An object with these members alone; whatever else it is, as it is."""
    return {name: raw[name] for name in names if name in raw} if isinstance(raw, dict) else raw


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
