"""A process's own rings, and who may write to one right now.

A ring has one writer at a time, and nobody waits for it: who finds all rings in use, another thread or a signal
handler in the middle of somebody's put, opens one more. A process has as many rings as puts ever met at one
moment, which is one or two.
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

from fbshared.core.events import LARGEST_RAW_USER, Tail, make_pack, pack_reduced, pack_user, stamped
from fbshared.core.prepared import FBUser
from fbshared.shm.region import OwnRing
from fbshared.shm.ring import HEAD, RECORD, RETIRED, make_writer, writers

__all__ = ["Outbox", "SilentOutbox", "Turn"]

MOST_RINGS = 64
_AROUND = RECORD + 7  # bytes around a record's parts, before the sum is cut to a multiple of eight
RING_PAUSE = 1.0  # seconds between two tries for a ring; no put may wait for one that fails


class Turn:
    """The right to write to one ring; whoever loses it gives it back.

    An exception can strike between taking a turn and keeping it in a variable. The turn is then destroyed, and its
    ring goes back into the list: no put can leave a ring locked.
    """

    __slots__ = ("_free", "pack", "ring")

    def __init__(self, ring: OwnRing, pack: Callable[[object], bytes], free: list[Turn] | None) -> None:
        self.ring = ring
        self.pack = pack
        self._free = free

    def __del__(self) -> None:
        free = getattr(self, "_free", None)  # none where an exception struck while it was made
        if free is not None:
            free.append(Turn(self.ring, self.pack, free))

    def end(self) -> None:
        """Let it be destroyed for good."""
        self._free = None


class Outbox:
    """Where a process puts its events.

    Args:
        new_ring: makes a ring in the current region; ``OSError`` where that is not possible.
        count_lost: counts an event that found no ring, where everybody can see it.
    """

    def __init__(self, new_ring: Callable[[], OwnRing], count_lost: Callable[[], None] = lambda: None) -> None:
        self._new_ring = new_ring
        self._count_lost = count_lost
        self._again_at = -math.inf
        self._free: list[Turn] = []
        self.rings: dict[str, OwnRing] = {}
        self._closed = False
        self._idle: set[str] = set()  # rings that were given up while nobody wrote to them
        self.lost = 0  # events for which no ring could be made

    def prepare(self) -> None:
        """Have a ring ready for the first event, and for others to see that this process is a member."""
        turn = self._open() if not self.rings else None
        if turn is not None:
            self._free.append(turn)

    def try_again(self) -> None:
        """Rings are made somewhere else from now on: what failed may succeed at once."""
        self._again_at = -math.inf

    def put(self, user: Mapping[str, Any], tail: Tail, timestamp_ns: int) -> bool:
        """Append one event; False, and counted, where there is no room. Neither waits nor raises."""
        # The path of every event: ``_take``, ``core.events.record`` and ``ring.push`` are written out here.
        try:
            turn = self._free.pop()
        except IndexError:
            opened = self._open()
            if opened is None:
                return self._lose()
            turn = opened
        try:
            ring = turn.ring
            if user.__class__ is FBUser:
                # Nothing is packed and no checksum computed: those of the parts make that of the record.
                parts, first = user.packed + tail.packed, user.size
                check = user.check ^ tail.check ^ timestamp_ns
            else:
                try:  # ``core.events.pack_user``, without the call
                    parts, first = turn.pack(user) + tail.packed, 0
                except Exception:  # noqa: BLE001 - as there
                    parts, first = pack_reduced(user) + tail.packed, 0
                check = crc32(parts) ^ timestamp_ns
            words = ring.words
            head = words[HEAD]
            size = len(parts)
            end = head + size + _AROUND & -8
            write = writers.get(size)
            if write is None or end > ring.limit or head < ring.start:
                if size <= LARGEST_RAW_USER:
                    make_writer(size)
                elif not first:
                    parts = pack_user(turn.pack, user) + tail.packed
                done = ring.push(stamped(parts, timestamp_ns))
            else:
                write(ring.current, head - ring.start, size + 8, first, check, parts, timestamp_ns)
                words[HEAD] = end
                done = True
            if words[RETIRED]:
                done = self._renew(turn, stamped(parts, timestamp_ns))
        finally:
            # A single call and nothing before it: an exception in between would lose the turn.
            self._free.append(turn)
        return done

    def put_record(self, event: bytes) -> bool:
        """Append a record that was made earlier."""
        turn = self._take()
        if turn is None:
            return self._lose()
        try:
            done = self._renew(turn, event) if turn.ring.retired else turn.ring.push(event)
        finally:
            self._free.append(turn)
        return done

    def count_failure(self) -> None:
        """Count an evaluation that gave no value where everybody can see it."""
        for ring in list(self.rings.values())[:1]:
            ring.failures += 1

    def retire(self) -> list[OwnRing]:
        """Give up all rings; every later put goes into a new one. Returns them, with what is in them."""
        idle = self._end_turns()
        old = list(self.rings.values())
        self.rings = {}
        for ring in old:
            ring.retired = 1
        self._idle = {*idle, *self._end_turns()}  # once more, for the puts that ended meanwhile
        return old

    def carry_over(self, ring: OwnRing) -> None:
        """Put what is left in a ring of a removed region into one of the new region."""
        position = ring.tail
        while position < ring.head:
            records, position, _ = ring.read(position, 500)
            for each, _ in records:
                self.put_record(each)
        self._let_go(ring)

    def close(self) -> None:
        """Give the owner locks back, so that the leader takes over what is left in the rings."""
        self._closed = True
        for ring in self.retire():
            self._let_go(ring)

    def _let_go(self, ring: OwnRing) -> None:
        """Close a ring that was given up. A put that is in the middle of it would go on with a descriptor that is
        another file's by then; it finds the ring retired and closes it itself."""
        if ring.name in self._idle:
            ring.file.close()

    def drop(self) -> None:
        """In a forked child: close the copies of descriptors, those inside mappings too; the rings are the parent's."""
        self._end_turns()
        for ring in self.rings.values():
            ring.drop()
        self.rings = {}
        self._new_ring, self._count_lost = _no_ring, _count_nowhere

    def _end_turns(self) -> list[str]:
        """End all turns that nobody has; the names of their rings."""
        free, self._free = self._free, []
        for turn in free:
            turn.end()
        return [turn.ring.name for turn in free]

    def _take(self) -> Turn | None:
        """A turn on a ring that nobody writes to; None where there is no room for another ring."""
        try:
            return self._free.pop()
        except IndexError:
            return self._open()

    def _renew(self, turn: Turn, event: bytes) -> bool:
        """Put the event into a new ring: the leader took this process for dead, or the region has moved.

        It may be in the old ring too and then arrive twice, which is better than not at all.
        """
        ring = self._make()
        if ring is None:
            return self._lose()
        old = turn.ring
        self.rings.pop(old.name, None)
        self.rings[ring.name] = turn.ring = ring
        if self._closed:
            old.file.close()
        return ring.push(event)

    def _open(self) -> Turn | None:
        ring = self._make() if len(self.rings) < MOST_RINGS else None
        if ring is None:
            return None
        turn = Turn(ring, make_pack(), None)
        # Known, and from now on given back: one statement without a call, which no exception strikes in between.
        self.rings[ring.name], turn._free = ring, self._free
        return turn

    def _make(self) -> OwnRing | None:
        if time.monotonic() < self._again_at:
            return None
        try:
            return self._new_ring()
        except OSError:
            self._again_at = time.monotonic() + RING_PAUSE
            return None

    def _lose(self) -> bool:
        self.lost += 1
        self._count_lost()
        return False


class SilentOutbox(Outbox):
    """Keeps no event, for there is nowhere to deliver it to; its ring shows others that this process is a member."""

    def put(self, *_: Any, **__: Any) -> bool:
        """Forget it."""
        return True


def _no_ring() -> OwnRing:
    raise OSError(errno.EBADF, "this is the outbox of the parent")


def _count_nowhere() -> None:
    pass
