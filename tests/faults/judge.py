"""Watches a crew from outside while faults happen to it, and notes the first promise that is broken."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from fbshared.shm.control import SyncState
from fbshared.shm.region import GENERATION_BITS, now_ms
from tests.faults.sockets import sockets_of, unread
from tests.processes.conftest import GATE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fbshared.testing import FeatBitServer
    from fbshared.testing.records import Connection
    from tests.processes.conftest import Crew

__all__ = ["BATCH", "GATE", "Judge", "Ledger"]

STALE_MARGIN = 5.0  # seconds beyond the stale limit for the same, when the leader stands still
STALL_LIMIT = 12.0  # seconds: a request whose answer was swallowed is repeated after ten
RETRY_MARGIN = 5.0  # seconds beyond the time at which the leader says that it tries again
LONGEST_OVERLAP = 1.0  # seconds; promise P1
WAKING = 5.0  # seconds in which a superseded leader that wakes up closes its socket
MESSAGE = 8192  # bytes; longer than any message of a run
BATCH = 500  # events in one post; promise P6
_LOOK = 0.004
_TAKE = 0.25


class Ledger:
    """How often each user's event has arrived; takes the events off the server, so that a long run stays small."""

    def __init__(self, server: FeatBitServer) -> None:
        self._server = server
        self._mutex = threading.Lock()
        self.counts: Counter[str] = Counter()

    def take(self) -> None:
        """Count what has arrived since."""

        def count(server: FeatBitServer) -> bool:
            self.counts.update(event.user["keyId"] for event in server.events)
            server.clear_events()
            return True

        with self._mutex:
            self._server.wait_for(count, 0.0)  # the server stands still meanwhile: nothing falls between the two

    def lacking(self, keys: Iterable[str], seconds: float) -> set[str]:
        """The users whose events have not arrived in time."""
        missing = set(keys)
        deadline = time.monotonic() + seconds
        while True:
            self.take()
            missing = {key for key in missing if key not in self.counts}
            if not missing or time.monotonic() >= deadline:
                return missing
            time.sleep(0.1)

    def duplicates(self) -> int:
        """How many events arrived once more."""
        return self.counts.total() - len(self.counts)


