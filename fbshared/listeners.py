"""Who wants to be called, and calling them so that none can harm another one, or the thread that calls."""

from __future__ import annotations

import itertools
import logging
import operator
import time
import traceback
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from fbshared.watcher import watcher

__all__ = ["Listeners", "Registration"]

log = logging.getLogger("fbshared")

SLOW = 1.0  # seconds that a listener may keep the others waiting before that is logged
_END_LIMIT = 1.0  # seconds that closing waits for a listener that is being called


class Registration:
    """One listener, registered once.

    Attributes:
        gone: whether it was removed; it is not called any more then.
    """

    __slots__ = ("_told", "gone", "listener")

    def __init__(self, listener: Any) -> None:
        self.listener = listener
        self.gone = False
        self._told: set[str] = set()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function of the listener. What it raises, or that it is slow, is logged once."""
        if self.gone:
            return
        begun = time.monotonic()
        try:
            function(*arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the application's, and harms itself only
            self._tell("raised", "a listener raised %s; it is called again at the next change", _described(error))
        if time.monotonic() - begun > SLOW:
            self._tell("slow", "a listener takes its time, and all others wait for it: %s", _named(self.listener))

    def _tell(self, condition: str, message: str, *arguments: object) -> None:
        if condition not in self._told:
            self._told.add(condition)
            log.warning(message, *arguments)


R = TypeVar("R", bound=Registration)


class Listeners(Generic[R]):
    """The registrations of one client for one kind of news, in order.

    Takes no lock: in a forked child, one that was inherited may be held for ever.

    Args:
        look: finds out what happened and calls who wants to know (see ``watcher.Watched``).
    """

    def __init__(self, look: Callable[[Callable[[], bool]], None]) -> None:
        self._look = look
        self._registered: dict[int, R] = {}
        self._numbers = itertools.count()
        self._closed = False

    @property
    def wanted(self) -> bool:
        """Whether anybody is registered."""
        return bool(self._registered) and not self._closed

    def look(self, halted: Callable[[], bool]) -> None:
        """In the watcher's thread: find out what happened."""
        if self.wanted:
            self._look(halted)

    def all(self) -> list[R]:
        """All registrations."""
        return list(self._registered.values())

    def add(self, registration: R) -> None:
        """Register; a client that was stopped has no more news."""
        if not self._closed:
            self._registered[next(self._numbers)] = registration
            watcher().settle(self)

    def remove(self, listener: object, same: Callable[[object, object], bool] = operator.is_) -> None:
        """Undo the oldest registration of this listener, if there is one."""
        for number, registration in list(self._registered.items()):
            if same(registration.listener, listener):
                registration.gone = True
                self._registered.pop(number, None)
                watcher().settle(self)
                return

    def go_on(self) -> None:
        """In a forked child: look here too."""
        if self.wanted:
            watcher().settle(self)

    def close(self, deadline: float) -> list[R]:
        """Call nobody any more; who was registered.

        Waits a moment for a listener that is being called, until ``deadline`` on the monotonic clock at most.
        """
        if self._closed:
            return []
        self._closed = True
        left = self.all()
        self._registered.clear()
        for registration in left:
            registration.gone = True
        if left:
            mine = watcher()
            mine.settle(self)
            mine.wait_until_idle(min(deadline, time.monotonic() + _END_LIMIT))
        return left


def _described(error: BaseException) -> str:
    """The error's type and place: its text may tell of the application's users."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" at {places[-1].filename}:{places[-1].lineno}" if places else ""
    return type(error).__name__ + where


def _named(listener: object) -> str:
    return getattr(listener, "__qualname__", type(listener).__qualname__)
