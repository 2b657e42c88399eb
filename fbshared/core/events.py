"""The record of one event on its way through a ring, and the insight object that FeatBit gets for it.

A record is what the msgpack array ``[user, kind, content]`` has behind its first byte, and the time: nanoseconds since
1970 in eight bytes, the lowest first. Its parts are packed where they are known and only put behind each other when the
event happens: kind and content are its tail, packed when a flag is compiled; the user is packed once per call, or once
for all if it is prepared. A part's checksum is made where the part is made (see ``shm.ring``).
A dict travels as the application gave it; it is normalised by the leader, outside of the evaluating process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from zlib import crc32

import msgpack

from fbshared.core.prepared import FBUser
from fbshared.core.users import key_of, normalised, plain, well_formed
from fbshared.errors import MessageError

EVALUATION = 0
METRIC = 1
IDENTIFY = 2

# A dict may hold much that FeatBit is never told; more than this is reduced before it takes room in a ring.
LARGEST_RAW_USER = 8192

_ARRAY_OF_THREE = b"\x93"
_TIME = 8  # bytes


class Tail:
    """What an event says besides the user and the time, packed; and the CRC-32 of that."""

    __slots__ = ("check", "packed")

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        self.check = crc32(packed)


def make_pack() -> Callable[[object], bytes]:
    """A function that packs users. It is not thread-safe, and packs nothing that it would have to convert.

    Told how to pack a lone surrogate, it would take twice the time for every text.
    """
    pack: Callable[[object], bytes] = msgpack.Packer(strict_types=True).pack
    return pack


def evaluation_tail(flag_key: str, variation_id: str, text: str, reason: str, send_to_experiment: bool) -> Tail:
    """What an evaluation event says besides the user and the time."""
    return _tail(EVALUATION, (flag_key, variation_id, text, reason, send_to_experiment))


def metrics_tail(metrics: Iterable[tuple[str, float]]) -> Tail:
    """What a metric event says; metrics without a name or without a finite number are left out."""
    numbers = ((name, _number(value)) for name, value in metrics if name)
    return _tail(METRIC, [(name, number) for name, number in numbers if number is not None])


def pack_user(pack: Callable[[object], bytes], user: Mapping[str, Any]) -> bytes:
    """A valid user as the beginning of a record; one that cannot be packed as it is, is reduced first."""
    if user.__class__ is FBUser:
        return user.packed
    try:
        packed = pack(user)
    except Exception:  # noqa: BLE001 - whatever is wrong with the raw form, the reduced one has only texts
        return pack_reduced(user)
    return packed if len(packed) <= LARGEST_RAW_USER else pack_reduced(user)


def pack_reduced(user: Mapping[str, Any]) -> bytes:
    """A valid user that cannot be packed as it is, or should not be."""
    return _pack(_reduced(user))


def record(user: bytes, tail: Tail, timestamp_ns: int) -> bytes:
    """The record of its packed parts."""
    return stamped(user + tail.packed, timestamp_ns)


def stamped(parts: bytes, timestamp_ns: int) -> bytes:
    """The record of a packed user and a tail that are put together already."""
    return parts + timestamp_ns.to_bytes(_TIME, "little")


def payload(record: bytes) -> dict[str, Any]:
    """The JSON-ready insight object of a record.

    Raises:
        MessageError: these bytes are no record of this layout, or one that FeatBit would refuse.
    """
    return payload_of(*parts_of(record))


def parts_of(record: bytes) -> tuple[dict[str, Any], object, object, int]:
    """A record's valid user, kind, content, and time in milliseconds; raises as ``payload`` does."""
    try:
        parts = msgpack.unpackb(_ARRAY_OF_THREE + record[:-_TIME], strict_map_key=False, unicode_errors="surrogatepass")
        user, kind, tail = parts
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise MessageError("not an event record") from error
    time_ns = int.from_bytes(record[-_TIME:], "little")
    if time_ns >= 2**63 or key_of(user) is None:
        raise MessageError("not an event record")
    return user, kind, tail, time_ns // 1_000_000


def payload_of(user: dict[str, Any], kind: object, tail: object, timestamp: int) -> dict[str, Any]:
    """The JSON-ready insight object of a record's parts; raises as ``payload`` does."""
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


def _tail(kind: int, content: object) -> Tail:
    return Tail(bytes([kind]) + _pack(content))


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed


IDENTIFY_TAIL = _tail(IDENTIFY, None)
