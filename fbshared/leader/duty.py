"""A member's duty: stand for the lead, and while leading run sync and delivery and keep the house.

One thread waits for the lead, and imports what a leader needs when it is elected; a leader has two more. They all pause
around forks, and go on in the parent with the same lead and the same connection. Where not even the hook of
``fbshared.uwsgi`` runs, they just go on in the parent. A child that ran no hook drops its copies when it first notices.
"""

from __future__ import annotations

import logging
import math
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fbshared import gates, pausing
from fbshared.core.model import EMPTY, Dataset
from fbshared.leader import libraries
from fbshared.leader.candidacy import Candidacy
from fbshared.leader.election import Term
from fbshared.leader.leaving import deliver_what_is_left
from fbshared.leader.settings import DutySettings
from fbshared.leader.wake import Wake
from fbshared.leader.workers import DELIVERY, SYNC, Workers
from fbshared.pausing import PausingThread, around_forks
from fbshared.shm.control import RETIRED
from fbshared.shm.region import OwnRing, Region

if TYPE_CHECKING:
    from fbshared.leader.leadership import Leadership

__all__ = ["Duty"]

log = logging.getLogger("fbshared.leader")

POLL = 0.1  # seconds between two tries for the lead
BEAT = 0.05  # seconds between two heartbeats
HOUSEKEEPING = 1.0


