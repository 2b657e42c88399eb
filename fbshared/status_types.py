"""What is known about the way from FeatBit to this process."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass

__all__ = [
    "DATA_INVALID_ERROR",
    "DATA_STORAGE_INIT_ERROR",
    "DATA_STORAGE_UPDATE_ERROR",
    "NETWORK_ERROR",
    "REQUEST_INVALID_ERROR",
    "RUNTIME_ERROR",
    "SYSTEM_ERROR",
    "SYSTEM_QUIT",
    "UNKNOWN_CLOSE_CODE",
    "UNKNOWN_ERROR",
    "WEBSOCKET_ERROR",
    "ErrorTrack",
    "State",
    "StateType",
]

DATA_STORAGE_INIT_ERROR = "Data Storage init error"
DATA_STORAGE_UPDATE_ERROR = "Data Storage update error"
REQUEST_INVALID_ERROR = "Request invalid"
DATA_INVALID_ERROR = "Received Data invalid"
NETWORK_ERROR = "Network error"
RUNTIME_ERROR = "Runtime error"
WEBSOCKET_ERROR = "WebSocket error"
UNKNOWN_ERROR = "Unknown error"
UNKNOWN_CLOSE_CODE = "Unknown close code"
SYSTEM_ERROR = "System error"
SYSTEM_QUIT = "System quit"


class StateType(enum.Enum):
    """How current the data is."""

    INITIALIZING = 1  # there is none yet; errors on the way to it do not change that
    OK = 2  # it is what FeatBit has
    INTERRUPTED = 3  # it is what FeatBit had; the leader tries to connect again
    OFF = 4  # nothing will come: the client was stopped, or FeatBit refuses the environment


@dataclass(frozen=True, slots=True)
class ErrorTrack:
    """Why a state is not OK.

    Attributes:
        error_type: one of the texts of this module.
        message: one sentence.
        detail: the close code of the websocket, the HTTP status of the handshake, or the error number of the
            system that belongs to it; 0 where there is none.
    """

    error_type: str
    message: str
    detail: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """A state since a moment, in seconds of the wall clock, and its error if it has one."""

    state_type: StateType
    state_since: float
    error_track: ErrorTrack | None = None

    @staticmethod
    def intializing_state() -> State:
        """Waiting for data from now on; spelt as in the reference."""
        return State(StateType.INITIALIZING, time.time())

    @staticmethod
    def ok_state() -> State:
        """In sync from now on."""
        return State(StateType.OK, time.time())

    @staticmethod
    def interrupted_state(error_type: str, message: str) -> State:
        """Out of sync from now on."""
        return State(StateType.INTERRUPTED, time.time(), ErrorTrack(error_type, message))

    @staticmethod
    def normal_off_state() -> State:
        """Stopped from now on."""
        return State(StateType.OFF, time.time())

    @staticmethod
    def error_off_state(error_type: str, message: str) -> State:
        """Refused from now on."""
        return State(StateType.OFF, time.time(), ErrorTrack(error_type, message))
