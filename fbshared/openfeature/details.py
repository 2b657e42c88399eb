"""FeatBit's answers in OpenFeature's words.

===========================  ==============================================================================
FeatBit says                 reason, or error code
===========================  ==============================================================================
``flag off``                 DISABLED, with the value that the flag has when it is off
``target match``             TARGETING_MATCH
``rule match``               TARGETING_MATCH
``fall through all rules``   STATIC where no target, rule or percentage stands before the value, else DEFAULT
``client not ready``         PROVIDER_NOT_READY
``flag not found``           FLAG_NOT_FOUND
``user not specified``       TARGETING_KEY_MISSING
``error in evaluation``      GENERAL
a value of another type      TYPE_MISMATCH
===========================  ==============================================================================

The variant is the variation's id. The flag metadata has ``featbit.reason``, FeatBit's own words, and for a value
``featbit.variation_id`` and ``featbit.flag_name``.
"""

from __future__ import annotations

from typing import Any

from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, FlagType, Reason

from fbshared.common_types import EvalDetail
from fbshared.core.evaluation import (
    CLIENT_NOT_READY,
    ERROR,
    FALLTHROUGH,
    FLAG_NOT_FOUND,
    FLAG_OFF,
    RULE_MATCH,
    TARGET_MATCH,
    USER_NOT_SPECIFIED,
)

__all__ = ["failed", "resolved"]

_REASONS = {
    FLAG_OFF: Reason.DISABLED,
    TARGET_MATCH: Reason.TARGETING_MATCH,
    RULE_MATCH: Reason.TARGETING_MATCH,
    FALLTHROUGH: Reason.DEFAULT,
}
_ERRORS = {
    CLIENT_NOT_READY: (ErrorCode.PROVIDER_NOT_READY, "there is no data yet"),
    FLAG_NOT_FOUND: (ErrorCode.FLAG_NOT_FOUND, "flag {} not found"),
    USER_NOT_SPECIFIED: (ErrorCode.TARGETING_KEY_MISSING, "the evaluation context has no targeting key"),
    ERROR: (ErrorCode.GENERAL, "flag {} gives no value"),
}
_TYPES: dict[FlagType, type | tuple[type, ...]] = {
    FlagType.STRING: str,
    FlagType.OBJECT: (dict, list),
    FlagType.BOOLEAN: bool,
}


def resolved(detail: EvalDetail, kind: FlagType, key: str, default: Any, *, static: bool) -> FlagResolutionDetails[Any]:
    """What a FeatBit answer is for somebody who asked for a value of this type."""
    reason = _REASONS.get(detail.reason)
    if reason is None:
        return failed(detail.reason, key, default)
    value = _typed(detail.variation, kind)
    if value is None:
        message = f"flag {key} has a value of type {type(detail.variation).__name__}, not {kind.value.lower()}"
        return _error(ErrorCode.TYPE_MISMATCH, message, detail.reason, default)
    return FlagResolutionDetails(
        value=value,
        reason=Reason.STATIC if static else reason,
        variant=detail.variation_id,
        flag_metadata={
            "featbit.reason": detail.reason,
            "featbit.variation_id": str(detail.variation_id),
            "featbit.flag_name": str(detail.name),
        },
    )


def failed(reason: str, key: str, default: Any) -> FlagResolutionDetails[Any]:
    """The default, and FeatBit's reason for it as an error."""
    code, message = _ERRORS.get(reason, (ErrorCode.GENERAL, "flag {} gives no value"))
    return _error(code, message.format(key), reason, default)


def _error(code: ErrorCode, message: str, reason: str, default: Any) -> FlagResolutionDetails[Any]:
    return FlagResolutionDetails(
        value=default,
        reason=Reason.ERROR,
        error_code=code,
        error_message=message,
        flag_metadata={"featbit.reason": reason},
    )


def _typed(value: Any, kind: FlagType) -> Any:
    """The value if it is of this type, None if it is not. FeatBit has one type for all numbers: a whole one is a
    float as well, and a fraction is never cut off."""
    if kind in _TYPES:
        return value if isinstance(value, _TYPES[kind]) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if kind is FlagType.INTEGER:
        return value if isinstance(value, int) else int(value) if value.is_integer() else None
    try:
        return float(value)
    except OverflowError:
        return None