class Recovery:
    """From the moment when nobody in sync leads until somebody does, and how long that may take."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}
        self.since: float | None = None
        self._causes: list[str] = []
        self._limit = 0.0

    def disturbed(self, cause: str, now: float, seconds: float) -> None:
        """Something happened that may take this long to get over."""
        if self.since is None:
            self.since, self._limit = now, 0.0
        self._causes.append(cause)
        self.excused(now + seconds)

    def meanwhile(self, cause: str) -> None:
        """Something else happens: where it is not well, the time that it takes is not that of one thing."""
        if self.since is not None and cause not in self._causes:
            self._causes.append(cause)

    def excused(self, until: float) -> None:
        """It may take until then."""
        self._limit = max(self._limit, until)

    def looked(self, now: float, *, well: bool) -> str | None:
        """Take note of how it is; what is wrong about it."""
        if well:
            if self.since is not None and len(self._causes) == 1:  # else it is not the time of one thing
                self.times.setdefault(self._causes[0], []).append(now - self.since)
            self.since = None
            self._causes.clear()
        elif self.since is None:
            self.since, self._limit = now, now + GATE
            self._causes.append("a lost connection")
        elif now > self._limit:
            return f"nobody in sync leads, for {now - self.since:.2f} s now, after: {', '.join(self._causes)}"
        return None


class Judge(threading.Thread):
    """Looks every few milliseconds. ``breach`` says what was broken first.

    Args:
        stale_limit: the members' own, in seconds.
    """

    def __init__(self, crew: Crew, stale_limit: float) -> None:
        super().__init__(name="judge", daemon=True)
        self.ledger = Ledger(crew.server)
        self.recovery = Recovery()
        self.breach: str | None = None
        self.overlaps: list[float] = []
        self.epochs: set[int] = set()
        self.regressions = 0  # of the publication word; readers have to ignore them
        self._crew = crew
        self._stale_limit = stale_limit
        self._control = crew.control()
        self._identity = self._control.identity
        self._over = threading.Event()
        self._mutex = threading.Lock()
        self._frozen: dict[int, float] = {}
        self._woken: dict[int, float] = {}  # connections of superseded leaderships, and when their process went on
        self._faulty: dict[str, float] = {}  # what is wrong with the server, and how long it takes to get over
        self._owners: dict[int, tuple[int, int]] = {}  # epoch and process of each connection
        self._unread: dict[str, int] = {}  # bytes in sockets that nobody may read any more
        self._two_since: float | None = None
        self._word = 0
        self._taken_at = 0.0

    def run(self) -> None:
        while not self._over.wait(_LOOK):
            try:
                with self._mutex:
                    self._look(time.monotonic())
            except Exception:  # noqa: BLE001 - a judge that fell silent would find everything in order
                self.broken(traceback.format_exc())

    def finish(self) -> None:
        """End watching."""
        self._over.set()
        self.join(10)

    # What the run does, told before it is done

    def disturbed(self, cause: str, seconds: float = GATE) -> None:
        """Something is done from which the crew recovers within this time."""
        with self._mutex:
            self.recovery.disturbed(cause, time.monotonic(), seconds)

    def meanwhile(self, cause: str) -> None:
        """Something is done, which may cost a reconnection."""
        with self._mutex:
            self.recovery.meanwhile(cause)

    def stopped(self, pid: int) -> None:
        """A process stands still from now on."""
        with self._mutex:
            self._frozen[pid] = time.monotonic()

    def continued(self, pid: int) -> None:
        """It goes on."""
        with self._mutex:
            self._frozen.pop(pid, None)
            past = [connection.number for connection in self._open() if self._is_past(connection, pid)]
            self._woken |= dict.fromkeys(past, time.monotonic())
            if past:
                marks = unread(sockets_of(pid))
                # The websocket gets all patches meanwhile; the other one no more than the answer to a post.
                self._unread |= {inode: count for inode, count in marks.items() if count > 2 * MESSAGE}

    def server_fault(self, name: str, seconds: float | None) -> None:
        """The server misbehaves, and it takes this long to get over it once it is well; None when it is."""
        with self._mutex:
            if seconds is None:
                self.recovery.excused(time.monotonic() + self._faulty.pop(name, 0.0))
            else:
                self._faulty[name] = seconds

    @property
    def well(self) -> bool:
        """Whether somebody in sync leads."""
        with self._mutex:
            return self.recovery.since is None

    def frozen(self) -> set[int]:
        """The processes that stand still."""
        with self._mutex:
            return set(self._frozen)

    def broken(self, what: str) -> None:
        """Note what is broken, if it is the first."""
        if self.breach is None:
            self.breach = what
            self._over.set()

    # What it looks at

    def _look(self, now: float) -> None:
        control = self._control
        self.epochs.add(control.epoch)
        word = control.publication
        self.regressions += word < self._word
        self._word = word
        if control.identity != self._identity or self._crew.control().identity != self._identity:
            self.broken("the region is another one")
        for kind in ("wrong", "troubles"):
            self._read(kind)
        self._look_at_recovery(now)
        self._look_at_connections(now)
        if self._unread:
            self._look_at_unread()
        if now >= self._taken_at + _TAKE:
            self._taken_at = now
            self.ledger.take()

    def _read(self, kind: str) -> None:
        path = Path(f"{self._crew.socket}.{kind}")
        if path.exists():
            self.broken(f"{kind}: {path.read_text()[:2000]}")

    def _look_at_recovery(self, now: float) -> None:
        control = self._control
        for name, seconds in self._faulty.items():
            self.recovery.excused(now + seconds)
            if seconds:
                self.recovery.meanwhile(name)
        leader = control.leader_pid
        if leader in self._frozen:
            self.recovery.excused(self._frozen[leader] + self._stale_limit + STALE_MARGIN)
        retry_in = (control.sync_retry_at - now_ms()) / 1000
        if control.sync_state == SyncState.INTERRUPTED and retry_in > 0:
            self.recovery.excused(now + retry_in + RETRY_MARGIN)
        present = {process.pid for process in list(self._crew.processes)}
        well = (
            leader in present
            and leader not in self._frozen
            and control.sync_state == SyncState.OK
            and control.publication >> GENERATION_BITS == control.epoch
        )
        wrong = self.recovery.looked(now, well=well)
        if wrong is not None:
            self.broken(wrong)

    def _look_at_connections(self, now: float) -> None:
        """Two count as two unless one is that of a leader that stood still and was superseded (P1)."""
        control = self._control
        epoch, leader = control.epoch, control.leader_pid
        counted = []
        for connection in self._open():
            its_epoch, owner = self._owners.setdefault(connection.number, (epoch, leader))
            if connection.number in self._woken:
                if now > self._woken[connection.number] + WAKING:
                    self.broken(f"the socket of a superseded leader is open {WAKING} s after it went on")
            elif owner not in self._frozen or its_epoch >= epoch:
                counted.append(connection)
        if len(counted) < 2:
            if self._two_since is not None:
                self.overlaps.append(now - self._two_since)
            self._two_since = None
        elif self._two_since is None:
            self._two_since = now
        elif now - self._two_since >= LONGEST_OVERLAP:
            owners = [self._owners[connection.number] for connection in counted]
            self.broken(f"{len(counted)} connections for {now - self._two_since:.2f} s, (epoch, process): {owners}")

    def _look_at_unread(self) -> None:
        """A superseded leader that goes on reads no more, but for a message that it was reading when it was stopped."""
        left = unread(self._unread)
        self._unread = {inode: self._unread[inode] for inode in left}
        if any(left[inode] < mark - MESSAGE for inode, mark in self._unread.items()):
            self.broken("a superseded leader that went on reads from its connection")

    def _is_past(self, connection: Connection, pid: int) -> bool:
        """Whether it is of this process's superseded leadership."""
        epoch, owner = self._owners.get(connection.number, (self._control.epoch, 0))
        return owner == pid and epoch < self._control.epoch

    def _open(self) -> list[Connection]:
        return [connection for connection in self._crew.server.connections if connection.closed_at is None]
