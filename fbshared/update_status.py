"""How current the data is, as every process sees it: the leader writes it into shared memory, all read it there."""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fbshared import status_types
from fbshared.listeners import Listeners, Registration
from fbshared.shm.control import Control, SyncError, SyncState
from fbshared.status_types import ErrorTrack, State, StateType

if TYPE_CHECKING:
    from fbshared.member import Member
    from fbshared.offline import OfflineMember

__all__ = ["DataUpdateStatusProvider"]

log = logging.getLogger("fbshared")

_LONGEST_PAUSE = 0.05

NOBODY_LEADS = ErrorTrack(status_types.SYSTEM_ERROR, "no process leads: start an application, or an agent")

_ERRORS: dict[int, tuple[str, str]] = {
    SyncError.NETWORK: (status_types.NETWORK_ERROR, "no connection to FeatBit"),
    SyncError.CLOSED: (status_types.UNKNOWN_CLOSE_CODE, "the connection was closed with code {}"),
    SyncError.HANDSHAKE: (status_types.WEBSOCKET_ERROR, "the handshake was answered with status {}"),
    SyncError.SILENCE: (status_types.WEBSOCKET_ERROR, "FeatBit sends nothing"),
    SyncError.REQUEST_REFUSED: (
        status_types.REQUEST_INVALID_ERROR,
        "FeatBit refuses this environment ({}): wrong secret, wrong secret type, or clock off by over 30 s",
    ),
    SyncError.HTTP: (status_types.NETWORK_ERROR, "a poll was answered with status {}"),
    SyncError.PROXY: (status_types.NETWORK_ERROR, "the proxy does not let us through (status {})"),
    SyncError.DATA: (status_types.DATA_INVALID_ERROR, "FeatBit sent something that is not understood"),
    SyncError.STORAGE: (status_types.DATA_STORAGE_UPDATE_ERROR, "the data cannot be written to the shared directory"),
    SyncError.SOURCE: (status_types.UNKNOWN_ERROR, "the data source gives no newer data; the leader's log says why"),
}
_UNKNOWN = (status_types.UNKNOWN_ERROR, "unknown")


class _Told(Registration):
    """A listener, and the last state that it knows."""

    __slots__ = ("state",)

    def __init__(self, listener: Callable[[State], object], state: State) -> None:
        super().__init__(listener)
        self.state = state

    def tell(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self.call(self.listener, state)


class DataUpdateStatusProvider:
    """The state of the data in this process.

    Args:
        current: this process's member.
    """

    def __init__(self, current: Callable[[], Member | OfflineMember]) -> None:
        self._current = current
        self._off: State | None = None
        self._listeners: Listeners[_Told] = Listeners(self._look)

    @property
    def current_state(self) -> State:
        """The state now.

        ``OFF`` with the error ``Request invalid`` is not for ever: the leader asks again every few minutes, and the
        state is ``OK`` when FeatBit accepts the environment.
        """
        if self._off is not None:
            return self._off
        member = self._current()
        return _state_of(member.region.control, ready=member.refresh().ready)

    @property
    def data_age(self) -> float | None:
        """Seconds since the data was last known to be what FeatBit has; None for never."""
        at = self._current().region.control.data_current_at
        return max(time.time() - at / 1000, 0.0) if at else None

    @property
    def initialized(self) -> bool:
        """Whether there is data to evaluate."""
        return self._current().refresh().ready

    @property
    def latest_version(self) -> int:
        """When the newest item that is known was changed, in milliseconds; 0 before there is one."""
        return self._current().region.control.data_version

    def wait_for_OKState(self, timeout: float = 0) -> bool:  # noqa: N802 - the reference's name
        """Wait until the state is ``OK``, or ``OFF``, or ``timeout`` seconds are over; 0 waits for ever.

        Returns:
            Whether the state is ``OK``.
        """
        deadline = time.monotonic() + timeout if timeout and timeout > 0 else None
        pause = 0.001
        while (state := self.current_state.state_type) is not StateType.OK:
            left = pause if deadline is None else deadline - time.monotonic()
            if state is StateType.OFF or left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        return True

    def add_listener(self, listener: Callable[[State], object]) -> None:
        """Call a function with the new state whenever the state is another one. A second time changes nothing.

        A state that lasts less than a tenth of a second may not be told. A forked child calls its copy of the
        listener too, from its first call of the client on.
        """
        if not callable(listener):
            log.warning("a status listener must be a function; it is left out")  # type: ignore[unreachable]  # untyped callers
        elif all(told.listener != listener for told in self._listeners.all()):
            self._listeners.add(_Told(listener, self.current_state))

    def remove_listener(self, listener: Callable[[State], object]) -> None:
        """Call it no more."""
        self._listeners.remove(listener, operator.eq)  # a method is another object each time

    def go_on(self) -> None:
        """In a forked child: call the listeners here, too."""
        self._listeners.go_on()

    def close(self, deadline: float) -> None:
        """The client was stopped: the state is ``OFF`` from now on, which is the last that is told."""
        self._off = State.normal_off_state()
        for told in self._listeners.close(deadline):
            Registration(told.listener).call(told.listener, self._off)

    def _look(self, halted: Callable[[], bool]) -> None:
        """In the watcher's thread: tell everybody who knows another state."""
        state = self.current_state
        for told in self._listeners.all():
            if halted():
                return
            told.tell(state)


def _state_of(control: Control, *, ready: bool) -> State:
    sync, since, error = _read(control)
    if sync in (SyncState.OFF, SyncState.REFUSED):
        return State(StateType.OFF, since, error)
    if not ready or sync == SyncState.STARTING:
        return State(StateType.INITIALIZING, control.born_at / 1000, error)
    if sync != SyncState.OK:
        return State(StateType.INTERRUPTED, since, error)
    heard, longest = control.data_current_at / 1000, control.longest_silence / 1000
    if heard and longest and time.time() - heard > longest:
        return State(StateType.INTERRUPTED, heard, NOBODY_LEADS)
    return State(StateType.OK, since, error)


def _read(control: Control) -> tuple[int, float, ErrorTrack | None]:
    """State, since when, and error: read until they belong together, for the leader may be writing them."""
    words: tuple[int, ...] = ()
    for _ in range(5):
        before, words = words, _words(control)
        if words == before:
            break
    state, since, error, detail = words
    return state, since / 1000, _error(error, detail)


def _words(control: Control) -> tuple[int, ...]:
    return control.sync_state, control.sync_since, control.sync_error, control.sync_detail


def _error(number: int, detail: int) -> ErrorTrack | None:
    if number == SyncError.NONE:
        return None
    kind, message = _ERRORS.get(number, _UNKNOWN)
    return ErrorTrack(kind, message.format(detail), detail)
