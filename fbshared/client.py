"""The client: what an application holds, in every process.

An evaluation that finds the current view takes no lock, makes no system call and does no I/O.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from time import time_ns
from types import TracebackType
from typing import Any

from fbshared.asynchronous import AsyncLife
from fbshared.common_types import AllFlagStates, EvalDetail, no_value
from fbshared.config import Config, require_config
from fbshared.core.evaluation import (
    CLIENT_NOT_READY,
    ERROR,
    FLAG_NOT_FOUND,
    USER_NOT_SPECIFIED,
    CompiledFlag,
    Outcome,
)
from fbshared.core.events import IDENTIFY_TAIL, Tail, metrics_tail
from fbshared.core.prepared import FBUser, read_of
from fbshared.core.users import key_of
from fbshared.core.wire import environment_id
from fbshared.errors import ConfigError, FBSharedError
from fbshared.flag_change_notification import FlagTracker
from fbshared.member import Member
from fbshared.members import join
from fbshared.offline import OfflineLife, OfflineMember
from fbshared.shm.control import PUBLICATION, SyncState
from fbshared.typed import TypedVariations
from fbshared.update_status import DataUpdateStatusProvider
from fbshared.view import Damaged
from fbshared.wiring import compare, member_settings

__all__ = ["FBClient"]

log = logging.getLogger("fbshared")

DEFAULT_STOP = 5.0


class FBClient(TypedVariations, AsyncLife, OfflineLife):
    """Evaluates the flags of one environment.

    Make one for each environment, where the application starts: at import, in the parent of workers, anywhere. It
    works in every forked child with nothing done by the application, and in a process that it is handed to by
    pickling. All methods may be called from any thread.

    Args:
        config: which environment, and how.
        start_wait: seconds to wait at most until there is data. With 0 it returns at once, and evaluations
            answer their default until data arrives.

    Raises:
        ConfigError: the configuration is invalid.
        RegionError: the shared directory cannot be used.
    """

    def __init__(self, config: Config, start_wait: float = 15.0) -> None:
        require_config(config)
        try:
            usable = math.isfinite(start_wait)
        except TypeError:
            usable = False
        if not usable:
            raise ConfigError(f"start_wait must be a number of seconds, not {start_wait!r}")
        self._config = config
        self._closed = False
        self._update_status_provider = DataUpdateStatusProvider(self._current)
        self._flag_tracker = FlagTracker(self._current, self._look_up)
        self._member = OfflineMember() if config.offline else self._joined()
        self._member.users.add(id(self))
        self._member.run()
        if start_wait > 0 and not config.offline and not self._wait(start_wait):
            log.warning("there is no data yet; evaluations answer their default until there is")

    # -- evaluation ------------------------------------------------------------------------------------------

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
        """Every flag for a user, from one snapshot. A flag that gives no value is left out.

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
                for key, flag in member.all_flags().items():
                    try:
                        outcomes[key] = flag.evaluate(user_key, read)
                    except Exception as error:
                        self._failed(error, key)
        except Exception as error:
            self._failed(error)
            reason = ERROR
        details = {key: EvalDetail.of(outcome) for key, outcome in outcomes.items()}
        return AllFlagStates(reason == "OK", reason, details, lambda key: self._send(user, outcomes[key]))

    def is_flag_known(self, key: str) -> bool:
        """Whether the environment has this flag and it is not archived."""
        try:
            return self.initialize and self._current().load(key) is not None
        except Exception as error:
            self._failed(error)
            return False

    # -- events ----------------------------------------------------------------------------------------------

    def track_metric(self, user: Mapping[str, Any], event_name: str, metric_value: float = 1.0) -> None:
        """Record that a user did something that experiments count."""
        self.track_metrics(user, {event_name if _is_text(event_name) else "": metric_value})

    def track_metrics(self, user: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Record several metrics of a user. What has no name or no finite number is left out, with a warning."""
        try:
            named = [(name, value) for name, value in metrics.items() if _is_text(name)]
            tail = metrics_tail(named)
            if tail == _NO_METRICS or len(named) < len(metrics):
                log.warning("a metric needs a name and a finite number; it is left out")
            if tail != _NO_METRICS and key_of(read_of(user)) is not None:
                self._put(user, tail)
        except Exception as error:
            self._failed(error)

    def identify(self, user: Mapping[str, Any]) -> None:
        """Register a user with FeatBit."""
        if key_of(read_of(user)) is None:
            log.warning("identify needs a user with a key and a name")
        else:
            self._put(user, IDENTIFY_TAIL)

    def flush(self, timeout: float = 0.0) -> bool:
        """Ask the leader to deliver now, and wait up to ``timeout`` seconds.

        Returns:
            Whether everything that this process put before is delivered.
        """
        try:
            return self._current().flush(max(timeout, 0.0))
        except Exception as error:
            self._failed(error)
            return False

    # -- life ------------------------------------------------------------------------------------------------

    @property
    def initialize(self) -> bool:
        """Whether there is data to evaluate."""
        try:
            member = self._current()
            return member.view.ready or member.refresh().ready
        except Exception as error:
            self._failed(error)
            return False

    @property
    def is_leader(self) -> bool:
        """Whether this process holds the connection to FeatBit right now."""
        return self._member.leads

    @property
    def update_status_provider(self) -> DataUpdateStatusProvider:
        """How current the data of this process is, and who is told when that changes."""
        return self._update_status_provider

    @property
    def flag_tracker(self) -> FlagTracker:
        """Who is told when a flag changes."""
        return self._flag_tracker

    def stop(self, timeout: float = DEFAULT_STOP) -> None:
        """Leave within ``timeout`` seconds. Events that are not delivered by then stay for the next leader.

        May be called again. Evaluations go on with the last data and send no events.
        """
        deadline = time.monotonic() + max(timeout, 0.0)
        if self._closed:
            return
        self._closed = True
        self._flag_tracker.close(deadline)
        self._update_status_provider.close(deadline)
        member = self._member
        if not member.cell[0]:
            return  # the parent's, never used here
        member.users.discard(id(self))
        if not member.users:
            member.close(deadline)

    def __enter__(self) -> FBClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __reduce__(self) -> tuple[type[FBClient], tuple[Config, float], str | bytes | None]:
        """Handed to another process by pickling, it is a client of the same region there, or has the same bootstrap."""
        return type(self), (self._config, 0.0), getattr(self._member, "text", None)

    def __repr__(self) -> str:
        return f"FBClient(environment={environment_id(self._config.env_secret)!r}, leader={self.is_leader})"

    # -- inside ----------------------------------------------------------------------------------------------

    def _joined(self) -> Member:
        config = self._config
        if config.env_secret and environment_id(config.env_secret) is None:
            log.warning("env_secret does not look like a secret that FeatBit made")
        self._settings = member_settings(config)
        member = join(self._settings)
        compare(member, config)
        return member

    def _current(self) -> Member | OfflineMember:
        member = self._member
        return member if member.cell[0] else self._in_child()

    def _in_child(self) -> Member:
        """This process was forked: take a membership of its own, beginning with what the parent had seen."""
        parent = self._member
        assert isinstance(parent, Member)  # no fork empties an offline one's cell
        member = join(self._settings, parent)
        compare(member, self._config)
        member.users.add(id(self))
        self._member = member
        parent.drop()
        if not self._closed:
            member.run()
            self._flag_tracker.go_on()
            self._update_status_provider.go_on()
        return member

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
            if not _is_text(key):
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

    def _wait(self, seconds: float) -> bool:
        """Whether there is data, after at most this many seconds."""
        for pause in self._pauses(seconds):
            time.sleep(pause)
        return self.initialize

    def _pauses(self, seconds: float) -> Iterator[float]:
        """What to sleep between looks for data, until there is some or waiting is over: early if FeatBit refuses."""
        deadline = time.monotonic() + seconds
        if self._member.waits_in_vain():
            deadline = 0.0
        pause = 0.001
        while not self.initialize:
            refused = self._current().region.control.sync_state == SyncState.REFUSED
            if refused or not time.monotonic() < deadline:
                return
            yield pause
            pause = min(pause * 1.5, 0.02)


_NO_METRICS = metrics_tail(())
_told: set[tuple[type[Exception], str | None]] = set()
_MOST_TOLD = 1000


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
