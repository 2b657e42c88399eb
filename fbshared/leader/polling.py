"""The other way to the data: ask for it by HTTP, again and again, where no websocket gets through.

A ``Poll`` is used like a ``Connection``: a data-sync request and each ping becomes a request for what is newer, and
what was answered is received. So a poll that was answered is all that the rest knows of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import requests

from fbshared.core.wire import PING, data_sync, parse
from fbshared.errors import MessageError
from fbshared.leader.connection import Ended
from fbshared.leader.delays import delays
from fbshared.leader.http import PROXY_LOGIN, open_session, proxy_status, retry_after
from fbshared.leader.settings import AGAIN, Mode, PollSettings
from fbshared.leader.wake import Wake
from fbshared.shm.control import SyncError

__all__ = ["Poll", "Ways"]

log = logging.getLogger("fbshared.sync")

POLLS = "websockets do not get through to FeatBit; the leader polls by HTTP, and tries one now and then"
POLLS_NO_MORE = "a websocket gets through to FeatBit again; the leader polls no more"
FAILURES = 3  # websockets in a row that gave no data until polling is tried
_OVERLAP = 60_000  # ms: an item can appear behind the cursor, so now and then a poll begins there
_OVERLAP_EVERY = 10

_PIECE = 65536
_LONGEST = 120.0  # seconds for one answer, however steadily it comes
_REFUSALS = frozenset({401, 403})
_NOTHING_NEWER = b'{"messageType":"data-sync","data":{"eventType":"patch","featureFlags":[],"segments":[]}}'


class Poll:
    """Asks when something is sent, and is never closed by the other side. ``Ended`` is raised by a failed request.

    Args:
        cursor: the version that the next poll begins after.
        alive: asked before the answer is read on; False gives it up.
    """

    def __init__(self, settings: PollSettings, cursor: Callable[[], int], alive: Callable[[], bool]) -> None:
        self._settings = settings
        self._cursor = cursor
        self._alive = alive
        self._answers: list[bytes] = []
        self._polls = 0
        self._tag: tuple[int, str] | None = None  # what was asked for last, and the answer's ETag

    @property
    def interval(self) -> float:
        """Seconds between two polls."""
        return self._settings.interval

    @property
    def limit(self) -> float:
        """Seconds without anything from the other side after which a request fails."""
        return self._settings.connect_timeout + self._settings.read_timeout

    def send(self, text: str) -> None:
        """Ask for what the message asks for, or for what is newer."""
        if text == PING:
            self._polls += 1
            behind = 0 if self._polls % _OVERLAP_EVERY else _OVERLAP
            self._answers.append(self._ask(max(self._cursor() - behind, 0)))
        else:
            self._answers.append(self._ask(_cursor_of(text)))

    def ready(self, wake: Wake, timeout: float) -> bool:
        """Whether there is an answer; else wait until ``wake`` is set or ``timeout`` seconds are over."""
        if not self._answers:
            wake.wait(timeout)
        return bool(self._answers)

    def receive(self) -> bytes | None:
        """The next answer."""
        return self._answers.pop(0) if self._answers else None

    def close(self) -> None:
        """There is nothing to close: every poll is a connection of its own."""

    drop = close

    def _ask(self, cursor: int) -> bytes:
        """The answer's message. No connection is kept: between two polls most proxies would have closed it, and a
        forked child would have it."""
        settings = self._settings
        headers = {"If-None-Match": self._tag[1]} if self._tag is not None and self._tag[0] == cursor else {}
        try:
            with (
                open_session(settings) as session,
                session.get(
                    settings.url,
                    params={"timestamp": cursor} if cursor else None,
                    headers=headers,
                    timeout=(settings.connect_timeout, settings.read_timeout),
                    proxies=dict(settings.proxies),
                    verify=settings.verify,
                    cert=settings.cert,
                    allow_redirects=False,
                    stream=True,
                ) as answer,
            ):
                body = self._body(answer, cursor)
        except requests.Timeout as error:
            raise Ended(SyncError.SILENCE) from error
        except (requests.RequestException, OSError, ValueError) as error:
            status = proxy_status(error)
            raise Ended(SyncError.PROXY if status else SyncError.NETWORK, status) from error
        return _believed(body)

    def _body(self, answer: requests.Response, cursor: int) -> bytes:
        status = answer.status_code
        if status in _REFUSALS:
            raise Ended(SyncError.REQUEST_REFUSED, status)
        if status == 304 or (status == 200 and cursor and answer.headers.get("Content-Length") == "0"):
            return _NOTHING_NEWER
        if status == PROXY_LOGIN:
            raise Ended(SyncError.PROXY, status)
        if status != 200:
            raise Ended(SyncError.HTTP, status, retry_after(answer.headers.get("Retry-After")))
        body = bytearray()
        deadline = time.monotonic() + _LONGEST
        for piece in answer.iter_content(_PIECE):
            body += piece
            if len(body) > self._settings.largest_message:
                raise Ended(SyncError.DATA, 1009)
            if not self._alive() or time.monotonic() >= deadline:
                raise Ended(SyncError.SILENCE)
        tag = answer.headers.get("ETag")
        self._tag = (cursor, tag) if tag else None
        return bytes(body) or (_NOTHING_NEWER if cursor else b"")


class Ways:
    """Which way the next connection goes: streaming, or polling where websockets do not get through.

    Args:
        mode: ``auto`` begins with streaming. After some failures in a row every other try is a poll. Once one is
            answered and the next websocket fails all the same, it polls on, and tries a websocket now and then.
        settings: how to poll; None where that is not possible.
        now: a monotonic clock in seconds.
        polled: whether the leader before this one polled: then that is tried first.
    """

    def __init__(
        self,
        mode: Mode,
        settings: PollSettings | None,
        now: Callable[[], float],
        *,
        polled: bool = False,
    ) -> None:
        self._mode: str = mode if settings is not None else "streaming"
        self._now = now
        self._again = settings.again if settings is not None else AGAIN
        self._delays = delays(*self._again)
        self._failures = FAILURES if polled else 0
        self._told = False  # whether it was said that it polls
        self._settled = False  # whether it polls because that is what works
        self._again_at = 0.0
        self.polls = self._mode == "polling"  # the way of the newest connection

    @property
    def probing(self) -> bool:
        """Whether the newest connection is a websocket that is tried while polling works."""
        return self._settled and not self.polls

    def choose(self) -> bool:
        """Whether the next connection polls."""
        if self._mode == "auto":
            if self._settled:
                self.polls = self._now() < self._again_at
            else:
                self.polls = self._failures >= FAILURES and not self.polls
        return self.polls

    @property
    def trial(self) -> bool:
        """Whether the newest connection is a poll that is tried because websockets fail."""
        return self.polls and self._mode == "auto" and not self._settled

    def websocket_is_due(self) -> bool:
        """Whether it polls, and a websocket should be tried now."""
        return self._settled and self.polls and self._now() >= self._again_at

    def works(self) -> None:
        """The newest connection gave data."""
        if self._mode != "auto" or self.polls == self._settled:
            if not self.polls:
                self._failures = 0
            return
        self._settled = self.polls
        if self.polls:
            self._again_at = self._now()  # FeatBit may just be back from an outage of both
            return
        self._failures = 0
        self._delays = delays(*self._again)
        if self._told:
            self._told = False
            log.info(POLLS_NO_MORE)

    def failed(self, error: SyncError, detail: int) -> None:
        """A poll failed, or a websocket ended before it gave data."""
        if self.polls:
            self._again_at = self._now()  # what worked does so no more
            return
        if error is SyncError.REQUEST_REFUSED:
            self._failures, self._settled = 0, False  # it got through
        elif (error, detail) != (SyncError.HANDSHAKE, 429):
            self._failures += 1
        if self._settled:
            self._put_off()
            if not self._told:
                self._told = True
                log.warning(POLLS)

    def _put_off(self) -> None:
        self._again_at = self._now() + next(self._delays)


def _cursor_of(request: str) -> int:
    """What a data-sync request asks for; it is the library's own."""
    head, _, tail = data_sync(0).partition("0")
    return int(request.removeprefix(head).removesuffix(tail))


def _believed(body: bytes) -> bytes:
    """The body, if it is FeatBit's: a proxy's page with status 200 is none."""
    try:
        message = parse(body)
    except MessageError:
        message = None
    if message is None:
        raise Ended(SyncError.DATA)
    return body
