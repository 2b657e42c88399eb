"""What one process sees of a region: it adopts publications and looks flags up, and waits for nobody.

Whoever finds another thread adopting goes on with the former view, or looks beside it where that is not enough. What
cannot be read is never adopted; it is counted, said once, and the leader publishes again, unless it is this process
that cannot read.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import TypeGuard

from fbshared.core.evaluation import CompiledFlag
from fbshared.errors import CorruptError
from fbshared.shm.control import PUBLICATION, RETIRED
from fbshared.shm.region import GENERATION_BITS, Region
from fbshared.view import Damaged, Turn, View, sound

__all__ = ["Reader"]

log = logging.getLogger("fbshared")

_TRIES = 5
_MOST_TOLD = 100
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # no leader can help with these
_PAUSE = 1.0  # seconds until a process that has no descriptor or memory left looks again


class Reader:
    """Reads one region, until it is given another.

    Attributes:
        region: what it reads.
        words: the control page's words; ``words[PUBLICATION]`` tells whether ``view`` is current.
        view: what this process evaluates.
    """

    view: View

    def __init__(self, region: Region, view: View) -> None:
        self.region = region
        self.words = region.control.words
        self.view = view
        self._rejected = 0  # a publication that cannot be read
        self._again_at = 0.0  # on the monotonic clock
        self._seen_beside = 0
        self._damaged_views = 0  # in a row
        self._turns: list[Turn] = []
        self._turns.append(Turn(self._turns))
        self._told: set[str] = set()

    def refresh(self) -> View:
        """Adopt the newest publication if there is one. Never waits: where another thread is at it, the former
        view is as good."""
        try:
            turn = self._turns.pop()
        except IndexError:
            # A thread that has looked beside must not see less in its next call.
            return self.view if self.view.word >= self._seen_beside else self._beside()
        try:
            return self._refresh()
        finally:
            self._turns.append(turn)

    def load(self, key: str) -> CompiledFlag | Damaged | None:
        """A flag that this process uses for the first time."""
        gone = -1
        for _ in range(_TRIES):
            view = self._after(gone)
            try:
                flag = view.flags[key] if key in view.flags else view.load(key)
            except FileNotFoundError:
                gone = view.word
                continue
            except (CorruptError, OSError) as error:
                return self._failed(view.word, error)
            return self._damaged(view.word, f"flag {key!r}") if isinstance(flag, Damaged) else flag
        return self._damaged(self.view.word, "the file is gone")

    def all_flags(self) -> tuple[Mapping[str, CompiledFlag], bool]:
        """Every flag of one publication, by key, not to be changed; damaged ones are left out. And whether that is
        so: where no publication can be read, it is those that were used before."""
        gone = -1
        for _ in range(_TRIES):
            view = self._after(gone)
            try:
                flags = view.all()
            except FileNotFoundError:
                gone = view.word
                continue
            except (CorruptError, OSError) as error:
                self._failed(view.word, error)
                break
            damaged = [key for key, flag in flags.items() if flag.__class__ is Damaged]
            for key in damaged:
                self._damaged(view.word, f"flag {key!r}")
            if not damaged:
                return flags, True  # type: ignore[return-value]  # mypy does not know the comparison
            return sound(flags), True
        return sound(self.view.flags), False

    def report(self, word: int, error: CorruptError | OSError) -> None:
        """Say that a publication was not read: counted, logged once, and the leader publishes again."""
        self._failed(word, error)

    def _read_on_in(self, region: Region) -> None:
        """The caller has the turn: a refresh that began in the old region must not end in the new one."""
        self.region = region
        # The view first: a word of the new region must not be compared with one of the old.
        self.view = self.view.detached()
        self._rejected = self._seen_beside = 0
        self.words = region.control.words

    def _retired(self) -> None:
        """The region is given up, and the caller has the turn."""

    def _end_turns(self) -> None:
        """Refresh no more."""
        for turn in self._turns:
            turn.end()
        self._turns = []

    def _refresh(self) -> View:
        for _ in range(_TRIES):
            view = self.view
            word: int = self.words[PUBLICATION]
            if word == RETIRED:
                self._retired()
                return self.view
            if word in (0, self._rejected) or (word <= view.word and view.identity == self.region.identity):
                return view
            if self._again_at and time.monotonic() < self._again_at:
                return view
            region = self.region
            try:
                self.view = _next(view, region, word)
            except FileNotFoundError:
                continue
            except (CorruptError, OSError) as error:
                if _is_exhausted(error):
                    self._again_at = time.monotonic() + _PAUSE
                else:
                    self._rejected = word
                self._failed(word, error)
                return view
            self._report(self.view)
            return self.view
        if self.words[PUBLICATION] == word:
            self._rejected = word  # no file for it: not looked for again on every call
            self._damaged(word, "the file is gone")
        return self.view

    def _report(self, view: View) -> None:
        """Say which flags of a view just adopted are damaged. That ends where it does not help: what the leader
        itself has may be wrong."""
        damaged = view.damaged()
        self._damaged_views = self._damaged_views + 1 if damaged else 0
        if self._damaged_views <= _TRIES:
            for key in damaged:
                self._damaged(view.word, f"flag {key!r}")

    def _after(self, gone: int) -> View:
        """A view to look into, newer than one whose file is gone. It is adopted where that is possible: who has seen
        something new goes on with that."""
        view = self.refresh()
        return self._beside() if view.word <= gone else view

    def _beside(self) -> View:
        """The newest publication without adopting it: another thread may be at that, and the file of the former
        view, which it would see meanwhile, is gone."""
        view, region, word = self.view, self.region, self.words[PUBLICATION]
        if word in (0, RETIRED, self._rejected) or (word <= view.word and view.identity == region.identity):
            return view
        try:
            newest = _next(view, region, word)
            self._seen_beside = max(self._seen_beside, word)
            return newest
        except (CorruptError, OSError):
            return view

    def _failed(self, word: int, error: CorruptError | OSError) -> Damaged:
        """A publication was not read: it is damaged, or this process has no descriptor or memory left."""
        if _is_exhausted(error):
            self._tell(f"{error.strerror} in this process, which goes on with the data that it has")
            return Damaged()
        return self._damaged(word, str(error))

    def _damaged(self, word: int, what: str) -> Damaged:
        """Count it, log it once, and ask the leader to publish again."""
        control = self.region.control
        if word and control.publication == word and control.damaged != word:
            control.damaged = word
            control.items_broken += 1
        self._tell(what)
        return Damaged()

    def _tell(self, what: str) -> None:
        if what not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(what)
            log.warning("shared data cannot be read and is not used: %s", what)


def _is_exhausted(error: CorruptError | OSError) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in _EXHAUSTED


def _next(view: View, region: Region, word: int) -> View:
    """The view of a publication, after another one; raises as ``View.successor`` does."""
    opened = partial(region.snapshot, word)
    recent = None
    # A leader that was superseded in the middle may have written this into the journal. Its file is gone, and its
    # successor began without it: who adopts it would go back with the next one. The word was read first, so a
    # successor that begins later has seen it.
    if view.identity == region.identity and region.control.epoch <= word >> GENERATION_BITS:
        recent = region.journal.recent(word, view.word, view.base, region.snapshot)
    return view.successor(word, region.identity, recent or opened(), opened)
