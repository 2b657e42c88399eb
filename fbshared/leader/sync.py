"""Sync: keep one connection, apply what arrives, publish it."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterable

from fbshared.core.addresses import streaming_url, token
from fbshared.core.model import Dataset, Item
from fbshared.core.session import Session, SessionOver
from fbshared.leader.connection import Connection, Ended
from fbshared.leader.delays import LENGTHENED, delays
from fbshared.leader.polling import Poll, Ways
from fbshared.leader.settings import SyncSettings
from fbshared.leader.wake import Wake
from fbshared.shm.control import Control, SyncError, SyncState, Transport
from fbshared.shm.packing import Difference
from fbshared.shm.region import now_ms, seconds_until

__all__ = ["Sync"]

log = logging.getLogger("fbshared.sync")

LONGEST_SILENCE = 60.0
GOOD_RUN = 60.0  # seconds after which a connection counts as proof that the server is well
LONGEST_DELAY = 60.0
REFUSED_DELAYS = (60.0, 600.0)  # a minute at least, whatever chance makes of it
_RESOLVING = 30.0  # a name may take this long to resolve, whatever the socket's timeout is
_TOGETHER = 64  # messages that are published together at most
_PUBLISH_AGAIN = 1.0

REFUSAL = (
    "FeatBit refuses this environment (code %d): the secret is wrong, it is not a server secret, "
    "or this host's clock is off by more than 30 s; the leader tries again in %d s"
)


class Sync:
    """The sync of one leadership; ``run`` is the body of its thread and can be run again after it returned.

    Args:
        dataset: what is known already, and ``synced``, whether it once was a full.
        publish: makes a dataset what all processes evaluate; ``OSError`` where there is no room. It is told how the
            dataset differs from the one before, where that is known.
        control: where its state is shown.
        holds: whether this process still leads. It is asked before a socket is read, so that a leader that was
            stopped and superseded does not read on.
        behind: others may evaluate something newer than the dataset, which cannot be read any more. Nothing is
            published then until FeatBit has sent everything, or a data source stands by what there is: nobody goes
            back in time.
    """

    origin = "FeatBit"

    def __init__(
        self,
        settings: SyncSettings,
        dataset: Dataset,
        publish: Callable[[Dataset, bool, Difference | None], object],
        control: Control,
        holds: Callable[[], bool],
        *,
        synced: bool,
        behind: bool = False,
    ) -> None:
        self._settings = settings
        self._publish = publish
        self._control = control
        self._holds = holds
        self.dataset = dataset
        self.synced = synced
        self.behind = behind
        polled = control.transport == Transport.POLLING
        self._ways = Ways(settings.mode, settings.polling, time.monotonic, polled=polled)
        self._connection: Connection | Poll | None = None
        self._session: Session | None = None
        self._unpublished = False
        self._published: Dataset | None = None  # None where more is different since than the news
        self._news: dict[tuple[int, str], Item] = {}
        self._publish_at = 0.0
        self._opened_at = math.inf
        self._retry_at = -math.inf
        self._delays = delays(settings.first_retry, LONGEST_DELAY)
        self._refusals = delays(*REFUSED_DELAYS, LENGTHENED)
        self._told: set[object] = set()
        now = time.monotonic()
        self._fulls = 0  # of the present session
        self._full_at = now if behind else now + self._until_full()
        self.failing_since = now  # inf while it is well
        self.healthy_until = now + 5.0
        if control.sync_state == SyncState.REFUSED:
            # A refusal is shared: a takeover is no reason to ask again sooner.
            self._retry_at = now + seconds_until(control.sync_retry_at, REFUSED_DELAYS[1] * LENGTHENED[1])

    def run(self, halt: Wake) -> None:
        """Sync until ``halt`` is set or the lead is lost; the connection stays open for the next run."""
        while not halt.is_set() and self._holds():
            now = time.monotonic()
            self.healthy_until = now + 10.0
            try:
                if self._connection is None:
                    self._publish_if_due()
                    if not halt.wait(min(self._retry_at - now, 1.0)) and time.monotonic() >= self._retry_at:
                        self._connect()
                else:
                    self._serve(self._connection, halt)
            except Ended as ended:
                self._lost(ended)

    def republish(self) -> None:
        """Publish the same data again: somebody could not read it."""
        self._unpublished, self._publish_at = True, 0.0

    def close(self) -> None:
        """Close the connection with a close frame."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def drop(self) -> None:
        """Close the descriptor and nothing else."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()

    def _connect(self) -> None:
        self._session = None
        connection = self._poll() if self._ways.choose() else self._open()
        if not self._holds():
            connection.close()
            return
        self._connection = connection
        self._opened_at = now = time.monotonic()
        synced, full = self.synced, now >= self._full_at or bool(self._control.restored)
        if isinstance(connection, Poll):
            every = connection.interval
            self._session = Session(
                self.dataset, now, synced=synced, full=full, ping_every=every, silence_limit=math.inf
            )
        else:
            self._session = Session(self.dataset, now, synced=synced, full=full)
            self._control.connections += 1
        self._session.full_at, self._fulls = self._full_at, 0
        self._send(connection, self._session.opening())

    def _open(self) -> Connection:
        settings = self._settings
        self.healthy_until = time.monotonic() + settings.connection.timeout * 3 + _RESOLVING
        secret = token(settings.secret, now_ms(), random.random())
        return Connection(streaming_url(settings.url, secret), settings.connection)

    def _poll(self) -> Poll:
        assert self._settings.polling is not None
        return Poll(self._settings.polling, lambda: self.dataset.cursor, self._reads_on)

    def _reads_on(self) -> bool:
        """In the middle of a long answer: it is alive, and may go on while it leads."""
        self.healthy_until = time.monotonic() + 30.0
        return self._holds()

    def _send(self, connection: Connection | Poll, text: str) -> None:
        if isinstance(connection, Poll):
            self.healthy_until = time.monotonic() + connection.limit + _RESOLVING
        connection.send(text)

    def _serve(self, connection: Connection | Poll, halt: Wake) -> None:
        """Wait for the next thing to do and do it."""
        session = self._session
        assert session is not None
        now = time.monotonic()
        if self._ways.websocket_is_due():
            self._connect()
            return
        try:
            for text in session.due(now):
                self._send(connection, text)
        except SessionOver as over:
            raise Ended(SyncError.SILENCE) from over
        wait = min(session.next_due(now), 1.0)
        if self._unpublished and not self.behind:
            wait = min(wait, max(self._publish_at - now, 0.0))
        for _ in range(_TOGETHER):
            if halt.is_set() or not connection.ready(halt, wait) or not self._holds():
                break
            self._receive(connection, session)
            wait = 0.0
        self._publish_if_due()

    def _receive(self, connection: Connection | Poll, session: Session) -> None:
        text = connection.receive()
        if text is None:
            return
        rejected = session.rejected
        changed = session.received(text, time.monotonic())
        if session.rejected > rejected:
            self._control.items_broken += session.rejected - rejected
            self._tell("message", "FeatBit sent something that is not understood and ignored: %s", session.rejection)
        if session.dataset is not self.dataset or changed:
            self._take(session.dataset, changed if session.fulls == self._fulls else None)
        if session.synced and not self.synced:
            self.synced = self._unpublished = True
        if session.fulls != self._fulls:
            self._fulls = session.fulls
            self._control.full_at = now_ms()
            self._full_at = session.full_at = time.monotonic() + self._until_full()
        if session.answered:
            self.behind = False
            self._ways.works()
            self._control.transport = Transport.POLLING if self._ways.polls else Transport.STREAMING
            self._control.longest_silence = int(self._longest_silence() * 1000)
            self._control.data_current_at = now_ms()
            if self._control.sync_state != SyncState.OK and not self._unpublished:
                self._well()

    def _take(self, dataset: Dataset, changed: Iterable[Item] | None) -> None:
        """The dataset is what is known now; it has these items instead of former ones, or much is different."""
        self.dataset, self._unpublished = dataset, True
        if changed is None:
            self._published = None
        else:
            self._news |= {(item.kind, item.key): item for item in changed}

    def _longest_silence(self) -> float:
        """Seconds after which others may say that nobody leads: a leader that hears nothing for 45 says so itself."""
        polling = self._settings.polling
        return LONGEST_SILENCE + (polling.interval if polling is not None and self._ways.polls else 0.0)

    def _publish_if_due(self) -> None:
        """Publish, unless nothing changed or the last try failed a moment ago; then say that all is well."""
        now = time.monotonic()
        if not self._unpublished or self.behind or now < self._publish_at or not self.synced or not self._holds():
            return
        try:
            self._publish(self.dataset, self.synced, self._difference())
        except OSError as error:
            self._publish_at = now + _PUBLISH_AGAIN
            self._tell("storage", "a snapshot cannot be written, the former one stays: %s", error.strerror)
            self._show(SyncState.INTERRUPTED, SyncError.STORAGE, error.errno or 0)
            return
        self._unpublished, self._publish_at = False, 0.0
        self._published, self._news = self.dataset, {}
        self._told.discard("storage")
        if self._session is not None and self._session.answered and self._connection is not None:
            self._well()

    def _difference(self) -> Difference | None:
        if self._published is None:
            return None
        return Difference(self._published, tuple(self._news.values()))

    def _well(self) -> None:
        self.failing_since = math.inf
        self._refusals = delays(*REFUSED_DELAYS, LENGTHENED)
        self._told.clear()
        self._control.unreachable = 0
        self._control.restored = 0
        if self._control.sync_state != SyncState.OK:
            log.info("in sync with %s", self.origin)
            self._show(SyncState.OK, SyncError.NONE)

    def _lost(self, ended: Ended) -> None:
        now = time.monotonic()
        self.drop()
        if self._ways.trial and ended.error is SyncError.REQUEST_REFUSED:
            ended = Ended(SyncError.HTTP, ended.detail)  # FeatBit itself would have refused the websocket
        refused = ended.error is SyncError.REQUEST_REFUSED
        probing = self._ways.probing
        if self._ways.polls or self._session is None or not self._session.answered:
            self._ways.failed(ended.error, ended.detail)
        if probing and not refused:
            self._retry_at, self._opened_at = now, math.inf
            return  # polling goes on, and all is as well as it was
        if now - self._opened_at >= GOOD_RUN:
            self._delays = delays(self._settings.first_retry, LONGEST_DELAY)
        self._opened_at = math.inf
        self.failing_since = min(self.failing_since, now)
        delay = max(next(self._refusals if refused else self._delays), ended.retry_after)
        self._retry_at = now + delay
        # Said before it is shown: whoever waits for data gives up at the sight of a refusal.
        if refused:
            self._tell(ended.error, REFUSAL, ended.detail, delay)
            self._show(SyncState.REFUSED, ended.error, ended.detail, delay)
        else:
            self._tell(ended.error, "no connection to FeatBit: %s; trying again", ended)
            self._show(SyncState.INTERRUPTED, ended.error, ended.detail, delay)

    def _until_full(self) -> float:
        """Seconds until everything is asked for again: counted from the last full, whoever led then, and not at the
        same time on all hosts."""
        every = self._settings.full_every * random.uniform(0.75, 1.25)
        since = (now_ms() - self._control.full_at) / 1000 if self._control.full_at else 0.0
        return min(max(every - since, 0.0), every)

    def _show(self, state: SyncState, error: SyncError, detail: int = 0, delay: float = 0.0) -> None:
        if not self._holds():
            return  # the page is the next leader's
        control = self._control
        if control.sync_state != state:
            control.sync_since = now_ms()
        control.sync_error, control.sync_detail = error, detail
        control.sync_retry_at = now_ms() + int(delay * 1000) if delay else 0
        control.sync_state = state

    def _tell(self, condition: object, message: str, *args: object) -> None:
        """Warn once for each condition, until it is over."""
        if condition not in self._told:
            self._told.add(condition)
            log.warning(message, *args)
