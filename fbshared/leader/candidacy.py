"""How a process stands for the lead among others: when it gives way, and when it offers a lead that it has.

A lead that nobody holds goes to whoever may stay and can connect. So a young process leaves it to older ones for a
moment, and one that could not connect when it last led leaves it to everybody.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping

from fbshared.leader.election import Election, Term
from fbshared.leader.settings import DutySettings
from fbshared.shm.region import OwnRing, Region, process_age, process_start

__all__ = ["Candidacy"]

log = logging.getLogger("fbshared.leader")

_CHANCES = 3  # polls and not seconds: on a busy machine, or after standing still, others were as slow


class Candidacy:
    """One process's, in one region; times are on the monotonic clock.

    Args:
        own_rings: this process's rings, by name; every other living candidate has one too.
    """

    def __init__(
        self, region: Region, settings: DutySettings, own_rings: Callable[[], Mapping[str, OwnRing | None]]
    ) -> None:
        self._region = region
        self._settings = settings
        self._own_rings = own_rings
        self._election = Election(region, settings.stale_limit, time.monotonic, self.gives_way)
        self._settled_at = time.monotonic() + settings.settled_age - process_age()
        self._offered = False  # whether its latest term ended without a connection
        self._not_before = 0.0

    def poll(self) -> Term | None:
        """The new leadership of this process, or None while another one leads.

        Raises:
            OSError: the directory is gone or refuses.
        """
        return self._election.poll()

    def stands_back(self, now: float) -> bool:
        """Whether it lets others try."""
        return now < self._not_before

    def stand_back(self, now: float) -> None:
        """Let others try for a while."""
        self._not_before = now + self._settings.offer_pause

    def began(self) -> None:
        """It leads, and may be able to connect."""
        self._offered = False

    def offers(self, unreachable_for: float, now: float) -> bool:
        """Whether it gives up its lead after so many seconds without a connection, for others may be able to connect;
        it stands back then."""
        control = self._region.control
        patience = self._settings.offer_after * 2 ** min(control.unreachable, 6)
        if unreachable_for < patience or not any(self._others()):
            return False
        log.info("process %d cannot connect and offers the lead to others", os.getpid())
        control.unreachable += 1
        self._offered = True
        self.stand_back(now)
        return True

    def gives_way(self) -> int:
        """For how many polls a free lead is left to others: where there is one that may be able to connect, or,
        this process being young, an older one.

        The process counts and not the client: a server's worker may build its client late, a script builds it at
        once. Who could not connect waits longer than who is young, for that one may be able to.
        """
        if self._offered:
            return 2 * _CHANCES if any(self._others()) else 0
        if time.monotonic() >= self._settled_at:
            return 0
        mine = process_start(os.getpid())
        return _CHANCES if any(start < mine for start in self._others()) else 0

    def close(self) -> None:
        """Let go of what it stands with; a lead that it won stays."""
        self._election.close()

    def _others(self) -> Iterator[int]:
        """When the process of each living other candidate started."""
        own = self._own_rings()
        for name in self._region.names("ring."):
            if name not in own and (start := self._region.candidate_start(name)):
                yield start
