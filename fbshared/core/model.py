"""Flags and segments as values, and how a message changes a dataset per item."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgpack

from fbshared.errors import MessageError

FLAG = 0
SEGMENT = 1

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


@dataclass(frozen=True, slots=True)
class Item:
    """One flag or segment of one version: what evaluation needs of it, packed; a tombstone when archived."""

    kind: int
    key: str
    version: int
    archived: bool
    blob: bytes


@dataclass(frozen=True, slots=True)
class Dataset:
    """All that is known of an environment, tombstones included, and the newest version ever received."""

    flags: Mapping[str, Item]
    segments: Mapping[str, Item]
    cursor: int

    @classmethod
    def of(cls, items: Iterable[Item]) -> Dataset:
        """A full replaces everything: the dataset of exactly these items."""
        return EMPTY.merge(items)[0]

    def merge(self, items: Iterable[Item]) -> tuple[Dataset, tuple[Item, ...]]:
        """The dataset after these items, of which only the strictly newer ones count, and those.

        The comparison is per item and never with the cursor: flags and segments travel unordered.
        """
        tables = (dict(self.flags), dict(self.segments))
        cursor = self.cursor
        changed: dict[tuple[int, str], Item] = {}
        for item in items:
            cursor = max(cursor, item.version)
            table = tables[item.kind]
            known = table.get(item.key)
            if known is None or item.version > known.version:
                table[item.key] = changed[item.kind, item.key] = item
        if not changed and cursor == self.cursor:
            return self, ()
        return Dataset(tables[FLAG], tables[SEGMENT], cursor), tuple(changed.values())

    def items(self) -> Iterable[Item]:
        """Every item, flags first."""
        yield from self.flags.values()
        yield from self.segments.values()


EMPTY = Dataset({}, {}, 0)


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


def pack_part(raw: object) -> bytes:
    """What ``unpack_part`` gives back, but for tuples, which become lists."""
    try:
        blob: bytes = msgpack.packb(raw)
    except UnicodeEncodeError:  # told beforehand how to pack half a surrogate pair, it takes twice the time for all
        blob = msgpack.packb(raw, unicode_errors="surrogatepass")
    return blob


def unpack(blob: bytes) -> dict[str, Any]:
    """The reduced FeatBit object in an item's blob; the conditions of a flag's rules are packed in it.

    Raises:
        MessageError: these bytes are no such blob.
    """
    raw = unpack_part(blob)
    if not isinstance(raw, dict):
        raise MessageError("not an item")
    return raw


def unpack_part(blob: bytes) -> object:
    """What was packed by itself; raises as ``unpack`` does."""
    try:
        return msgpack.unpackb(blob, unicode_errors="surrogatepass", strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise MessageError("not an item") from error


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
