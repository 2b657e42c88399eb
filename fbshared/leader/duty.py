"""A member's duty: stand for the lead, and while leading run sync and delivery and keep the house.

One thread waits for the lead; a leader has two more. Before a fork they all pause at a safe point, so that a child
inherits no half-done work and Python has no thread to warn about; afterwards they go on in the parent, with the
same lead and the same connection. Where not even the hook of ``fbshared.uwsgi`` runs, they just go on in the parent.
A child that ran no hook drops its copies when it first notices.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping

from fbshared import afterwards, uwsgi
from fbshared.core.model import EMPTY, Dataset
from fbshared.leader.election import Election, Term
from fbshared.leader.leadership import DELIVERY, SYNC, DutySettings, Leadership
from fbshared.leader.leaving import deliver_what_is_left
from fbshared.leader.wake import Wake
from fbshared.shm.control import RETIRED
from fbshared.shm.forked import ForkCell
from fbshared.shm.region import OwnRing, Region, process_age, process_start

__all__ = ["Duty", "DutySettings"]

log = logging.getLogger("fbshared.leader")

TICK = 0.05  # seconds between two tries for the lead, and between two heartbeats
HOUSEKEEPING = 1.0
_CHANCES = 6  # polls and not seconds: on a busy machine, or after standing still, others were as slow
_PAUSE_LIMIT = 0.5  # seconds that a fork waits at most
_END_LIMIT = 2.0


class Duty:
    """The duty of one member in one region.

    Args:
        own_rings: this process's rings, by name.
        region_lost: called in the duty's thread when the region has been removed or given up; this duty ends.
        seed: data that an earlier term of this process had, and whether it once was a full.
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
        self._cell = ForkCell()
        self._halt = Wake()
        self._mutex = threading.RLock()  # a signal handler that forks may come back here
        self._pauses = 0
        self._stopped = False
        self._left = False  # whether the region is no more
        self._deadline = math.inf  # of the end
        self._going = False  # whether the thread has not decided to end
        self._thread: threading.Thread | None = None
        self._workers: list[threading.Thread] = []
        self._election = Election(region, settings.stale_limit, time.monotonic, self._gives_way)
        self.leadership: Leadership | None = None
        self._settled_at = time.monotonic() + settings.settled_age - process_age()
        self._offered = False  # whether its latest term ended without a connection
        self._not_before = 0.0
        self._house_at = 0.0
        self._told = ""

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        leadership = self.leadership
        return leadership is not None and leadership.term.holds()

    @property
    def runs(self) -> bool:
        """Whether its thread runs."""
        return self._going

    @property
    def is_own(self) -> bool:
        """Whether it is this process's, and not that of a parent."""
        return bool(self._cell.words[0])

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
        with self._mutex:
            if self._stopped or self._pauses:
                return
            self._halt.clear()
            if self._going:
                return  # a pause did not last until its end
            _running.add(self)
            thread = threading.Thread(target=self._run, name="fbshared", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is shutting down
                self._tell(f"this process cannot stand for the lead: {error}")
                return
            self._thread, self._going = thread, True

    def ask_to_stop(self, deadline: float) -> None:
        """Begin to end for good; the rest is done in the background, until ``deadline`` on the monotonic clock."""
        with self._mutex:
            if self._stopped:
                return
            self._stopped, self._deadline = True, deadline
            _running.discard(self)
            self._halt.set()
            if not self._going:
                self._begin_to_finish()

    def stop(self, deadline: float) -> None:
        """End for good, with a last round of delivery, until ``deadline`` on the monotonic clock at most."""
        self.ask_to_stop(deadline)
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(max(deadline - time.monotonic(), 0.0))
        leadership = self.leadership
        if thread.is_alive() and leadership is not None:
            leadership.abandon()  # whatever hangs there must not keep the lead from others

    def pause(self) -> None:
        """Before a fork: bring all threads to their end, for half a second at most."""
        with self._mutex:
            self._pauses += 1
            self._halt.set()
            thread = self._thread
        deadline = time.monotonic() + _PAUSE_LIMIT
        if thread is not None and thread is not threading.current_thread():
            # It waits for the others itself, also for those that it was about to start.
            thread.join(max(deadline - time.monotonic(), 0.0))
            afterwards.wait_until_gone(thread, deadline)

    def resume(self) -> None:
        """After the fork, in the parent: go on."""
        with self._mutex:
            self._pauses = max(self._pauses - 1, 0)
        self.start()

    def drop(self) -> None:
        """In a forked child: let go of the parent's descriptors. Takes no lock, one may be held for ever."""
        _running.discard(self)
        self._election.close()
        self._halt.close()
        if self.leadership is not None:
            self.leadership.drop()

    def _run(self) -> None:
        try:
            while self._goes_on():
                self._work()
            if self._going:
                self._finish()
        finally:
            self._going = False

    def _goes_on(self) -> bool:
        """Whether nobody asked for the end, or it was taken back meanwhile: a fork does not wait for a slow request.

        A thread that was stopped is still going: it is the one that finishes.
        """
        with self._mutex:
            here = bool(self._cell.words[0])
            self._going = here and (self._stopped or not self._halt.is_set())
            return self._going and not self._stopped

    def _begin_to_finish(self) -> None:
        """There is no thread that would do it; a thread, for a name may take any time to resolve."""
        thread = threading.Thread(target=self._finish, name="fbshared", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: what is not delivered stays in the rings
            if self.leadership is not None:
                self.leadership.abandon()
            return
        self._thread = thread

    def _finish(self) -> None:
        """The last thing that a stopped duty does: deliver what nobody else would, and let go of everything."""
        self._election.close()
        leadership = self.leadership
        if leadership is not None:
            self._deliver_the_rest(leadership)
            self.leadership = None
            leadership.end()
        if not self._left:
            deliver_what_is_left(self._region, self._settings.delivery, self._own_rings, self._deadline)
        self._close_halt()

    def _deliver_the_rest(self, leadership: Leadership) -> None:
        working = {thread.name: thread for thread in self._workers if thread.is_alive()}
        if DELIVERY in working and not leadership.rings.shared():
            # The request in flight is the last round's first.
            working[DELIVERY].join(max(self._deadline - time.monotonic(), 0.0))
        if DELIVERY not in working or not working[DELIVERY].is_alive():
            leadership.delivery.last_round(self._deadline)
        if SYNC in working:
            leadership.sync.drop()  # it may hold the lock that saying goodbye needs

    def _work(self) -> None:
        if self.leadership is not None:
            self._start_workers()
        while not self._halt.is_set() and self._cell.words[0]:
            try:
                self._step(time.monotonic())
            except OSError as error:
                if not self._region.intact():
                    self._leave()
                    return
                self._tell(f"the shared directory cannot be used: {error.strerror}")
            self._halt.wait(TICK)
        self._join_workers()

    def _close_halt(self) -> None:
        """Close what everybody waits for, unless a request that hangs will still come back to it."""
        if not any(thread.is_alive() for thread in self._workers):
            self._halt.close()

    def _step(self, now: float) -> None:
        due = now >= self._house_at
        if due:
            self._house_at = now + HOUSEKEEPING
        if self._region.control.publication == RETIRED or (due and not self._region.intact()):
            self._leave()
            self._halt.set()
            return
        leadership = self.leadership
        if leadership is None:
            if now < self._not_before:
                return
            term = self._election.poll()
            if term is not None:
                self._begin(term)
        elif not leadership.term.holds():
            log.info("epoch %d is over", leadership.term.epoch)
            self._end_term()
        else:
            self._lead(leadership, now, due=due)
        self._told = ""

    def _lead(self, leadership: Leadership, now: float, *, due: bool) -> None:
        leadership.tick(now)
        if not due:
            return
        for thread in self._workers:
            if not thread.is_alive():
                self._start_workers()
                break
        if not leadership.term.lock_intact():
            log.warning("the lock file of the leader was removed; standing for the lead again")
            self._end_term()
            return
        leadership.keep_house(now)
        control = self._region.control
        patience = self._settings.offer_after * 2 ** min(control.unreachable, 6)
        if leadership.unreachable_for(now) >= patience and any(self._others()):
            log.info("process %d cannot connect and offers the lead to others", os.getpid())
            control.unreachable += 1
            self._not_before, self._offered = now + self._settings.offer_pause, True
            self._end_term()

    def _others(self) -> Iterator[int]:
        """When the process of each living other candidate started."""
        own = self._own_rings()
        for name in self._region.names("ring."):
            if name not in own and (start := self._region.candidate_start(name)):
                yield start

    def _gives_way(self) -> int:
        """For how many polls a free lead is left to others: where there is one that may be able to connect, or,
        this process being young, an older one.

        The process counts and not the client: a server's worker may build its client late, a script builds it at
        once. Who could not connect waits longer than who is young, for that one may be able to.
        """
        if self._offered:
            return 2 * _CHANCES if any(self._others()) else 0
        if time.monotonic() >= self._settled_at:
            return 0
        mine = process_start(os.getpid())
        return _CHANCES if any(start < mine for start in self._others()) else 0

    def _begin(self, term: Term) -> None:
        try:
            self.leadership = Leadership(self._region, term, self._settings, self._own_rings, self._seed)
        except BaseException:
            term.close()
            # Others may be able to; and a term for each tick would be one file and one line of log for each.
            self._not_before = time.monotonic() + self._settings.offer_pause
            raise
        self._offered = False
        self._start_workers()

    def _start_workers(self) -> None:
        leadership = self.leadership
        assert leadership is not None
        alive = {thread.name for thread in self._workers if thread.is_alive()}
        self._workers = [thread for thread in self._workers if thread.is_alive()]
        for name, body in leadership.bodies().items():
            if name not in alive:
                thread = threading.Thread(target=body, args=(self._halt,), name=name, daemon=True)
                self._workers.append(thread)
                thread.start()

    def _join_workers(self) -> None:
        """Wait for both duties, but not for a request that hangs: it ends by its own deadline, and finds that
        this process leads no more."""
        deadline = min(time.monotonic() + _END_LIMIT, self._deadline)
        for thread in self._workers:
            thread.join(max(deadline - time.monotonic(), 0.0))
            afterwards.wait_until_gone(thread, deadline)
        self._workers = [thread for thread in self._workers if thread.is_alive()]

    def _abandon_workers(self) -> None:
        """The term is over. A request that hangs ends in its own time and must not stand for the next term's."""
        self._join_workers()
        self._workers = []

    def _end_term(self) -> None:
        """Stop both duties and let go of the lead; the lock goes last."""
        leadership = self.leadership
        assert leadership is not None
        leadership.term.resign()
        self._abandon_workers()
        self._seed = leadership.sync.dataset, leadership.sync.synced
        self.leadership = None
        leadership.end()

    def _leave(self) -> None:
        """The region is no more: tell all who still map it, and meet them at the path."""
        log.warning("the shared directory was removed or given up; all processes meet again in a new one")
        self._region.control.retire()
        leadership = self.leadership
        if leadership is not None:
            leadership.term.resign()
            self._abandon_workers()
            self._seed = leadership.sync.dataset, leadership.sync.synced
        _running.discard(self)
        self._stopped = self._left = True
        self._election.close()
        self._region_lost(self)
        if leadership is not None:
            self.leadership = None
            leadership.end()

    def _tell(self, trouble: str) -> None:
        if trouble != self._told:
            self._told = trouble
            log.warning("%s", trouble)


_running: weakref.WeakSet[Duty] = weakref.WeakSet()


def _own() -> list[Duty]:
    """Those of this process: one that was forked in C may fork again before it has noticed that it is a child."""
    return [duty for duty in list(_running) if duty.is_own]


def _before_fork() -> None:
    for duty in _own():
        duty.pause()


def _after_fork() -> None:
    for duty in _own():
        duty.resume()


def _in_child() -> None:
    for duty in list(_running):
        duty.drop()


afterwards.around_forks(_before_fork, _after_fork, _in_child)
uwsgi.around_forks_in_c(_before_fork, _after_fork)
