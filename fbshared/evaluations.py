"""Evaluation: what a client does in every request.

An evaluation that finds the current view takes no lock, makes no system call and does no I/O. The usual one goes
through few functions, in which each line was measured: ``variation`` here, ``evaluate`` and ``choice`` as
``core.evaluation`` and ``core.ranges`` make them, ``put`` of ``shm.outbox``. Whatever is not usual takes the way of
``_evaluate`` and ``_put``, which says the same with more words and is compared with it in the tests.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import time_ns
from typing import Any

from fbshared.common_types import AllFlagStates, Details, EvalDetail, no_value
from fbshared.config import Config
from fbshared.core.evaluation import (
    CLIENT_NOT_READY,
    ERROR,
    FLAG_NOT_FOUND,
    USER_NOT_SPECIFIED,
    CompiledFlag,
    Outcome,
)
from fbshared.core.events import Tail
from fbshared.core.prepared import FBUser, read_of
from fbshared.core.users import key_of
from fbshared.errors import FBSharedError
from fbshared.member import Member
from fbshared.offline import OfflineMember
from fbshared.shm.control import PUBLICATION
from fbshared.typed import TypedVariations
from fbshared.view import Damaged

__all__ = ["Evaluations", "is_text"]

log = logging.getLogger("fbshared")


class Evaluations(TypedVariations):
    """The evaluations of a client and their events; a part of ``FBClient``. None of them ever raises."""

    _config: Config
    _member: Member | OfflineMember
    _closed: bool

    def variation(self, key: str, user: Mapping[str, Any], default: Any = None) -> Any:
        """The value of a flag for a user, converted to the flag's type; the default where there is none.

        Sends an evaluation event. Never raises.

        Args:
            key: the flag's key.
            user: an ``FBUser``, or a dict with ``key`` and ``name``, and attributes that are texts, numbers or
                truth values.
            default: what to answer when there is no value; a default in the configuration wins over it.
        """
        try:
            # The steps of _evaluate and _send for what is usual, without calls in between: this is the path of every
            # request. Whatever is not usual falls through to them.
            member = self._member
            if not member.cell[0]:
                member = self._in_child()
            view = member.view
            if member.words[PUBLICATION] != view.word:
                view = member.refresh()
            flag = view.flags.get(key)
            if flag.__class__ is CompiledFlag:
                user_key: Any = None
                read: Mapping[str, Any] = user
                if user.__class__ is FBUser:
                    user_key, read = user.key, user.read
                elif user.__class__ is dict:
                    # ``key_of``, written out for a user with both; isspace is true of just what strip empties.
                    try:
                        user_key, name = user["key"], user["name"]
                    except KeyError:
                        name = None
                    if (
                        user_key.__class__ is not str
                        or name.__class__ is not str
                        or not user_key
                        or not name
                        or user_key.isspace()
                        or name.isspace()
                    ):
                        user_key = None
                if user_key is not None:
                    # Where all users get the same there is no function to call, and hardly ever a value to make.
                    outcome: Outcome = flag.same or flag.evaluate(user_key, read)
                    event = outcome.event
                    if event is not None and not self._closed:
                        member.outbox.put(user, event, time_ns())
                    return outcome.value() if outcome.fresh else outcome.constant
        except Exception as error:
            self._failed(error, key)
            return self._default(key, default)
        answer = self._evaluate(key, user)
        if not isinstance(answer, Outcome):
            return self._default(key, default)
        self._send(user, answer)
        return answer.value()

    def variation_detail(self, key: str, user: Mapping[str, Any], default: Any = None) -> EvalDetail:
        """As ``variation``, with the reason, the flag's name and the variation's id."""
        outcome = self._evaluate(key, user)
        if isinstance(outcome, Outcome):
            self._send(user, outcome)
            return EvalDetail.of(outcome)
        return no_value(outcome, key, self._default(key, default))

    def get_all_latest_flag_variations(self, user: Mapping[str, Any]) -> AllFlagStates:
        """Every flag for a user, from one snapshot. A flag that gives no value is left out; where the snapshot cannot
        be read, the result is no success, and has those flags that this process used before.

        No events are sent before ``get`` of the result is called. Never raises.
        """
        outcomes: dict[str, Outcome] = {}
        reason = "OK"
        try:
            member = self._current()
            read = read_of(user)
            user_key = key_of(read)
            if not self.initialize:
                reason = CLIENT_NOT_READY
            elif user_key is None:
                reason = USER_NOT_SPECIFIED
            else:
                flags, whole = member.all_flags()
                reason = "OK" if whole else ERROR
                for key, flag in flags.items():
                    try:
                        outcomes[key] = flag.same or flag.evaluate(user_key, read)
                    except Exception as error:
                        self._failed(error, key)
        except Exception as error:
            self._failed(error)
            reason = ERROR
        return AllFlagStates(reason == "OK", reason, Details(outcomes), lambda key: self._send(user, outcomes[key]))

    def is_flag_known(self, key: str) -> bool:
        """Whether the environment has this flag and it is not archived."""
        try:
            return self.initialize and self._current().load(key) is not None
        except Exception as error:
            self._failed(error)
            return False

    @property
    def initialize(self) -> bool:
        """Whether there is data to evaluate."""
        try:
            member = self._current()
            return member.view.ready or member.refresh().ready
        except Exception as error:
            self._failed(error)
            return False

    # -- inside ----------------------------------------------------------------------------------------------

    def _evaluate(self, key: str, user: Mapping[str, Any]) -> Outcome | str:
        """The outcome, or the reason why there is none; its event is the caller's to send."""
        try:
            member = self._current()
            view = member.view
            if member.words[PUBLICATION] != view.word:
                view = member.refresh()
            if not view.ready:
                member.run()  # could not where it was made: uWSGI's first process becomes its first worker
                return CLIENT_NOT_READY
            if not is_text(key):
                return FLAG_NOT_FOUND
            flag = view.flags[key] if key in view.flags else member.load(key)
            if flag is None:
                return FLAG_NOT_FOUND
            read = read_of(user)
            user_key = key_of(read)
            if user_key is None:
                return USER_NOT_SPECIFIED
            if isinstance(flag, Damaged):
                return ERROR
            outcome: Outcome = flag.evaluate(user_key, read)
        except Exception as error:
            self._failed(error, key)
            return ERROR
        return outcome

    def _look_up(self, key: str, user: Mapping[str, Any], default: Any) -> Any:
        """As ``variation``, and no event tells of it."""
        outcome = self._evaluate(key, user)
        return outcome.value() if isinstance(outcome, Outcome) else self._default(key, default)

    def _send(self, user: Mapping[str, Any], outcome: Outcome) -> None:
        if outcome.event is not None:
            self._put(user, outcome.event)

    def _put(self, user: Mapping[str, Any], tail: Tail) -> None:
        try:
            if not self._closed:
                self._current().outbox.put(user, tail, time_ns())
        except Exception as error:
            self._failed(error)

    def _default(self, key: str, default: Any) -> Any:
        try:
            return self._config.get_default_value(key, default)
        except Exception:  # a key that is no key
            return default

    def _failed(self, error: Exception, key: object = None) -> None:
        """An evaluation must not raise, and must not fill the log either: count it, and log it once."""
        self._member.outbox.count_failure()
        what = type(error), key if isinstance(key, str) else None
        if what not in _told and len(_told) < _MOST_TOLD:
            _told.add(what)
            # The text of an application's own exception may tell of its users.
            why = error if isinstance(error, FBSharedError) else what[0].__name__
            log.warning("flag %r gives its default value: %s", what[1], why)

    # What the client has.

    def _current(self) -> Member | OfflineMember:
        raise NotImplementedError

    def _in_child(self) -> Member:
        raise NotImplementedError


def is_text(value: object) -> bool:
    """Whether this can be a key or a name."""
    return isinstance(value, str) and bool(value)


_told: set[tuple[type[Exception], str | None]] = set()
_MOST_TOLD = 1000
