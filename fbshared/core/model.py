"""Flags and segments as values, and how a message changes a dataset per item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack

from fbshared.errors import MessageError

FLAG = 0
SEGMENT = 1


class Item(NamedTuple):
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
