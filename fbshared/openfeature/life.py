"""What a provider has between its initialization and its shutdown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from openfeature.provider import ProviderStatus

from fbshared.client import FBClient
from fbshared.config import Config
from fbshared.openfeature.news import News, Seen, seen_of
from fbshared.shm.forked import ForkCell
from fbshared.uwsgi import why_no_threads

__all__ = ["Life"]


class Life:
    """One initialization until its shutdown.

    Args:
        source: a client, or the configuration that one is made of and stopped in the end.
        on_status: told each status that the application does not know yet.
        on_change: told the key of each flag that changed.

    Attributes:
        client: None before there is one.
    """

    def __init__(
        self, source: FBClient | Config, on_status: Callable[[Seen], None], on_change: Callable[[str], None]
    ) -> None:
        self._cell = ForkCell()
        self._source = source
        self._tell = on_status, on_change
        self._over = threading.Event()
        self._news: News | None = None
        self.client = source if isinstance(source, FBClient) else None

    @property
    def here(self) -> bool:
        """Whether this is the process that it began in."""
        return bool(self._cell.words[0])

    def begin(self, seconds: float) -> Seen:
        """What is to be seen as soon as there is data or a refusal, after ``seconds`` at most; news are told on."""
        deadline, pause = time.monotonic() + seconds, 0.001
        client = self.client = self.client or self._made()
        while (seen := seen_of(client)).status is ProviderStatus.NOT_READY and time.monotonic() < deadline:
            if self._over.wait(pause):
                break
            pause = min(pause * 1.5, 0.02)
        self._listen(client, seen.status)
        seen = self._seen_again(client)
        if self._over.is_set():  # whoever shut this down may have found no client yet
            self.close()
        return seen

    def go_on_here(self) -> None:
        """In a forked child: listen here too. A client does that when it is first called, but one that has no data
        yet is not called."""
        self._cell = ForkCell()
        client = self.client = self.client or self._made()
        client.initialize  # noqa: B018 - the call is what it needs
        if self._news is None:  # a thread of the parent was about to
            news = self._listen(client, ProviderStatus.NOT_READY)
            self._beside(news.catch_up)

    def close(self) -> None:
        """End what was begun."""
        self._over.set()
        client, news = self.client, self._news
        if client is not None and news is not None:
            news.end()
        if client is not None and client is not self._source:
            client.stop()

    def _listen(self, client: FBClient, shown: ProviderStatus) -> News:
        self._news = news = News(client, shown, *self._tell)
        news.begin()
        return news

    def _seen_again(self, client: FBClient) -> Seen:
        """What is to be seen now that news are told: what came just before is none."""
        assert self._news is not None
        seen = seen_of(client)
        # Where there is no data yet, the SDK shows an error as soon as it is told.
        self._news.shown = ProviderStatus.ERROR if seen.status is ProviderStatus.NOT_READY else seen.status
        return seen

    def _beside(self, step: Callable[[], None]) -> None:
        """Not in a thread that evaluates: the SDK takes locks to send an event, and a child may have inherited them
        from a thread that it has not."""
        if why_no_threads():
            step()
        else:
            threading.Thread(target=step, name="fbshared-openfeature", daemon=True).start()

    def _made(self) -> FBClient:
        assert isinstance(self._source, Config)
        return FBClient(self._source, start_wait=0)
