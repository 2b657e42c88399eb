"""News of flags, in every process: who is called when a flag, or a segment that it uses, is different now.

A process sees one publication after the other. Several patches that arrive together, or one right after the other,
may be one publication, or be seen as one change: what is promised is that the last state is always told, that
changes are told in their order, and that a listener which evaluates sees the change that it is told of, or a newer
one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fbshared.changes import Fingerprint, Fingerprints, Named
from fbshared.core.model import FLAG, SEGMENT
from fbshared.core.users import key_of
from fbshared.errors import CorruptError
from fbshared.interfaces import Notice
from fbshared.listeners import Listeners, Registration

if TYPE_CHECKING:
    from fbshared.member import Member
    from fbshared.offline import OfflineMember
    from fbshared.shm.snapshot import Snapshot
    from fbshared.view import View

__all__ = [
    "FLAG_CHANGE_NOTICE_TYPE",
    "FlagChangedListener",
    "FlagChangedNotice",
    "FlagTracker",
    "FlagValueChangedListener",
    "FlagValueMaybeChangedListener",
]

FLAG_CHANGE_NOTICE_TYPE = "flag_change_notice"
_TRIES = 5

News = dict[str, Fingerprint | None]  # of each flag that differs; None: it is gone

Evaluate = Callable[[str, Mapping[str, Any], Any], Any]


class FlagChangedNotice(Notice):
    """One flag is different now: it, or a segment that it uses, was changed, added or archived."""

    def __init__(self, flag_key: str) -> None:
        self._flag_key = flag_key

    @property
    def notice_type(self) -> str:
        """Always ``FLAG_CHANGE_NOTICE_TYPE``."""
        return FLAG_CHANGE_NOTICE_TYPE

    @property
    def flag_key(self) -> str:
        """The key of the flag."""
        return self._flag_key

    def __repr__(self) -> str:
        return f"FlagChangedNotice({self._flag_key!r})"


class FlagChangedListener(ABC):
    """Is told of every flag that changes; an application overrides ``on_flag_change``."""

    @abstractmethod
    def on_flag_change(self, notice: FlagChangedNotice) -> None:
        """A flag is different now. Called in the thread that looks for changes: who takes long keeps others waiting."""


class _OfOneFlag(FlagChangedListener):
    """Calls a function when one flag changes."""

    def __init__(self, flag_key: str, user: Mapping[str, Any], evaluate_fn: Evaluate, fn: Callable[..., None]) -> None:
        self.flag_key = flag_key
        self._user = user
        self._evaluate_fn = evaluate_fn
        self._fn = fn

    def _value(self) -> Any:
        return self._evaluate_fn(self.flag_key, self._user, None)


class FlagValueChangedListener(_OfOneFlag):
    """Calls a function with a flag's key, former and present value for one user, when they differ."""

    def __init__(
        self,
        flag_key: str,
        user: Mapping[str, Any],
        evaluate_fn: Evaluate,
        flag_value_changed_fn: Callable[[str, Any, Any], None],
    ) -> None:
        super().__init__(flag_key, user, evaluate_fn, flag_value_changed_fn)
        self._previous = self._value()

    def on_flag_change(self, notice: FlagChangedNotice) -> None:
        """Evaluate, and call if the value differs."""
        if notice.flag_key == self.flag_key:
            previous, current = self._previous, self._value()
            if previous != current:
                self._previous = current
                self._fn(self.flag_key, previous, current)


class FlagValueMaybeChangedListener(_OfOneFlag):
    """Calls a function with a flag's key and value for one user, when the flag is different now."""

    def __init__(
        self,
        flag_key: str,
        user: Mapping[str, Any],
        evaluate_fn: Evaluate,
        flag_value_maybe_changed_fn: Callable[[str, Any], None],
    ) -> None:
        super().__init__(flag_key, user, evaluate_fn, flag_value_maybe_changed_fn)

    def on_flag_change(self, notice: FlagChangedNotice) -> None:
        """Evaluate and call."""
        if notice.flag_key == self.flag_key:
            self._fn(self.flag_key, self._value())


class _Follower(Registration):
    """A listener, and how far it has been told."""

    __slots__ = ("at", "key", "seen", "told")

    def __init__(self, listener: FlagChangedListener) -> None:
        super().__init__(listener)
        self.key = listener.flag_key if isinstance(listener, _OfOneFlag) else None
        self.at: object = None  # the region and publication that it has looked at
        self.told: tuple[object, int] | None = None  # those up to which it knows everything
        self.seen: dict[str, Fingerprint] = {}

    def news(self, view: View, snapshot: Snapshot, prints: Fingerprints) -> News:
        """What differs from what it was told of. Only that is compared which may differ, where that is known."""
        keys: Iterable[str] | None = self._concerned(view, snapshot)
        if self.key is not None:
            keys = (self.key,) if keys is None or self.key in keys else ()
        now = prints.all() if keys is None else prints.some(keys)
        keys = {**self.seen, **now} if keys is None else keys
        return {key: now.get(key) for key in keys if now.get(key) != self.seen.get(key)}

    def _concerned(self, view: View, snapshot: Snapshot) -> set[str] | None:
        """The flags that were changed since, or that can reach a segment which was; None where nobody knows."""
        if self.told is None or self.told[0] != view.identity:
            return None
        changed = snapshot.changed_since(self.told[1])
        if changed is None:
            return None
        keys = {key for kind, key in changed if kind == FLAG}
        segments = {id_ for kind, id_ in changed if kind == SEGMENT}
        if segments:
            keys |= {key for key, (_, stamps) in self.seen.items() if any(id_ in segments for id_, _ in stamps)}
        return keys

    def tell(self, key: str, now: Fingerprint | None) -> None:
        # Before the call: a child that is forked in the middle of it must not be told again.
        if now is not None:
            self.seen[key] = now
        else:
            self.seen.pop(key, None)
        self.call(self.listener.on_flag_change, FlagChangedNotice(key))


