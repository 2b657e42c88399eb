"""Delivery: drain all rings, post batches, advance the tails over what was accepted.

Nothing leaves a ring before FeatBit has taken it, so whatever dies, the events are still there. The next leader
sends at most the batch in flight a second time.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

import requests

from fbshared.core.insights import Insights
from fbshared.leader.delays import delays
from fbshared.leader.http import PROXY_LOGIN, open_session, proxy_status, retry_after
from fbshared.leader.rings import LOOK, Batch, Rings
from fbshared.leader.settings import DeliverySettings
from fbshared.leader.wake import Wake, wait_for
from fbshared.shm.bell import Bell
from fbshared.shm.control import Control, DeliveryState
from fbshared.shm.region import now_ms, seconds_until

__all__ = ["Delivery"]

log = logging.getLogger("fbshared.delivery")

TICK = 0.1  # seconds between two looks at the rings
BATCH = 500  # events in one request
_RETRY = frozenset({PROXY_LOGIN, 408, 425, 429})
_SPLIT = frozenset({400, 413, 422})


class _Refused(Exception):  # noqa: N818 - a state of things
    """FeatBit takes nothing from this environment at present."""


class _Later(Exception):  # noqa: N818 - a request to come again
    """The same request may succeed later, after at least ``wait`` seconds; ``proxied``: a proxy refused it."""

    def __init__(self, status: int, wait: float = 0.0, *, proxied: bool = False) -> None:
        super().__init__(status)
        self.status = status
        self.wait = wait
        self.proxied = proxied


class Delivery:
    """The delivery of one leadership; ``run`` is the body of its thread and can be run again after it returned.

    Args:
        rings: all rings of the region.
        bell: rings when somebody waits for a flush.
        control: where its state is shown.
        holds: whether this process still leads.
    """

    def __init__(
        self,
        settings: DeliverySettings,
        rings: Rings,
        bell: Bell,
        control: Control,
        holds: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._rings = rings
        self._bell = bell
        self._control = control
        self._holds = holds
        self._insights = Insights()
        self._session: requests.Session | None = None
        self._sent_at = -math.inf
        self._retry_at = -math.inf
        self._delays = delays(settings.first_retry, settings.longest_retry)
        self._told: set[str] = set()
        self.healthy_until = time.monotonic() + 5.0
        if control.delivery_state == DeliveryState.PAUSED:
            # A refusal is shared: a takeover is no reason to ask again sooner.
            self._retry_at = time.monotonic() + seconds_until(control.delivery_retry_at, settings.refused_pause)

    def run(self, halt: Wake) -> None:
        """Deliver until ``halt`` is set or the lead is lost."""
        while not halt.is_set() and self._holds():
            self.healthy_until = time.monotonic() + 5.0
            ready = wait_for((self._bell.fileno(), halt.fileno()), TICK)
            urgent = self._bell.fileno() in ready and self._bell.silence()
            if not halt.is_set():
                self._tick(halt, urgent=urgent)
        self._close_session()

    def last_round(self, deadline: float) -> None:
        """Deliver what is left, until ``deadline`` on the monotonic clock at most.

        Where others live, the lead is theirs at once: a slow server must not keep them without a leader.
        """
        self._rings.look(time.monotonic() + LOOK)
        while not self._rings.shared() and self._holds() and time.monotonic() < deadline:
            batch = self._rings.collect(BATCH)
            if not batch or not self._send(batch, deadline - time.monotonic()):
                break
        self._close_session()

    def _tick(self, halt: Wake, *, urgent: bool) -> None:
        now = time.monotonic()
        self._rings.look(now)
        if now < self._retry_at:
            return
        due = urgent or now >= self._sent_at + self._settings.flush_interval
        while not halt.is_set() and self._holds():
            batch = self._rings.collect(BATCH)
            if not batch or not (due or len(batch) >= BATCH):
                break
            self._sent_at = now
            if not self._send(batch, math.inf):
                break

    def _send(self, batch: Batch, limit: float) -> bool:
        """Whether the whole batch is done with."""
        try:
            self._offer(batch, limit)
        except _Later as later:
            wait = max(next(self._delays), later.wait)
            self._retry_at = time.monotonic() + wait
            status = later.status or "no answer"
            if limit == math.inf and later.proxied:
                self._tell("proxy", "the proxy lets no events through (status %d), retrying", later.status)
            elif limit == math.inf:
                self._tell("retrying", "event delivery is interrupted (status %s), retrying", status)
            else:  # a last round, whose time may just be over
                log.info("events are left to the next start (status %s)", status)
            self._show(DeliveryState.RETRYING, later.status, wait)
            return False
        except _Refused as refused:
            pause = self._settings.refused_pause
            self._retry_at = time.monotonic() + pause
            self._tell("refused", "FeatBit refuses events (status %s); trying again in %d s", refused, pause)
            self._show(DeliveryState.PAUSED, int(str(refused)), pause)
            return False
        self._delays = delays(self._settings.first_retry, self._settings.longest_retry)
        if self._control.delivery_state != DeliveryState.OK:
            self._show(DeliveryState.OK, 200, 0.0)
        self._told -= {"retrying", "proxy", "refused"}
        return True

    def _offer(self, batch: Batch, limit: float) -> None:
        """Post a batch, in halves where the whole is refused, and advance over what is done with."""
        body, count = self._insights.body(entry.record for entry in batch)
        status = self._post(body.encode(), limit) if count else 200
        if 200 <= status < 300:
            self._rings.accept(batch)
            self._control.events_delivered += count
            if count < len(batch):
                self._control.records_corrupt += len(batch) - count
                self._tell("record", "a ring holds records that are no events; they are dropped and counted")
        elif status in _SPLIT and len(batch) > 1:
            middle = len(batch) // 2
            self._offer(batch[:middle], limit)
            self._offer(batch[middle:], limit)
        elif status in _SPLIT:
            self._rings.accept(batch)
            self._control.events_refused += 1
            self._tell("event", "FeatBit refuses single events (status %d); they are dropped and counted", status)
        else:
            raise _Refused(status)

    def _post(self, body: bytes, limit: float) -> int:
        settings = self._settings
        if self._session is None:
            self._session = open_session(settings)
            self._session.headers["Content-Type"] = "application/json"
        limit = max(limit / 2, 0.05)  # connecting and reading have each a limit of their own
        timeout = (min(settings.connect_timeout, limit), min(settings.read_timeout, limit))
        self.healthy_until = time.monotonic() + sum(timeout) + 5.0
        try:
            answer = self._session.post(
                settings.url,
                data=body,
                timeout=timeout,
                proxies=dict(settings.proxies),
                verify=settings.verify,
                cert=settings.cert,
                allow_redirects=False,
            )
        except (requests.RequestException, OSError) as error:
            status = proxy_status(error)
            raise _Later(status, proxied=status != 0) from error
        status = answer.status_code
        if status in _RETRY or status >= 500:
            raise _Later(status, retry_after(answer.headers.get("Retry-After")), proxied=status == PROXY_LOGIN)
        return status

    def _show(self, state: DeliveryState, status: int, wait: float) -> None:
        if not self._holds():
            return  # the page is the next leader's
        control = self._control
        if control.delivery_state != state:
            control.delivery_since = now_ms()
        control.delivery_state = state
        control.delivery_status = status
        control.delivery_retry_at = now_ms() + int(wait * 1000) if wait else 0

    def _tell(self, condition: str, message: str, *args: object) -> None:
        """Warn once for each condition, until it is over."""
        if condition not in self._told:
            self._told.add(condition)
            log.warning(message, *args)

    def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
