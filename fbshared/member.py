"""A process's membership in one region: beside what it reads there, where its events go, and its duty.

All clients of one environment in a process share a member. A forked child gets a member of its own, which begins
with what its parent had seen; the child is noticed by its empty ``ForkCell``, hooks or not.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from fbshared.gates import torn
from fbshared.reader import Reader
from fbshared.shm.bell import ring_bell
from fbshared.shm.forked import ForkCell
from fbshared.shm.outbox import Outbox, SilentOutbox
from fbshared.shm.region import OwnRing, Region, ring_name
from fbshared.shm.ring import chunks_for
from fbshared.standby import Standby
from fbshared.uwsgi import before_the_forks, why_no_threads
from fbshared.view import View
from fbshared.watcher import watcher

if TYPE_CHECKING:
    from fbshared.leader.duty import Duty
    from fbshared.leader.settings import DutySettings

__all__ = ["Member", "MemberSettings", "members"]

log = logging.getLogger("fbshared")

_REJOIN_PAUSE = 0.5
_TURN_PAUSE = 0.001
_TORN = "it was forked in the middle of an import"


class MemberSettings(NamedTuple):
    """What makes a member: where its region is, and how it would lead; ``duty`` is None for a follower.

    ``shown`` stands for all of that in the member's rings, for others to compare (see ``shm.ring``).
    ``silent``: there is nowhere to deliver events to.
    """

    root: str
    digest: str
    events: int
    duty: Callable[[], DutySettings] | None
    shown: int = 0
    silent: bool = False


members: dict[tuple[int, str, str], Member] = {}  # of this process, and of those that it was forked from
_left_behind: list[object] = []


class Member(Reader):
    """The membership of this process.

    Attributes:
        cell: ``cell[0]`` is 0 in a process that was forked from this member's.
    """

    def __init__(self, settings: MemberSettings, parent: Member | None = None) -> None:
        self.settings = settings
        self._cell = ForkCell()
        self.cell = self._cell.words
        self._usable = True
        try:
            region = Region(settings.root, settings.digest)
        except OSError:
            if parent is None:
                raise
            # The parent's pages are mapped here too: evaluation goes on from them.
            region, self._usable = parent.region, False
        super().__init__(region, View() if parent is None else self._inherited(parent, region))
        kind = SilentOutbox if settings.silent else Outbox
        self.outbox = kind(self._new_ring, self._count_lost)
        self.users: set[int] = set()
        self.closed = False
        self._dropped = False
        self._births: dict[str, None] = {}
        self._move_at = 0.0
        self._duty: Duty | None = None
        self._standby: Standby | None = None
        self._first_duty: dict[None, Duty] = {}
        self.outbox.prepare()
        if self.region.retired and self._usable:
            self._move(None)  # an unused region, removed while this process opened it

    def _inherited(self, parent: Member, region: Region) -> View:
        view = parent.view
        if region.identity != parent.region.identity:
            return view.detached()
        if self._usable and view.word:
            # Not through the parent's region: that would stay mapped, and so would its parent's, and so on.
            return view.reopened(partial(region.snapshot, view.word))
        return view

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        return self._duty is not None and self._duty.leads and bool(self.cell[0])

    def run(self) -> None:
        """Stand for the lead in the background, unless that is not this member's role."""
        if self.settings.duty is None or self.closed or not self._usable:
            return
        if trouble := why_no_threads() or (_TORN if torn() else ""):
            if trouble not in self._told:
                self._told.add(trouble)
                log.warning("this process cannot lead: %s; run 'fbshared agent' beside it", trouble)
            return
        if self._duty is None and self._standby is None and Standby.suits(self.region.control):
            self._standby = Standby(self.region.control, self._stand)
            self._standby.begin()
        elif self._standby is None or not self._standby.wanted:
            self._stand()

    def _stand(self) -> None:
        """Stand for the lead from now on."""
        if self.closed:
            return
        if self._duty is None:
            made = self._new_duty(None)
            # Several threads may make their clients at the same moment; a lock could be held for ever after a fork.
            self._duty = self._first_duty.setdefault(None, made)
            if self._duty is not made:
                made.drop()
        self._duty.start()

    def waits_in_vain(self) -> bool:
        """Whether data can only come from an agent that uWSGI starts after this process has gone on."""
        may_lead = self.settings.duty is not None and not why_no_threads()
        return not may_lead and self.region.control.leader_pid == 0 and before_the_forks()

    def flush(self, timeout: float) -> bool:
        """Ask for delivery now; whether all that this process has put before is delivered within ``timeout``."""
        marks = [(ring, ring.head) for ring in list(self.outbox.rings.values())]
        deadline = time.monotonic() + timeout
        ring_bell(self.region)
        while any(ring.tail < head for ring, head in marks):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, 0.005))
        return True

    def leave(self, deadline: float) -> None:
        """Give up the rings, whose events are the next leader's, and begin to end the duty."""
        self.closed = True
        key = os.getpid(), self.settings.root, self.settings.digest
        if members.get(key) is self:  # another thread's may stand there
            del members[key]
        self.outbox.close()
        if self._standby is not None:
            self._standby.end()
        if self._duty is not None:
            self._duty.ask_to_stop(deadline)

    def close(self, deadline: float) -> None:
        """Leave the region, until ``deadline`` on the monotonic clock at most."""
        self.leave(deadline)
        if self._standby is not None:
            watcher().wait_until_idle(deadline)
            if self._duty is None and self._usable and not torn() and self.region.is_left(self._rings()):
                self._duty = self._new_duty(None)  # the last one out, before it ever stood for the lead
        if self._duty is not None:
            self._duty.stop(deadline)
        self._end_turns()
        self.region.close()

    def drop(self) -> None:
        """In a forked child: let go of what belongs to the parent, once."""
        if self._dropped:
            return
        self._dropped = True
        if self._duty is not None:
            self._duty.drop()
            if self._duty.leadership is not None:
                # Never collected: finalizers of the leader's libraries may wait for locks that nobody holds any more.
                _left_behind.append(self._duty)
            self._duty = None
        for key, member in list(members.items()):
            if member is self:
                del members[key]
        self._end_turns()
        self.outbox.drop()
        self.region.close()
        # Before Python 3.13 the mapped page has a descriptor of its own, whose number may be another file's by now.
        _left_behind.append(self.region.control)

    def _new_ring(self) -> OwnRing:
        if not self._usable:
            raise OSError("the shared directory cannot be used")
        # Named before it is there: a leader in this process must not take it for somebody else's and open it.
        name = ring_name()
        self._births[name] = None
        try:
            ring = self.region.new_ring(chunks_for(self.settings.events), name, self.settings.shown, self._rings)
            self.outbox.rings[name] = ring
        except OSError as error:
            if "ring" not in self._told:
                self._told.add("ring")
                log.warning("events of this process are dropped and counted, trying on: %s", error.strerror)
            raise
        finally:
            del self._births[name]
        self._told.discard("ring")
        return ring

    def _count_lost(self) -> None:
        self.region.control.events_lost += 1

    def _new_duty(self, before: Duty | None) -> Duty:
        from fbshared.leader.duty import Duty  # heavy, and no business of a process that never leads

        assert self.settings.duty is not None
        seed = before.seed if before is not None else None
        return Duty(self.region, self.settings.duty(), self._rings, self._rejoin, seed)

    def _rings(self) -> dict[str, OwnRing | None]:
        """The rings of this process in this region, also of a member that has just begun or not quite ended."""
        found: dict[str, OwnRing | None] = {}
        for member in [*list(members.values()), self]:
            if member.cell[0] and member.region.path == self.region.path:
                found |= {**member._births, **member.outbox.rings}
        return found

    def _rejoin(self, duty: Duty) -> None:
        """In the duty's thread: the region is gone, meet the others in the new one."""
        while not self.closed and self.cell[0]:
            try:
                turn = self._turns.pop()
            except IndexError:
                time.sleep(_TURN_PAUSE)
                continue
            try:
                moved = self._move(duty)
            finally:
                self._turns.append(turn)
            if moved:
                self._begin_again(duty)
                return
            time.sleep(_REJOIN_PAUSE)

    def _begin_again(self, duty: Duty) -> None:
        self._duty = self._new_duty(duty)
        self._duty.start()
        if self.closed:  # meanwhile: only the former duty was stopped
            self._duty.stop(time.monotonic())

    def _retired(self) -> None:
        """The region is given up. The duty's thread moves, or this one where there is none."""
        if self.settings.duty is not None and self._usable:
            if self._duty is None or not self._duty.thread.runs:
                self.run()
        elif time.monotonic() >= self._move_at:
            self._move_at = time.monotonic() + _REJOIN_PAUSE
            if self._move(None):
                self.run()

    def _move(self, duty: Duty | None) -> bool:
        """Take what is undelivered along into the region that the path leads to now; the caller has the turn."""
        try:
            region = Region(self.settings.root, self.settings.digest)
        except OSError as error:
            if "rejoin" not in self._told:
                self._told.add("rejoin")
                log.warning("the shared directory cannot be made again, trying on: %s", error)
            return False
        self._told.discard("rejoin")
        old = self.region
        self._usable = True
        self._read_on_in(region)
        self.outbox.try_again()
        if duty is not None:
            duty.rescue(self.outbox.put_record)
        for ring in self.outbox.retire():
            self.outbox.carry_over(ring)
        self.outbox.prepare()
        old.close()
        return True