class FlagTracker:
    """The listeners of one client for flags. One thread of the process calls them all, one after the other.

    A forked child calls its copies of the listeners too, from its first call of the client on.

    Args:
        current: this process's member.
        evaluate_fn: evaluates a flag for a user, with a default, and sends no event.
    """

    def __init__(self, current: Callable[[], Member | OfflineMember], evaluate_fn: Evaluate) -> None:
        self._current = current
        self._evaluate_fn = evaluate_fn
        self._named: Named = {}
        self._listeners: Listeners[_Follower] = Listeners(self._look)

    def add_flag_value_changed_listener(
        self, flag_key: str, user: Mapping[str, Any], flag_value_changed_fn: Callable[[str, Any, Any], None]
    ) -> FlagValueChangedListener:
        """Call ``flag_value_changed_fn(key, former value, value)`` whenever a flag's value for a user changes.

        No evaluation of a listener sends an event. The former value is at first what the flag has now; None stands
        for no value.

        Returns:
            What ``remove_flag_change_notifier`` takes.

        Raises:
            ValueError: the key is no text, the user has no key or name, or the function cannot be called.
        """
        _require(flag_key, user, flag_value_changed_fn, "flag_value_changed_fn")
        listener = FlagValueChangedListener(flag_key, user, self._evaluate_fn, flag_value_changed_fn)
        self.add_flag_changed_listener(listener)
        return listener

    def add_flag_value_maybe_changed_listener(
        self, flag_key: str, user: Mapping[str, Any], flag_value_maybe_changed_fn: Callable[[str, Any], None]
    ) -> FlagValueMaybeChangedListener:
        """Call ``flag_value_maybe_changed_fn(key, value)`` whenever a flag is different; the value may be the same.

        Otherwise as ``add_flag_value_changed_listener``.
        """
        _require(flag_key, user, flag_value_maybe_changed_fn, "flag_value_maybe_changed_fn")
        listener = FlagValueMaybeChangedListener(flag_key, user, self._evaluate_fn, flag_value_maybe_changed_fn)
        self.add_flag_changed_listener(listener)
        return listener

    def add_flag_changed_listener(self, listener: FlagChangedListener) -> None:
        """Tell a listener of every flag that is different from now on. One that is added twice is told twice.

        Raises:
            ValueError: it has no method ``on_flag_change``.
        """
        if not callable(getattr(listener, "on_flag_change", None)):
            raise ValueError("a listener needs a method on_flag_change")
        follower = _Follower(listener)
        # One that compares values goes on from the value that it has, and not from a flag that changed meanwhile.
        if not isinstance(listener, FlagValueChangedListener):
            self._begin(follower)
        self._listeners.add(follower)

    def remove_flag_change_notifier(self, listener: FlagChangedListener) -> None:
        """Tell a listener no more; one that was added twice is told once from now on."""
        self._listeners.remove(listener)

    def go_on(self) -> None:
        """In a forked child: call the listeners here, too."""
        self._listeners.go_on()

    def close(self, deadline: float) -> None:
        """Call nobody any more."""
        self._listeners.close(deadline)

    def _begin(self, follower: _Follower) -> None:
        """What is there now is no news. Where there is nothing yet, all that comes is."""
        for _ in range(_TRIES):
            view = self._current().refresh()
            if not view.word:
                return
            found = self._read(view, [follower])
            if found is not None:
                follower.at = follower.told = view.identity, view.word
                follower.seen = {key: now for key, now in found[0].items() if now is not None}
                return

    def _look(self, halted: Callable[[], bool]) -> None:
        """In the watcher's thread: tell everybody of what they have not been told of."""
        view = self._current().refresh()
        at = view.identity, view.word
        behind = [follower for follower in self._listeners.all() if follower.at != at]
        found = self._read(view, behind) if view.word and behind else None
        if found is None:
            return
        for key in sorted(set().union(*found)):
            for follower, news in zip(behind, found, strict=True):
                if halted():
                    return  # the rest is still different at the next look
                if key in news:
                    follower.tell(key, news[key])
        for follower in behind:
            follower.at = follower.told = at

    def _read(self, view: View, followers: list[_Follower]) -> list[News] | None:
        """What differs in this view for each of them; None where it is gone or damaged, and another one follows."""
        try:
            snapshot = view.snapshot()
            assert snapshot is not None
            prints = Fingerprints(snapshot, self._named)
            return [follower.news(view, snapshot, prints) for follower in followers]
        except FileNotFoundError:
            return None
        except (CorruptError, OSError) as error:
            self._current().report(view.word, error)
            if isinstance(error, CorruptError):  # else it may be read at the next look
                for follower in followers:
                    follower.at = view.identity, view.word
            return None


def _require(flag_key: object, user: object, function: object, name: str) -> None:
    if not (isinstance(flag_key, str) and flag_key):
        raise ValueError("flag_key must be a non-empty text")
    if key_of(user) is None:
        raise ValueError("user must be a dict with a key and a name")
    if not callable(function):
        raise ValueError(f"{name} must be a function")
