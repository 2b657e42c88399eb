"""The client: what an application holds, in every process; here is its life, and the events that it is told."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

from fbshared.asynchronous import AsyncLife
from fbshared.config import Config, require_config
from fbshared.core.addresses import environment_id
from fbshared.core.events import IDENTIFY_TAIL, metrics_tail
from fbshared.core.prepared import read_of
from fbshared.core.users import key_of
from fbshared.errors import ConfigError
from fbshared.evaluations import Evaluations, is_text
from fbshared.flag_change_notification import FlagTracker
from fbshared.member import Member
from fbshared.members import join
from fbshared.offline import OfflineLife, OfflineMember
from fbshared.shm.control import SyncState
from fbshared.update_status import DataUpdateStatusProvider
from fbshared.wiring import compare, member_settings

__all__ = ["FBClient"]

log = logging.getLogger("fbshared")

DEFAULT_STOP = 5.0


class FBClient(Evaluations, AsyncLife, OfflineLife):
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

    # -- events ----------------------------------------------------------------------------------------------

    def track_metric(self, user: Mapping[str, Any], event_name: str, metric_value: float = 1.0) -> None:
        """Record that a user did something that experiments count."""
        self.track_metrics(user, {event_name if is_text(event_name) else "": metric_value})

    def track_metrics(self, user: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Record several metrics of a user. What has no name or no finite number is left out, with a warning."""
        try:
            named = [(name, value) for name, value in metrics.items() if is_text(name)]
            tail = metrics_tail(named)
            if tail.packed == _NO_METRICS or len(named) < len(metrics):
                log.warning("a metric needs a name and a finite number; it is left out")
            if tail.packed != _NO_METRICS and key_of(read_of(user)) is not None:
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


_NO_METRICS = metrics_tail(()).packed
