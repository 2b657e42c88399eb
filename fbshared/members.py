"""All memberships of this process: joining a region, and an ordinary exit."""

from __future__ import annotations

import atexit
import os
import time

from fbshared.member import Member, MemberSettings, members
from fbshared.shm.region import OwnRing

__all__ = ["join", "own_rings"]

EXIT_LIMIT = 3.0  # seconds that an ordinary exit may take for the last events


def join(settings: MemberSettings, parent: Member | None = None) -> Member:
    """This process's member of a region; all callers get the same one.

    Takes no lock: one that was inherited may be held for ever.
    """
    key = os.getpid(), settings.root, settings.digest
    member = members.get(key)
    if member is None:
        made = Member(settings, parent)
        # Here and not at import: multiprocessing's children begin without what was registered before.
        atexit.unregister(_leave_all)
        atexit.register(_leave_all)
        member = members.setdefault(key, made)
        if member is not made:
            made.close(time.monotonic())
    return member


def _leave_all() -> None:
    """At an ordinary exit: hand over the lead, or deliver the last events when nobody else is there.

    Nothing depends on it. Many servers end without it; the events are in the rings all the same.
    """
    deadline = time.monotonic() + EXIT_LIMIT
    leaving = [member for (pid, *_), member in list(members.items()) if pid == os.getpid()]
    try:
        for member in leaving:
            member.leave(deadline)  # all at the same time: one that hangs costs the others nothing
        for member in leaving:
            member.close(deadline)
    except KeyboardInterrupt:
        return  # asked to end a second time


def _in_child() -> None:
    """Right after a fork: a daemon closes all descriptors, and what it opens then gets the same numbers."""
    for member in list(members.values()):
        if not member.cell[0]:
            member.drop()


os.register_at_fork(after_in_child=_in_child)


def own_rings() -> dict[str, OwnRing]:
    """All rings of this process by path; nobody may open those files a second time (see ``shm.files``)."""
    living = [member for member in list(members.values()) if member.cell[0]]
    return {ring.file.path: ring for member in living for ring in list(member.outbox.rings.values())}
