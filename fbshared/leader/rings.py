"""All rings of a region as the leader sees them: find, collect, accept, adopt, remove."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fbshared.errors import CorruptError
from fbshared.shm import files
from fbshared.shm.region import OwnRing, Region
from fbshared.shm.ring import CHUNK, HEADER, Ring

__all__ = ["LOOK", "Batch", "Collected", "Rings"]

log = logging.getLogger("fbshared.delivery")

LOOK = 0.5  # seconds between two looks at who is alive
GRACE = 1.0  # seconds between taking an owner for dead and removing its ring


class Followed:
    """One ring that the leader drains."""

    __slots__ = ("adopted_at", "file", "own", "position", "ring")

    def __init__(self, ring: Ring, file: files.MappedFile, *, own: bool) -> None:
        self.ring = ring
        self.file = file
        self.own = own
        self.position = ring.tail
        self.adopted_at: float | None = None


class Collected(NamedTuple):
    """One record, and where its ring's tail goes once it is delivered."""

    record: bytes
    followed: Followed
    position: int

    def __repr__(self) -> str:
        """Where it is; what is in it tells of a user."""
        return f"<{len(self.record)} bytes before {self.position}>"


Batch = Sequence[Collected]


class Rings:
    """The rings of one leadership.

    Args:
        own: the rings of this process by name, None for one that is just being made. They must not be opened a
            second time: closing the second descriptor would drop this process's owner lock.
    """

    def __init__(self, region: Region, epoch: int, own: Callable[[], Mapping[str, OwnRing | None]]) -> None:
        self._region = region
        self._epoch = epoch
        self._own = own
        self._followed: dict[str, Followed] = {}
        self._ignored: set[str] = set()
        self._looked_at = -LOOK
        self._turn = 0

    def look(self, now: float) -> None:
        """Find new rings; every now and then, see which owners died, and remove what they left empty."""
        for name, followed in list(self._followed.items()):
            if followed.own and followed.file.fd < 0:
                del self._followed[name]  # this process is leaving: from now on a ring like those of the dead
        for name in self._region.names("ring."):
            if name not in self._followed and name not in self._ignored:
                self._follow(name)
        if now >= self._looked_at + LOOK:
            self._looked_at = now
            for name, followed in list(self._followed.items()):
                self._attend(name, followed, now)

    def shared(self) -> bool:
        """Whether another living process that may lead has a ring here, as far as the last look told."""
        return any(
            not followed.own and followed.adopted_at is None and followed.ring.may_lead
            for followed in self._followed.values()
        )

    def collect(self, most: int) -> list[Collected]:
        """Up to ``most`` records in order, from each ring in turn; nothing moves before ``accept``."""
        batch: list[Collected] = []
        followed = list(self._followed.values())
        self._turn += 1
        start = self._turn % len(followed) if followed else 0
        for each in followed[start:] + followed[:start]:
            if len(batch) >= most:
                break
            self._collect_from(each, most - len(batch), batch)
        return batch

    def accept(self, batch: Batch) -> None:
        """Advance the tails over a batch whose events are done with."""
        last: dict[Followed, tuple[int, int]] = {}
        for entry in batch:
            count = last.get(entry.followed, (0, 0))[1]
            last[entry.followed] = entry.position, count + 1
        for followed, (position, count) in last.items():
            followed.position = position
            followed.ring.advance(self._epoch, position)
            followed.ring.delivered += count

    def rescue(self, put: Callable[[bytes], bool]) -> int:
        """Hand over what dead owners left in rings that have no name any more; how many records."""
        rescued = 0
        for followed in self._followed.values():
            if followed.own or (followed.adopted_at is None and not files.lock_owner(followed.file.fd)):
                continue  # a living owner carries its records over itself
            while batch := self._records(followed, 500):
                rescued += sum(put(entry.record) for entry in batch)
                self.accept(batch)
        return rescued

    def close(self) -> None:
        """Let go of all rings; adopted ones can be adopted by the next leader."""
        for followed in self._followed.values():
            if not followed.own:
                followed.file.close()
        self._followed = {}

    def _follow(self, name: str) -> None:
        rings = self._own()
        if name in rings:
            own = rings[name]
            if own is not None:
                self._followed[name] = Followed(own, own.file, own=True)
            return
        try:
            file = files.map_file(self._region.join(name))
        except OSError:
            return  # removed since, or out of descriptors: the next look tells
        try:
            self._followed[name] = Followed(_reader(file), file, own=False)
        except (CorruptError, OSError) as error:
            file.close()
            self._ignored.add(name)
            self._region.control.records_corrupt += 1
            log.warning("%s is not drained: %s", name, error)

    def _attend(self, name: str, followed: Followed, now: float) -> None:
        if followed.position > followed.ring.tail:
            # A superseded leader of four epochs ago shares this leader's word and turned it back.
            followed.ring.advance(self._epoch, followed.position)
        if followed.own:
            if name not in self._own() and followed.ring.backlog() == 0:
                self._forget(name, followed)  # given up by this process, and empty
            return
        if followed.adopted_at is None:
            if files.lock_owner(followed.file.fd):
                followed.adopted_at = now
                followed.ring.retired = 1
        elif now >= followed.adopted_at + GRACE and followed.ring.backlog() == 0:
            self._forget(name, followed)

    def _forget(self, name: str, followed: Followed) -> None:
        files.remove(self._region.join(name))
        del self._followed[name]
        if not followed.own:
            followed.file.close()

    def _collect_from(self, followed: Followed, most: int, batch: list[Collected]) -> None:
        if followed.ring.identity != self._region.identity and followed.adopted_at is None:
            return  # of an earlier region: its owner, if it lives, carries the records over into a new ring
        batch += self._records(followed, most)

    def _records(self, followed: Followed, most: int) -> list[Collected]:
        ring = followed.ring
        followed.position = max(followed.position, ring.tail)
        while ring.head > followed.position:
            try:
                records, end, corrupt = ring.read(followed.position, most)
            except OSError:
                break  # out of descriptors or memory: the next tick tries again
            if records or not corrupt:
                return [Collected(record, followed, behind) for record, behind in records]
            self._region.control.records_corrupt += corrupt
            log.warning("a damaged record in a ring is passed over")
            followed.position = end
            ring.advance(self._epoch, end)
        return []


def _reader(file: files.MappedFile) -> Ring:
    return Ring(file.piece(0, HEADER), lambda number: file.piece(HEADER + number * CHUNK, CHUNK))
