"""What a provider tells of: whether the data is current, and which flags changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from openfeature.provider import ProviderStatus

from fbshared.client import FBClient
from fbshared.flag_change_notification import FlagChangedListener, FlagChangedNotice
from fbshared.status_types import State, StateType

__all__ = ["News", "Seen", "seen_of"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A provider's status, and one sentence on why it is not READY."""

    status: ProviderStatus
    message: str = ""


_STATUS = {
    StateType.INITIALIZING: ProviderStatus.NOT_READY,
    StateType.OK: ProviderStatus.READY,
    StateType.INTERRUPTED: ProviderStatus.STALE,
}
_MESSAGES = {ProviderStatus.NOT_READY: "there is no data yet", ProviderStatus.STALE: "the connection is interrupted"}


def seen_of(client: FBClient, state: State | None = None) -> Seen:
    """How current a client's data is. FATAL only where there is none: with data, evaluation must go on."""
    state = state or client.update_status_provider.current_state
    message = state.error_track.message if state.error_track is not None else ""
    status = _STATUS.get(state.state_type)
    if status is None:
        status = ProviderStatus.ERROR if client.initialize else ProviderStatus.FATAL
        return Seen(status, message or "the client was stopped")
    if status is ProviderStatus.NOT_READY and client.initialize:
        return Seen(ProviderStatus.READY)  # of a former leader: the new one is about to say how current it is
    return Seen(status, "" if status is ProviderStatus.READY else message or _MESSAGES[status])


class News(FlagChangedListener):
    """Listens to a client.

    Args:
        client: whose data it is.
        shown: the status that the application knows of.
        on_status: told each other one.
        on_change: told the key of each flag that changed.

    Attributes:
        shown: the status that was told last.
    """

    def __init__(
        self,
        client: FBClient,
        shown: ProviderStatus,
        on_status: Callable[[Seen], None],
        on_change: Callable[[str], None],
    ) -> None:
        self._client = client
        self.shown = shown
        self._on_status = on_status
        self._on_change = on_change

    def begin(self) -> None:
        """Listen from now on."""
        self._client.update_status_provider.add_listener(self.on_state)
        self._client.flag_tracker.add_flag_changed_listener(self)

    def end(self) -> None:
        """Listen no more."""
        self._client.update_status_provider.remove_listener(self.on_state)
        self._client.flag_tracker.remove_flag_change_notifier(self)

    def catch_up(self) -> None:
        """Tell the status now."""
        self.on_state(self._client.update_status_provider.current_state)

    def on_state(self, state: State) -> None:
        """Tell a status that is another one."""
        seen = seen_of(self._client, state)
        if seen.status not in (self.shown, ProviderStatus.NOT_READY):
            self.shown = seen.status
            self._on_status(seen)

    def on_flag_change(self, notice: FlagChangedNotice) -> None:
        """Tell the key."""
        self._on_change(notice.flag_key)
