"""What a provider has between its initialization and its shutdown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from openfeature.provider import ProviderStatus

from fbshared.client import FBClient
from fbshared.config import Config
from fbshared.openfeature.watch import Seen, Watch, look
from fbshared.shm.forked import ForkCell

__all__ = ["Life"]


class Life:
    """One initialization in one process, until its shutdown.

    Attributes:
        client: None before there is one.
        heirs: the right to go on with it in a forked child, for one of the child's threads.
    """

    def __init__(self, source: FBClient | Config, client: FBClient | None = None) -> None:
        self._cell = ForkCell()
        self._source = source
        self._over = threading.Event()
        self._watch: Watch | None = None
        self.client = source if isinstance(source, FBClient) else client
        self.heirs = [True]

    @property
    def here(self) -> bool:
        """Whether this is the process that it began in."""
        return bool(self._cell.words[0])

    @property
    def shown(self) -> ProviderStatus:
        """The status that the application knows of."""
        return ProviderStatus.NOT_READY if self._watch is None else self._watch.shown

    def begin(self, seconds: float) -> Seen:
        """What is to be seen as soon as there is data or a refusal, after ``seconds`` at most."""
        deadline, pause = time.monotonic() + seconds, 0.001
        client = self.client = self.client or self._made()
        while (seen := look(client)).status is ProviderStatus.NOT_READY and time.monotonic() < deadline:
            if self._over.wait(pause):
                break
            pause = min(pause * 1.5, 0.02)
        if self._over.is_set() and isinstance(self._source, Config):
            client.stop()  # whoever shut this down may have found no client yet
        return seen

    def watch(
        self,
        shown: ProviderStatus,
        on_status: Callable[[Seen], None],
        on_change: Callable[[list[str] | None], None],
    ) -> None:
        """Tell of what differs from the status shown, from now on."""
        if self.client is not None:
            self._watch = Watch(self.client, shown, on_status, on_change)
            self._watch.start()
            if self._over.is_set():  # meanwhile
                self._watch.stop()

    def close(self, *, stop: bool) -> None:
        """End what was begun; ``stop`` the client too."""
        self._over.set()
        if self.here and self._watch is not None:
            self._watch.stop()
        if stop and self.client is not None:
            self.client.stop()

    def _made(self) -> FBClient:
        assert isinstance(self._source, Config)
        return FBClient(self._source, start_wait=0)
