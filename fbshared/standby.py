"""A process that has its data, and sees a leader at work, is in no hurry to stand for the lead itself.

Standing for the lead imports filelock and starts a thread, which a script of a tenth of a second never needs. So it
begins a second later, or as soon as the leader gives no sign of life.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from fbshared.gates import IMPORT_LIMIT, importing
from fbshared.shm.control import RETIRED, Control, SyncState
from fbshared.watcher import watcher

__all__ = ["Standby"]

PAUSE = 1.0  # seconds
_STILL = 3  # looks at an unchanged heartbeat; a leader shows several between two looks


class Standby:
    """Calls ``stand`` in the watcher's thread when it is time.

    Attributes:
        patience: seconds that a fork waits for it. A child that was forked in the middle of an import would wait for
            ever for the same module.
    """

    def __init__(self, control: Control, stand: Callable[[], None]) -> None:
        self._control = control
        self._stand = stand
        self._at = time.monotonic() + PAUSE
        self._beat = control.beat
        self._still = 0
        self._over = False
        self.patience = 0.0

    @staticmethod
    def suits(control: Control) -> bool:
        """Whether a leader is at work here, and standing for the lead would have to be imported first."""
        led = control.leader_pid != 0 and control.sync_state == SyncState.OK
        return led and control.publication not in (0, RETIRED) and "fbshared.leader.duty" not in sys.modules

    @property
    def wanted(self) -> bool:
        """Whether its time has not come yet."""
        return not self._over

    def begin(self) -> None:
        """Wait from now on."""
        watcher().settle(self)

    def end(self) -> None:
        """Wait no more."""
        self._over = True
        watcher().settle(self)

    def look(self, halted: Callable[[], bool]) -> None:
        """See whether it is time."""
        del halted
        beat = self._control.beat
        self._still = self._still + 1 if beat == self._beat else 0
        self._beat = beat
        if time.monotonic() < self._at and self._still < _STILL and self._control.publication != RETIRED:
            return
        self.patience = IMPORT_LIMIT
        try:
            with importing():
                self._stand()
        finally:
            self.patience = 0.0
            self.end()
