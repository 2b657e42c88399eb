"""What a provider tells of: whether the data is current, and which flags changed.

``look`` and ``Changes`` are all that knows where that is seen.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from openfeature.provider import ProviderStatus

from fbshared.client import FBClient
from fbshared.core.model import FLAG, SEGMENT
from fbshared.errors import CorruptError
from fbshared.shm.control import PUBLICATION, RETIRED, SyncError, SyncState
from fbshared.uwsgi import why_no_threads

__all__ = ["Changes", "Seen", "Watch", "look"]

log = logging.getLogger("fbshared.openfeature")

POLL = 0.2  # seconds between two looks
JOIN_LIMIT = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A provider's status, and one sentence on why it is not READY."""

    status: ProviderStatus
    message: str = ""


READY = Seen(ProviderStatus.READY)
REFUSED = "FeatBit refuses this environment: wrong secret, wrong secret type, or clock off by over 30 s"


def look(client: FBClient) -> Seen:
    """How current a client's data is. FATAL only where there is none: with data, evaluation must go on."""
    ready = client.initialize
    control = client._current().region.control
    state = control.sync_state
    if state == SyncState.REFUSED:
        return Seen(ProviderStatus.ERROR if ready else ProviderStatus.FATAL, REFUSED)
    if not ready:
        return Seen(ProviderStatus.NOT_READY, "there is no data yet")
    if state in (SyncState.INTERRUPTED, SyncState.OFF):
        return Seen(ProviderStatus.STALE, f"the connection to FeatBit is interrupted: {_error(control.sync_error)}")
    return READY


def _error(number: int) -> str:
    try:
        return SyncError(number).name.lower()
    except ValueError:
        return "unknown"


class Changes:
    """Tells which flags changed since it was asked last."""

    def __init__(self, client: FBClient) -> None:
        self._client = client
        self._word = 0
        self._known: dict[tuple[int, str], object] | None = None

    def since_last(self) -> list[str] | None:
        """The keys, empty where nothing changed; None where a segment changed, which may concern any flag."""
        member = self._client._current()
        word = member.words[PUBLICATION]
        if word in (self._word, 0, RETIRED):
            return []
        snapshot = member.region.snapshot(word)
        items: dict[tuple[int, str], object] = {
            (kind, key): entry.stamp for kind in (FLAG, SEGMENT) for key, entry in snapshot.keys(kind)
        }
        before, self._known, self._word = self._known, items, word
        if before is None:
            return []
        changed = {item for item in before.keys() | items.keys() if before.get(item) != items.get(item)}
        return None if any(kind == SEGMENT for kind, _ in changed) else sorted(key for _, key in changed)


class Watch:
    """Looks from a thread of its own until it is told to end.

    Args:
        client: whose data it is.
        shown: the status that the application knows of.
        on_status: told each other one.
        on_change: told the keys of changed flags, None for "any".

    Attributes:
        shown: the status that was told last.
    """

    def __init__(
        self,
        client: FBClient,
        shown: ProviderStatus,
        on_status: Callable[[Seen], None],
        on_change: Callable[[list[str] | None], None],
    ) -> None:
        self._client = client
        self.shown = shown
        self._on_status = on_status
        self._on_change = on_change
        self._changes = Changes(client)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fbshared-openfeature", daemon=True)
        self._told: set[str] = set()

    def start(self) -> None:
        """Begin to look; where no thread can run there are no events, which is logged."""
        trouble = why_no_threads()
        try:
            if not trouble:
                self._try(self._changes.since_last)
                self._thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            trouble = str(error)
        if trouble:
            log.warning("the provider sends no events from this process: %s", trouble)

    def stop(self) -> None:
        """Look no more; waits a second at most for a look to end."""
        self._over.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_LIMIT)

    def _run(self) -> None:
        # Never at once: the SDK shows the end of initialization itself, just after it.
        while not self._over.wait(POLL):
            self._try(self._look)

    def _look(self) -> None:
        seen = look(self._client)
        if seen.status not in (self.shown, ProviderStatus.NOT_READY):
            self.shown = seen.status
            self._on_status(seen)
        changed = self._changes.since_last()
        if changed is None or changed:
            self._on_change(changed)

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except (FileNotFoundError, CorruptError):
            pass  # replaced meanwhile, or the member's business: the next look sees the next one
        except Exception as error:  # noqa: BLE001 - the SDK's too, which takes no events when the program ends
            what = type(error).__name__
            if what not in self._told and not self._over.is_set():
                self._told.add(what)
                log.warning("looking for changes failed, trying on: %s", what)
