"""Feed: sync from a data source of the application's instead of FeatBit's stream."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import traceback
from typing import Any

from fbshared.core.model import EMPTY
from fbshared.core.wire import SyncMessage, parse
from fbshared.errors import MessageError
from fbshared.leader.delays import delays
from fbshared.leader.sync import GOOD_RUN, LONGEST_DELAY, LONGEST_SILENCE, Sync
from fbshared.leader.wake import Wake
from fbshared.shm.control import SyncError, SyncState
from fbshared.shm.region import now_ms
from fbshared.sources import DataSource

__all__ = ["Feed"]

log = logging.getLogger("fbshared.sync")

STUCK_AFTER = 30.0  # seconds that a source may take between two calls of ours
_LOOK = 0.5  # seconds between two looks at whether this process still leads
_MOST_TOLD = 100


class Feed(Sync):
    """The sync of one leadership whose data a ``DataSource`` gives. It is the source's ``Sink``."""

    origin = "its data source"
    _current = False  # whether the source stands by what it gave
    _over = False  # whether the source has said that nothing more will come

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._mutex = threading.RLock()  # what comes in several threads of the source's is taken one after the other

    def run(self, halt: Wake) -> None:
        """Run the source until ``halt`` is set or the lead is lost."""
        source = self._settings.source
        assert source is not None
        stop = _Stop(self, halt)
        while not stop.is_set():
            if self._over or time.monotonic() < self._retry_at:
                stop.wait(1.0 if self._over else self._retry_at - time.monotonic())
            else:
                self._run(source, stop)

    @property
    def cursor(self) -> int:
        """The newest version that is known, in milliseconds; 0 where a full is needed."""
        return self.dataset.cursor if self._is_whole() else 0

    def receive(self, message: str | bytes) -> None:
        """Publish what a data-sync message says; ``MessageError`` where it is not understood."""
        parsed = parse(message)
        if parsed is None:
            raise MessageError("not a data-sync message")
        with self._mutex:
            if not parsed.full and not self._is_whole():
                raise MessageError("a patch where a full is needed")
            if self._holds():
                self._apply(parsed)

    def confirm(self) -> None:
        """Say that the data is current."""
        self._alive()
        if self.synced and self._holds():
            self._current = True
            self.behind = False
            self._control.longest_silence = int(LONGEST_SILENCE * 1000)
            self._control.data_current_at = now_ms()
            self._publish_if_due()

    def interrupted(self, reason: str) -> None:
        """Say that there is no newer data, and why."""
        self._alive()
        with self._mutex:
            self._current = False
            self.failing_since = min(self.failing_since, time.monotonic())
            if len(self._told) < _MOST_TOLD:
                self._tell(("source", reason), "there is no newer data: %s; the former data stays in use", reason)
            self._show(SyncState.INTERRUPTED, SyncError.SOURCE)

    def _is_whole(self) -> bool:
        """Whether a patch makes it current. What is older than what others evaluate may lack more than is in one."""
        return self.synced and not self.behind

    def _apply(self, message: SyncMessage) -> None:
        if message.rejected:
            count = len(message.rejected)
            self._control.items_broken += count
            log.warning("%d items of a message are not used, one because: %s", count, message.rejected[0])
        dataset, changed = (EMPTY if message.full else self.dataset).merge(message.items)
        if dataset != self.dataset or not self.synced:
            self._take(dataset, None if message.full else changed)
            self.synced = True
        self.confirm()

    def _stand_by(self) -> None:
        """While the source waits: its data is current, until it says something else."""
        if self._current:
            self.confirm()
        else:
            self._alive()
            self._publish_if_due()

    def _alive(self) -> None:
        self.healthy_until = time.monotonic() + STUCK_AFTER

    def _run(self, source: DataSource, stop: _Stop) -> None:
        self._alive()
        began = time.monotonic()
        try:
            source.run(self, stop)
        except Exception as error:  # noqa: BLE001 - the application's code
            if time.monotonic() - began >= GOOD_RUN:
                self._delays = delays(self._settings.first_retry, LONGEST_DELAY)
            self._retry_at = time.monotonic() + next(self._delays)
            self.interrupted(f"the data source raised {_described(error)}")
        else:
            self._over = not stop.is_set()

    def _publish_if_due(self) -> None:
        with self._mutex:
            super()._publish_if_due()
            shown = self._control.sync_state == SyncState.OK and self.failing_since == math.inf
            if self._current and not self._unpublished and not shown:
                self._well()


def _described(error: Exception) -> str:
    """What was raised and where, without its text, which may tell what no log should."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"


class _Stop:
    """What a source is stopped by: the end of the leadership, or of this run of it."""

    def __init__(self, feed: Feed, halt: Wake) -> None:
        self._feed = feed
        self._halt = halt

    def is_set(self) -> bool:
        """Whether to return now."""
        return self._halt.is_set() or not self._feed._holds()

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; meanwhile, what could not be published before is tried again."""
        until = time.monotonic() + timeout
        while not self.is_set() and (left := until - time.monotonic()) > 0:
            self._feed._stand_by()
            self._halt.wait(min(left, _LOOK))
        self._feed._alive()
        return self.is_set()
