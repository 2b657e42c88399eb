"""The record of one event on its way through a ring, and the insight object that FeatBit gets for it.

A record is the msgpack array ``[kind, timestamp_ms, user, tail]``. Its parts are packed where they are known
(a tail when a flag is compiled, a user once per call) and only put behind each other when the event happens.
The user travels as the application gave it; it is normalised by the leader, outside of the evaluating process.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import msgpack

from fbshared.core.users import key_of, normalised, plain, well_formed
from fbshared.errors import MessageError

EVALUATION = 0
METRIC = 1
IDENTIFY = 2

IDENTIFY_TAIL: bytes = msgpack.packb(None)

# A dict may hold much that FeatBit is never told; more than this is reduced before it takes room in a ring.
LARGEST_RAW_USER = 8192

_HEAD = struct.Struct(">BBBQ")  # array of four, small integer, uint64 mark, timestamp
_ARRAY_OF_FOUR, _UINT64 = 0x94, 0xCF


def make_packer() -> msgpack.Packer:
    """A packer for users. It is not thread-safe, and packs nothing that it would have to convert."""
    return msgpack.Packer(strict_types=True, unicode_errors="surrogatepass")


def evaluation_tail(flag_key: str, variation_id: str, text: str, reason: str, send_to_experiment: bool) -> bytes:
    """What an evaluation event says besides the user and the time."""
    return _pack((flag_key, variation_id, text, reason, send_to_experiment))


def metrics_tail(metrics: Iterable[tuple[str, float]]) -> bytes:
    """What a metric event says; metrics without a name or without a finite number are left out."""
    numbers = ((name, _number(value)) for name, value in metrics if name)
    return _pack([(name, number) for name, number in numbers if number is not None])


def pack_user(packer: msgpack.Packer, user: Mapping[str, Any]) -> bytes:
    """A valid user as part of a record; one that cannot be packed as it is, is reduced first."""
    try:
        packed: bytes = packer.pack(user)
    except Exception:  # noqa: BLE001 - whatever is wrong with the raw form, the reduced one has only texts
        return bytes(packer.pack(_reduced(user)))
    return packed if len(packed) <= LARGEST_RAW_USER else bytes(packer.pack(_reduced(user)))


def record(kind: int, timestamp_ms: int, user: bytes, tail: bytes) -> bytes:
    """The record of its packed parts."""
    return _HEAD.pack(_ARRAY_OF_FOUR, kind, _UINT64, timestamp_ms) + user + tail


def payload(record: bytes) -> dict[str, Any]:
    """The JSON-ready insight object of a record.

    Raises:
        MessageError: these bytes are no record of this layout, or one that FeatBit would refuse.
    """
    try:
        parts = msgpack.unpackb(record, strict_map_key=False, unicode_errors="surrogatepass")
        kind, timestamp, user, tail = parts
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise MessageError("not an event record") from error
    if timestamp.__class__ is not int or not 0 <= timestamp < 2**63 or key_of(user) is None:
        raise MessageError("not an event record")
    insight: dict[str, Any] = {"user": normalised(user)}
    if kind == EVALUATION:
        insight["variations"] = [_variation(timestamp, tail)]
    elif kind == METRIC:
        insight["metrics"] = _metrics(timestamp, tail)
    elif kind != IDENTIFY or tail is not None:
        raise MessageError("not an event record")
    return insight


def _variation(timestamp: int, tail: object) -> dict[str, Any]:
    match tail:
        case [str(flag_key), str(variation_id), str(text), str(reason), bool(send)]:
            return {
                "featureFlagKey": well_formed(flag_key),
                "sendToExperiment": send,
                "timestamp": timestamp,
                "variation": {"id": well_formed(variation_id), "value": well_formed(text), "reason": reason},
            }
    raise MessageError("not an evaluation event")


def _metrics(timestamp: int, tail: object) -> list[dict[str, Any]]:
    metrics = [_metric(timestamp, entry) for entry in tail] if isinstance(tail, list) else []
    if not metrics:
        raise MessageError("not a metric event")
    return metrics


def _metric(timestamp: int, entry: object) -> dict[str, Any]:
    match entry:
        case [str(name), float(value)] if name and math.isfinite(value):
            return {
                "route": "index/metric",
                "type": "CustomEvent",
                "eventName": well_formed(name),
                "numericValue": value,
                "appType": "pythonserverside",
                "timestamp": timestamp,
            }
    raise MessageError("not a metric event")


def _number(value: object) -> float | None:
    """A finite number, None for what JSON or the server refuses: NaN, infinity, truth values, texts."""
    if isinstance(value, (bool, str, bytes, bytearray)):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # anything that can be a float, Decimal and numpy too
    except Exception:  # noqa: BLE001 - the application's own objects decide what they raise
        return None
    return number if math.isfinite(number) else None


def _reduced(user: Mapping[str, Any]) -> dict[str, str]:
    try:
        return plain(user)
    except Exception:  # noqa: BLE001 - a dict of another class, or one that another thread changes right now
        return {"key": key_of(user) or "", "name": str.__str__(user["name"])}


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed
