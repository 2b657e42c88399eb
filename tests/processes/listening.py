"""Listeners of a worker, and what they were told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fbshared import FlagChangedListener, FlagChangedNotice, State

if TYPE_CHECKING:
    from fbshared import FBClient


class Ears(FlagChangedListener):
    """Everything that can be listened to: one flag's value for one user, that flag, all flags, and the state."""

    def __init__(self, client: FBClient, key: str, user: dict[str, Any]) -> None:
        self.client = client
        self.heard: dict[str, list[Any]] = {"values": [], "maybe": [], "notices": [], "seen": [], "states": []}
        tracker = client.flag_tracker
        self.added = [
            tracker.add_flag_value_changed_listener(key, user, self.value),
            tracker.add_flag_value_maybe_changed_listener(key, user, self.maybe),
            self,
        ]
        tracker.add_flag_changed_listener(self)
        client.update_status_provider.add_listener(self.state)
        self.user = user

    def value(self, key: str, before: Any, now: Any) -> None:
        self.heard["values"].append([before, now])

    def maybe(self, key: str, now: Any) -> None:
        self.heard["maybe"].append(now)

    def on_flag_change(self, notice: FlagChangedNotice) -> None:
        self.heard["notices"].append(notice.flag_key)
        self.heard["seen"].append(self.client.variation(notice.flag_key, self.user))

    def state(self, state: State) -> None:
        error = state.error_track
        detail = None if error is None else [error.error_type, error.detail]
        self.heard["states"].append([state.state_type.name, state.state_since, detail])

    def close(self) -> None:
        for listener in self.added:
            self.client.flag_tracker.remove_flag_change_notifier(listener)
        self.client.update_status_provider.remove_listener(self.state)


class Bad(FlagChangedListener):
    """Raises whenever it is told something."""

    def on_flag_change(self, notice: FlagChangedNotice) -> None:
        raise ValueError("on purpose")


class Stopping(FlagChangedListener):
    """Stops the client at the first change."""

    def __init__(self, client: FBClient) -> None:
        self.client = client

    def on_flag_change(self, notice: FlagChangedNotice) -> None:
        self.client.stop(3.0)
