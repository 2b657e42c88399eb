"""The last one out: who leaves and finds nobody else takes the lead once more, to deliver what is left.

Every process first lets go of its own rings and its lead, and then looks whether another one lives. So when all
leave at once, the last of them finds nobody; an earlier one may still have the lead, and then it is waited for.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping

from fbshared.leader import libraries
from fbshared.leader.election import Election, Term
from fbshared.leader.rings import Rings
from fbshared.leader.settings import DeliverySettings
from fbshared.shm.bell import Bell
from fbshared.shm.region import OwnRing, Region

__all__ = ["deliver_what_is_left"]

log = logging.getLogger("fbshared.leader")

_POLL = 0.02

OwnRings = Callable[[], Mapping[str, OwnRing | None]]


def deliver_what_is_left(region: Region, settings: DeliverySettings, own: OwnRings, deadline: float) -> None:
    """Deliver until ``deadline`` on the monotonic clock, if no other process is there to do so; what cannot be
    delivered stays for the next start."""
    election = Election(region, math.inf, time.monotonic)
    try:
        while time.monotonic() < deadline and region.is_left(own()):
            term = election.poll()
            if term is not None:
                try:
                    _deliver(region, term, settings, own, deadline)
                finally:
                    term.give_back()
                return
            time.sleep(_POLL)
    except OSError:
        return  # the directory is gone, or there are no descriptors any more
    except ImportError as error:
        log.warning("events are left to the next start: %s", error)
    finally:
        election.close()


def _deliver(region: Region, term: Term, settings: DeliverySettings, own: OwnRings, deadline: float) -> None:
    delivery = libraries.delivery()
    rings = Rings(region, term.epoch, own)
    bell = Bell(region)
    try:
        delivery(settings, rings, bell, region.control, term.holds).last_round(deadline)
    finally:
        bell.close()
        rings.close()
