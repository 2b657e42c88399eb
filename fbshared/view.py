"""One snapshot as an evaluating process sees it: the flags that it uses, compiled.

A view belongs to one publication and never mixes two. Its flags are looked up when they are first used; the file is
open only while that lasts, so that an idle process pins no memory. The next view takes over every compiled flag
whose bytes, and whose segments' bytes, did not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from fbshared.core.evaluation import CompiledFlag, CompiledSegment, Compiler
from fbshared.core.model import FLAG, SEGMENT, unpack
from fbshared.errors import CorruptError, MessageError
from fbshared.shm.journal import News, Recent
from fbshared.shm.snapshot import BaseCorruptError, Entry, Snapshot, Stamp

__all__ = ["Damaged", "Turn", "View", "sound"]


MOST_ABSENT = 1000  # unknown keys that are remembered; they may come from outside


class Damaged:
    """Stands for a flag whose bytes are not to be believed."""

    __slots__ = ()


Used = CompiledFlag | Damaged | None  # None: there is no such flag


class _Kept(NamedTuple):
    """A compiled thing, and the stamps of everything it was made from; None is that of no item, or of a tombstone."""

    stamp: Stamp | None
    segments: Mapping[str, Stamp | None]
    compiled: Any


class Pool:
    """What was compiled so far in this process, by key; shared by the views that follow each other."""

    __slots__ = ("flags", "segments")

    def __init__(self) -> None:
        self.flags: dict[str, _Kept] = {}
        self.segments: dict[str, _Kept] = {}


class View:
    """The flags of one publication.

    Args:
        word: the publication.
        identity: the region's; words of different regions must not be compared.
        open_snapshot: maps the snapshot; raises ``FileNotFoundError`` where it is gone.
        pool: what the view before it compiled.

    Attributes:
        base: the publication of its snapshot's base, which was sound; or that snapshot's own.
    """

    __slots__ = ("_absent", "_all", "_damaged", "_open", "_pool", "base", "flags", "identity", "ready", "word")

    def __init__(
        self,
        word: int = 0,
        identity: tuple[int, int] = (0, 0),
        open_snapshot: Callable[[], Snapshot] | None = None,
        pool: Pool | None = None,
    ) -> None:
        self.word = word
        self.identity = identity
        self.ready = open_snapshot is not None
        self.flags: dict[str, Used] = {}
        self._open = open_snapshot
        self._pool = pool or Pool()
        self._absent = 0
        self.base = 0
        self._damaged = False  # whether one of the flags is
        self._all: dict[str, CompiledFlag | Damaged] | None = None

    def reopened(self, open_snapshot: Callable[[], Snapshot]) -> View:
        """The same data, looked up through another mapping of the region."""
        return self._copy(self.word, open_snapshot)

    def detached(self) -> View:
        """The same data without a publication: every one of a new region is newer."""
        return self._copy(0, self._open)

    def _copy(self, word: int, open_snapshot: Callable[[], Snapshot] | None) -> View:
        view = View(word, self.identity, open_snapshot, self._pool)
        view.flags, view._all, view._absent, view._damaged = self.flags, self._all, self._absent, self._damaged
        view.base = self.base
        return view

    def successor(
        self, word: int, identity: tuple[int, int], snapshot: Snapshot | Recent, open_snapshot: Callable[[], Snapshot]
    ) -> View:
        """The view of another snapshot, with all flags that this one used.

        Only those are looked up that may be different, as far as the snapshot tells.

        Raises:
            FileNotFoundError: the snapshot's base has been replaced meanwhile.
            CorruptError: the base's bytes are not to be believed.
        """
        view = View(word, identity, open_snapshot, self._pool)
        view.base = snapshot.base_word or word
        if view.base != self.base or identity != self.identity:
            snapshot.base()  # nothing is adopted that nobody can read
        flags = self.flags.copy()  # another thread may add to it
        again = self._to_look_up(flags, snapshot) if identity == self.identity else None
        if again is not None:
            view.flags, view._absent = flags, self._absent
            for key in again:
                view._absent -= flags.pop(key) is None
        keys = list(flags) if again is None else again
        if keys:
            loader = _Loader(snapshot, self._pool)
            for key in keys:
                view._keep(key, loader.flag(key))
        return view

    def _to_look_up(self, flags: Mapping[str, Used], snapshot: Snapshot | Recent) -> set[str] | None:
        """The flags that are not surely what they were: different themselves or in a segment, or damaged so far; None
        where nobody knows."""
        try:
            changed = snapshot.changed_since(self.word)
        except CorruptError:
            return None  # whatever else is damaged shows where it is looked up
        if changed is None:
            return None
        found: set[str] = set()
        segments: set[str] = set()
        for kind, key in changed:
            if kind == SEGMENT:
                segments.add(key)
            elif key in flags:
                found.add(key)
        if segments or self._damaged:
            found |= {key for key, flag in flags.items() if flag is not None and _concerned(flag, segments)}
        return found

    def snapshot(self) -> Snapshot | None:
        """What this is a view of, None before the first one; raises as ``load`` does. Keeping it keeps it mapped."""
        return None if self._open is None else self._open()

    def damaged(self) -> list[str]:
        """The flags in use whose bytes are not to be believed."""
        if not self._damaged:
            return []
        # Another thread may add to them.
        return [key for key, flag in self.flags.copy().items() if isinstance(flag, Damaged)]

    def load(self, key: str) -> Used:
        """A flag that was not used before; None where there is no such flag.

        Raises:
            FileNotFoundError: the snapshot has been replaced meanwhile.
            CorruptError: the snapshot's index is damaged.
        """
        if self._open is None:
            return None
        flag = _Loader(self._open(), self._pool).flag(key)
        self._keep(key, flag)
        return flag

    def all(self) -> Mapping[str, CompiledFlag | Damaged]:
        """Every flag of the snapshot, by key; raises as ``load`` does."""
        if self._all is None:
            if self._open is None:
                return {}
            snapshot = self._open()
            loader = _Loader(snapshot, self._pool)
            found = {key: loader.entry(key, entry) for key, entry in snapshot.keys(FLAG)}
            self._all = dict(sorted(found.items()))
        return self._all

    def _keep(self, key: str, flag: Used) -> None:
        if flag is None:
            if self._absent >= MOST_ABSENT:
                return
            self._absent += 1
        self._damaged = self._damaged or isinstance(flag, Damaged)
        self.flags[key] = flag


class Turn:
    """The right to refresh the view; whoever loses it gives it back (see ``shm.outbox.Turn``)."""

    __slots__ = ("_free",)

    def __init__(self, free: list[Turn] | None) -> None:
        self._free = free

    def __del__(self) -> None:
        free = getattr(self, "_free", None)  # none where an exception struck while it was made
        if free is not None:
            free.append(Turn(free))

    def end(self) -> None:
        """Let it be destroyed for good."""
        self._free = None


class _Segments:
    """The segments of one open snapshot, and which of the compiled ones are still good."""

    def __init__(self, snapshot: Snapshot | Recent, pool: Pool) -> None:
        self._snapshot = snapshot
        self._pool = pool
        self._stamps: dict[str, Stamp | None] = {}

    def raw(self, id_: str) -> Mapping[str, Any] | None:
        entry = self._living(id_)
        return None if entry is None else unpack(entry.blob())

    def known(self, id_: str) -> CompiledSegment | None:
        """One that was compiled before, if neither it nor any that it can reach is different now."""
        kept = self._pool.segments.get(id_)
        try:
            if kept is None or kept.stamp != self.stamp(id_) or not self.unchanged(kept.segments):
                return None
        except BaseCorruptError:
            raise
        except CorruptError:
            return None  # compiling it anew shows which one is damaged
        segment: CompiledSegment = kept.compiled
        return segment

    def unchanged(self, stamps: Mapping[str, Stamp | None]) -> bool:
        return all(self.stamp(id_) == stamp for id_, stamp in stamps.items())

    def stamp(self, id_: str) -> Stamp | None:
        if id_ not in self._stamps:
            entry = self._living(id_)
            self._stamps[id_] = None if entry is None else entry.stamp
        return self._stamps[id_]

    def _living(self, id_: str) -> Entry | News | None:
        entry = self._snapshot.find(SEGMENT, id_)
        return None if entry is None or entry.archived else entry


class _Loader:
    """Compiles from one open snapshot, or takes over what is unchanged."""

    def __init__(self, snapshot: Snapshot | Recent, pool: Pool) -> None:
        self._snapshot = snapshot
        self._pool = pool
        self._segments = _Segments(snapshot, pool)
        # With no method of the loader: the two would keep each other, and the file open, until the next collection.
        self._compiler = Compiler(self._segments.raw, self._segments.known)

    def flag(self, key: str) -> Used:
        try:
            entry = self._snapshot.find(FLAG, key)
        except BaseCorruptError:
            raise  # no flag is damaged: the publication cannot be read
        except CorruptError:
            return Damaged()
        if entry is None or entry.archived:
            self._pool.flags.pop(key, None)
            return None
        return self.entry(key, entry)

    def entry(self, key: str, entry: Entry | News) -> CompiledFlag | Damaged:
        kept = self._pool.flags.get(key)
        try:
            if kept is not None and kept.stamp == entry.stamp and self._segments.unchanged(kept.segments):
                flag: CompiledFlag = kept.compiled
                return flag
            flag = self._compile(unpack(entry.blob()), kept)
        except BaseCorruptError:
            raise
        except (CorruptError, MessageError):
            # A damaged segment is not an unknown one: the flag's answer would be wrong, so it gives none.
            return Damaged()
        self._pool.flags[key] = _Kept(entry.stamp, self._stamps(flag.segments), flag)
        return flag

    def _compile(self, raw: Mapping[str, Any], former: _Kept | None) -> CompiledFlag:
        flag = self._compiler.flag(raw, former.compiled if former is not None else None)
        known = self._pool.segments
        for id_, segment in self._compiler.compiled.items():
            if id_ not in known or known[id_].compiled is not segment:
                known[id_] = _Kept(self._segments.stamp(id_), self._stamps(segment.segments), segment)
        return flag

    def _stamps(self, ids: Iterable[str]) -> dict[str, Stamp | None]:
        return {id_: self._segments.stamp(id_) for id_ in ids}


def sound(flags: Mapping[str, Used]) -> dict[str, CompiledFlag]:
    """Those that can be evaluated, by key."""
    return {key: flag for key, flag in flags.items() if isinstance(flag, CompiledFlag)}


def _concerned(flag: CompiledFlag | Damaged, segments: set[str]) -> bool:
    return isinstance(flag, Damaged) or not segments.isdisjoint(flag.segments)
