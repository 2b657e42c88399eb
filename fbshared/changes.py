"""What tells one state of a flag from another, without decoding what did not change.

A flag's fingerprint is its own stamp in a snapshot and the stamps of all segments that it can reach. An item is
decoded once for each of its contents, to see which segments it names.
"""

from __future__ import annotations

from collections.abc import Iterable

from fbshared.core.model import FLAG, SEGMENT, unpack
from fbshared.core.segments import may_refer, references
from fbshared.errors import MessageError
from fbshared.shm.snapshot import Entry, Snapshot, Stamp

__all__ = ["Fingerprint", "Fingerprints", "Named"]

Fingerprint = tuple[Stamp, tuple[tuple[str, Stamp | None], ...]]
Named = dict[tuple[int, str], tuple[Stamp, frozenset[str]]]  # which segments an item of this stamp names

_NONE: frozenset[str] = frozenset()


class Fingerprints:
    """The fingerprints of one snapshot's flags.

    Args:
        named: what is known from other snapshots; completed here.

    Raises:
        CorruptError: from all methods: bytes that were looked at are damaged.
    """

    def __init__(self, snapshot: Snapshot, named: Named) -> None:
        self._snapshot = snapshot
        self._named = named
        self._segments: dict[str, Entry | None] = {}

    def some(self, keys: Iterable[str]) -> dict[str, Fingerprint]:
        """The fingerprints of some flags, by key; nothing where there is no such flag, or only its tombstone."""
        entries = ((key, self._snapshot.find(FLAG, key)) for key in keys)
        return {key: self._of(key, entry) for key, entry in entries if entry is not None and not entry.archived}

    def all(self) -> dict[str, Fingerprint]:
        """The fingerprints of all flags, by key."""
        return {key: self._of(key, entry) for key, entry in self._snapshot.keys(FLAG)}

    def _of(self, key: str, entry: Entry) -> Fingerprint:
        named = self._names(FLAG, key, entry)
        return entry.stamp, self._stamps(named) if named else ()

    def _stamps(self, named: Iterable[str]) -> tuple[tuple[str, Stamp | None], ...]:
        """The stamps of these segments and of all that they can reach, in a fixed order."""
        found: dict[str, Stamp | None] = {}
        ahead = set(named)
        while ahead:
            id_ = ahead.pop()
            entry = self._segment(id_)
            found[id_] = None if entry is None else entry.stamp
            if entry is not None:
                ahead |= self._names(SEGMENT, id_, entry) - found.keys()
        return tuple(sorted(found.items()))

    def _segment(self, id_: str) -> Entry | None:
        if id_ not in self._segments:
            entry = self._snapshot.find(SEGMENT, id_)
            self._segments[id_] = None if entry is None or entry.archived else entry
        return self._segments[id_]

    def _names(self, kind: int, key: str, entry: Entry) -> frozenset[str]:
        known = self._named.get((kind, key))
        if known is not None and known[0] == entry.stamp:
            return known[1]
        blob = entry.blob()
        try:
            names = (references(unpack(blob)) if may_refer(blob) else _NONE) or _NONE
        except MessageError:
            names = _NONE
        self._named[kind, key] = entry.stamp, names
        return names
