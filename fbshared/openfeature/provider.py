"""The provider: OpenFeature's questions, answered by an ``FBClient``."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderFatalError, ProviderNotReadyError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagType, FlagValueType
from openfeature.hook import Hook
from openfeature.provider import AbstractProvider, Metadata, ProviderStatus
from openfeature.track import TrackingEventDetails

from fbshared.client import FBClient
from fbshared.common_types import EvalDetail
from fbshared.config import Config, require_config
from fbshared.core.evaluation import CLIENT_NOT_READY, ERROR, FALLTHROUGH, USER_NOT_SPECIFIED, CompiledFlag
from fbshared.errors import ConfigError
from fbshared.openfeature.context import user_of
from fbshared.openfeature.details import failed, resolved
from fbshared.openfeature.life import Life
from fbshared.openfeature.news import Seen

__all__ = ["FeatBitProvider"]

log = logging.getLogger("fbshared.openfeature")

Structure = Sequence[FlagValueType] | Mapping[str, FlagValueType]


class FeatBitProvider(AbstractProvider):
    """Evaluates FeatBit flags for OpenFeature.

    It sends PROVIDER_READY, PROVIDER_STALE while the connection to FeatBit is interrupted, PROVIDER_ERROR when FeatBit
    refuses the environment, and PROVIDER_CONFIGURATION_CHANGED with the key of each changed flag, from every process
    that evaluates. Evaluation goes on with the last data through all of these. Only a refusal before there was any
    data is fatal, until FeatBit accepts.

    In a forked child the status is as in its parent, and the events begin with the child's first evaluation. The SDK
    calls handlers from threads that it keeps; in a child whose parent had some, it leaves as many events waiting until
    the next one.

    Defaults of the configuration play no part: the SDK answers with the default of the call.

    Args:
        source: a client, which stays the application's to stop; or a configuration, of which ``initialize`` makes a
            client that ``shutdown`` stops.
        start_wait: seconds that ``initialize`` waits at most until there is data.

    Raises:
        ConfigError: an argument is not what it should be.
    """

    def __init__(self, source: FBClient | Config, *, start_wait: float = 15.0) -> None:
        super().__init__()
        if not isinstance(source, FBClient):
            require_config(source)
        if not _is_number(start_wait):
            raise ConfigError(f"start_wait must be a number of seconds, not {start_wait!r}")
        self._source = source
        self._start_wait = start_wait
        self._life: Life | None = None

    @property
    def client(self) -> FBClient | None:
        """The client; None where it was to be made of a configuration, and is not yet, or no more."""
        if isinstance(self._source, FBClient):
            return self._source
        life = self._life
        return None if life is None else life.client

    # -- life ------------------------------------------------------------------------------------------------

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Wait until there is data.

        Raises:
            ProviderNotReadyError: there is none in time; PROVIDER_READY is sent when there is.
            ProviderFatalError: FeatBit refuses the environment.
            RegionError: the shared directory cannot be used.
        """
        before, life = self._life, Life(self._source, self._send_status, self._send_change)
        self._life = life
        if before is not None:
            before.close()
        seen = life.begin(self._start_wait)
        if seen.status is ProviderStatus.NOT_READY:
            raise ProviderNotReadyError(seen.message)
        if seen.status is ProviderStatus.FATAL:
            raise ProviderFatalError(seen.message)

    def shutdown(self) -> None:
        """End the events, and stop the client if it was made here. ``initialize`` may be called again."""
        life, self._life = self._life, None
        if life is not None:
            life.close()

    def get_metadata(self) -> Metadata:
        """The provider's name."""
        return Metadata(name="fbshared")

    def get_provider_hooks(self) -> list[Hook]:
        """No hooks."""
        # The SDK asks for them before all else, also where it then says itself that the provider is not ready, as it
        # would for ever in a child that was forked while a thread of the parent initialized it.
        life = self._life
        if life is not None and not life.here:
            try:
                life.go_on_here()
            except Exception as error:  # noqa: BLE001 - evaluating never raises
                log.warning("the provider sends no events from this process: %s", type(error).__name__)
        return []

    def _send_status(self, seen: Seen) -> None:
        if seen.status is ProviderStatus.READY:
            self.emit_provider_ready(ProviderEventDetails())
        elif seen.status is ProviderStatus.STALE:
            self.emit_provider_stale(ProviderEventDetails(message=seen.message))
        else:
            fatal = seen.status is ProviderStatus.FATAL
            code = ErrorCode.PROVIDER_FATAL if fatal else ErrorCode.GENERAL
            self.emit_provider_error(ProviderEventDetails(message=seen.message, error_code=code))

    def _send_change(self, key: str) -> None:
        self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=[key]))

    # -- evaluation ------------------------------------------------------------------------------------------

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """The value of a boolean flag. Never raises, and sends FeatBit an evaluation event, as all of these do."""
        return self._resolve(FlagType.BOOLEAN, flag_key, default_value, evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """The value of a string flag."""
        return self._resolve(FlagType.STRING, flag_key, default_value, evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """The value of a number flag; a number with a fraction is a type mismatch."""
        return self._resolve(FlagType.INTEGER, flag_key, default_value, evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """The value of a number flag as a float."""
        return self._resolve(FlagType.FLOAT, flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self, flag_key: str, default_value: Structure, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Structure]:
        """The value of a JSON flag that is a list or an object; nobody else has the same one."""
        return self._resolve(FlagType.OBJECT, flag_key, default_value, evaluation_context)

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Record a metric event with the details' value, 1.0 without one. FeatBit has no place for their attributes.

        What has no name, no targeting key or no finite number is left out, with a warning. Never raises.
        """
        value = None if tracking_event_details is None else tracking_event_details.value
        try:
            client, user = self.client, user_of(evaluation_context)
        except Exception as error:  # noqa: BLE001 - the application's own objects decide what they raise
            log.warning("a tracking event is left out: %s", type(error).__name__)
            return
        if client is None or user is None:
            what = "provider that is initialized" if client is None else "targeting key"
            log.warning("a tracking event needs a %s; it is left out", what)
        else:
            client.track_metric(user, tracking_event_name, 1.0 if value is None else value)

    def _resolve(
        self, kind: FlagType, key: str, default: Any, context: EvaluationContext | None
    ) -> FlagResolutionDetails[Any]:
        try:
            client = self.client
            if client is None:
                return failed(CLIENT_NOT_READY, key, default)
            user = user_of(context)
            if user is None:
                return failed(USER_NOT_SPECIFIED if client.initialize else CLIENT_NOT_READY, key, default)
            detail = client.variation_detail(key, user, default)
            return resolved(detail, kind, key, default, static=_is_static(client, detail))
        except Exception as error:  # noqa: BLE001 - evaluating never raises
            log.debug("flag %r gives its default value: %s", key, type(error).__name__)
            return failed(ERROR, key, default)


def _is_static(client: FBClient, detail: EvalDetail) -> bool:
    """Whether everybody gets this value, with no target, rule or percentage in the way."""
    if detail.reason != FALLTHROUGH:
        return False
    flag = client._current().view.flags.get(detail.key_name or "")
    if not isinstance(flag, CompiledFlag) or flag.same is None:
        return False
    # A newer publication may have come in meanwhile.
    return flag.same.reason == FALLTHROUGH and flag.same.variation_id == detail.variation_id


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