class Duty:
    """The duty of one member in one region.

    Args:
        own_rings: this process's rings, by name.
        region_lost: called in the duty's thread when the region has been removed or given up; this duty ends.
        seed: data that an earlier term of this process had, and whether it once was a full.

    Attributes:
        thread: where it is done.
        leadership: what it holds while it leads.
    """

    def __init__(
        self,
        region: Region,
        settings: DutySettings,
        own_rings: Callable[[], Mapping[str, OwnRing | None]],
        region_lost: Callable[[Duty], None],
        seed: tuple[Dataset, bool] | None = None,
    ) -> None:
        self._region = region
        self._settings = settings
        self._own_rings = own_rings
        self._region_lost = region_lost
        self._seed = seed or (EMPTY, False)
        self._halt = Wake()
        self.thread = PausingThread(
            "fbshared", self._halt, self._work, self._cannot, last=self._finish, patience=self._patience
        )
        self._left = False  # whether the region is no more
        self._deadline = math.inf  # of the end
        self._candidacy = Candidacy(region, settings, own_rings)
        self._workers = Workers(self._halt)
        self._standing = False  # whether it may be elected at this moment
        self._term: Term | None = None  # the latest
        self.leadership: Leadership | None = None
        self._house_at = 0.0
        self._told = ""
        self._unfit = ""  # why it cannot lead

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        leadership = self.leadership
        return leadership is not None and leadership.term.holds()

    @property
    def seed(self) -> tuple[Dataset, bool]:
        """The data that this process's latest term had."""
        return self._seed

    def rescue(self, put: Callable[[bytes], bool]) -> None:
        """Hand over what dead processes left in rings that were removed with the region."""
        if self.leadership is not None:
            self.leadership.rings.rescue(put)

    def start(self) -> None:
        """Run, unless it runs, is stopped or paused."""
        _running.add(self)
        if not self.thread.start():
            _running.discard(self)

    def ask_to_stop(self, deadline: float) -> None:
        """Begin to end for good; the rest is done in the background, until ``deadline`` on the monotonic clock."""
        if self._deadline == math.inf:
            self._deadline = deadline
        _running.discard(self)
        self.thread.end()

    def stop(self, deadline: float) -> None:
        """End for good, with a last round of delivery, until ``deadline`` on the monotonic clock at most."""
        self.ask_to_stop(deadline)
        ended = self.thread.wait(deadline)
        leadership = self.leadership
        if not ended and leadership is not None:
            leadership.abandon()  # whatever hangs there must not keep the lead from others

    def drop(self) -> None:
        """In a forked child: let go of the parent's descriptors. Takes no lock, one may be held for ever."""
        _running.discard(self)
        self._candidacy.close()
        self._halt.close()
        if self._term is not None:  # of a leadership that is yet to be imported
            self._term.close()
        if self.leadership is not None:
            self.leadership.drop()

    def _patience(self) -> float:
        """Seconds that a fork waits for it."""
        return max(pausing.PAUSE_LIMIT, gates.IMPORT_LIMIT if self._standing else 0.0)

    def _finish(self) -> None:
        """The last thing that a stopped duty does: deliver what nobody else would, and let go of everything."""
        self._candidacy.close()
        leadership = self.leadership
        if leadership is not None:
            self._deliver_the_rest(leadership)
            self.leadership = None
            leadership.end()
        if not self._left:
            deliver_what_is_left(self._region, self._settings.delivery, self._own_rings, self._deadline)
        self._close_halt()

    def _deliver_the_rest(self, leadership: Leadership) -> None:
        working = self._workers.running()
        if DELIVERY in working and not leadership.rings.shared():
            # The request in flight is the last round's first.
            working[DELIVERY].join(max(self._deadline - time.monotonic(), 0.0))
        if DELIVERY not in working or not working[DELIVERY].is_alive():
            leadership.delivery.last_round(self._deadline)
        if SYNC in working:
            leadership.sync.drop()  # it may hold the lock that saying goodbye needs

    def _close_halt(self) -> None:
        """Close what everybody waits for, unless a request that hangs will still come back to it."""
        if not self._workers.running():
            self._halt.close()

    def _work(self) -> None:
        if self.leadership is not None:
            self._start_workers(self.leadership)
        while not self._halt.is_set() and self.thread.here:
            try:
                self._step(time.monotonic())
            except OSError as error:
                if not self._region.intact():
                    self._leave()
                    return
                self._tell(f"the shared directory cannot be used: {error.strerror}")
            self._halt.wait(POLL if self.leadership is None else BEAT)
        self._workers.join(self._deadline)

    def _step(self, now: float) -> None:
        due = now >= self._house_at
        if due:
            self._house_at = now + HOUSEKEEPING
        if self._region.control.publication == RETIRED or (due and not self._region.intact()):
            self._leave()
            return
        leadership = self.leadership
        if leadership is None:
            if not self._stand(now):
                return
        elif not leadership.term.holds():
            log.info("epoch %d is over", leadership.term.epoch)
            self._end_term()
        else:
            self._lead(leadership, now, due=due)
        self._told = ""

    def _stand(self, now: float) -> bool:
        """Lead if the lead is free; False where this process cannot, or lets others try."""
        if self._candidacy.stands_back(now):
            return False
        self._standing = True  # before the look: a fork either finds this, and has more patience, or is found here
        try:
            term = None if self._halt.is_set() else self._candidacy.poll()
            return term is None or self._begin(term)
        finally:
            self._standing = False

    def _lead(self, leadership: Leadership, now: float, *, due: bool) -> None:
        self._unfit = ""
        leadership.tick(now)
        if not due:
            return
        if not self._workers.complete and not self._start_workers(leadership):
            return
        if not leadership.term.lock_intact():
            log.warning("the lock file of the leader was removed; standing for the lead again")
            self._end_term()
            return
        leadership.keep_house(now)
        if self._candidacy.offers(leadership.unreachable_for(now), now):
            self._end_term()

    def _begin(self, term: Term) -> bool:
        """Lead; False where that is not possible."""
        self._term = term
        try:
            made = libraries.leadership()
            if not term.holds():  # an import may take long, and others lose patience
                term.close()
                return True
            leadership = self.leadership = made(self._region, term, self._settings, self._own_rings, self._seed)
        except ImportError as error:
            term.give_back()
            self._cannot_lead(error)
            return False
        except BaseException:
            term.give_back()
            self._candidacy.stand_back(time.monotonic())
            raise
        self._candidacy.began()
        return self._start_workers(leadership)

    def _start_workers(self, leadership: Leadership) -> bool:
        """Without its threads it cannot lead: others may, and what is left in the end this thread delivers."""
        try:
            self._workers.start(leadership.bodies())
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            self._end_term()
            self._cannot_lead(error)
            return False
        return True

    def _cannot_lead(self, error: Exception) -> None:
        """Others may be able to; and a term for each tick would be one file and one line of log for each."""
        self._candidacy.stand_back(time.monotonic())
        if self._unfit != str(error):
            self._unfit = str(error)
            log.warning("this process cannot lead: %s", error)

    def _end_term(self) -> None:
        """Stop both duties and let go of the lead; the lock goes last."""
        leadership = self.leadership
        assert leadership is not None
        self._stop_workers(leadership)
        self.leadership = None
        leadership.end()

    def _stop_workers(self, leadership: Leadership) -> None:
        leadership.term.resign()
        self._workers.join(self._deadline)
        self._workers.leave_behind()
        if not leadership.sync.behind:  # else part of what it has is as old as it was
            self._seed = leadership.sync.dataset, leadership.sync.synced

    def _leave(self) -> None:
        """The region is no more: tell all who still map it, and meet them at the path."""
        log.warning("the shared directory was removed or given up; all processes meet again in a new one")
        self._region.control.retire()
        leadership = self.leadership
        if leadership is not None:
            self._stop_workers(leadership)
        _running.discard(self)
        self._left = True
        self.thread.end()
        self._candidacy.close()
        self._region_lost(self)
        if leadership is not None:
            self.leadership = None
            leadership.end()

    def _cannot(self, error: RuntimeError) -> None:
        """No thread can be started."""
        if self._deadline == math.inf:
            self._tell(f"this process cannot stand for the lead: {error}")
        elif self.leadership is not None:
            self.leadership.abandon()  # what is not delivered stays in the rings

    def _tell(self, trouble: str) -> None:
        if trouble != self._told:
            self._told = trouble
            log.warning("%s", trouble)


_running: weakref.WeakSet[Duty] = weakref.WeakSet()


def _in_child() -> None:
    for duty in list(_running):
        duty.drop()


around_forks(lambda: [duty.thread for duty in list(_running)], _in_child)
