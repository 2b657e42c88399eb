"""FeatBit messages as values: the URL token, what we say, and what the service says."""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from fbshared.core.json_reader import read
from fbshared.core.model import FLAG, SEGMENT, Item, parse_item
from fbshared.errors import MessageError

PING = '{"messageType":"ping","data":null}'

_LETTERS = str.maketrans("0123456789", "QBWSPHDXZU")
_SECRET = re.compile(r"[A-Za-z0-9_-]{44}")


@dataclass(frozen=True, slots=True)
class SyncMessage:
    """A data-sync message: a full replaces, a patch adds; one short reason for every refused item."""

    full: bool
    items: tuple[Item, ...]
    rejected: tuple[str, ...]


def token(secret: str, now_ms: int, fraction: float) -> str:
    """The token of one connection attempt: the secret with the time put into it where a fraction says.

    It is reversible, so a URL with a token is a credential, and it expires within seconds.
    """
    text = secret.rstrip("=")
    place = max(int(fraction * len(text)), 2)
    time = str(now_ms)
    head = _letters(place, 3) + _letters(len(time), 2)
    return head + text[:place] + time.translate(_LETTERS) + text[place:]


def environment_id(secret: str) -> str | None:
    """The environment that a secret of FeatBit's form belongs to, None for another form.

    The second half of a secret is the id, its first three fields with the low byte first.
    """
    text = secret.rstrip("=")
    if not _SECRET.fullmatch(text):
        return None
    first, second, third, rest = struct.unpack("<IHH8s", base64.urlsafe_b64decode(text[22:] + "=="))
    return f"{first:08x}-{second:04x}-{third:04x}-{rest[:2].hex()}-{rest[2:].hex()}"


def streaming_url(base: str, token: str) -> str:
    """Where a server SDK connects; a path in front of it stays."""
    return f"{base.rstrip('/')}/streaming?token={quote(token, safe='')}&type=server"


def insight_url(base: str) -> str:
    """Where events are posted."""
    return f"{base.rstrip('/')}/api/public/insight/track"


def latest_url(base: str) -> str:
    """Where all data can be had by HTTP."""
    return f"{base.rstrip('/')}/api/public/sdk/server/latest-all"


def data_sync(cursor: int) -> str:
    """The request for everything newer than a version; 0 asks for a full."""
    return f'{{"messageType":"data-sync","data":{{"timestamp":{cursor}}}}}'


def parse(text: str | bytes) -> SyncMessage | None:
    """The data-sync message in a text, None for a pong and whatever else a server may say one day.

    Raises:
        MessageError: not JSON, or a data-sync message that is not built like one.
    """
    message = read(text, {"data": {"featureFlags": partial(_item, FLAG), "segments": partial(_item, SEGMENT)}})
    if not isinstance(message, dict) or message.get("messageType") != "data-sync":
        return None
    data = message.get("data")
    if not isinstance(data, dict):
        raise MessageError("data-sync without data")
    if data.get("eventType") not in ("full", "patch"):
        raise MessageError("data-sync of an unknown event type")
    items: list[Item] = []
    rejected: list[str] = []
    for field, noun in (("featureFlags", "flag"), ("segments", "segment")):
        entries = data.get(field)
        if not isinstance(entries, list):
            raise MessageError(f"data-sync without a list of {noun}s")
        for number, item in enumerate(entries):
            if isinstance(item, Item):
                items.append(item)
            else:
                rejected.append(f"{noun} {number}: {item}")
    return SyncMessage(data["eventType"] == "full", tuple(items), tuple(rejected))


def parse_bootstrap(text: str | bytes) -> SyncMessage:
    """The full in a bootstrap file, which is what the service answers to a full synchronisation.

    Raises:
        MessageError: it is something else.
    """
    message = parse(text)
    if message is None or not message.full:
        raise MessageError("not a full data-sync message")
    return message


def _item(kind: int, raw: object) -> Item | MessageError:
    try:
        return parse_item(kind, raw)
    except MessageError as error:
        return error


def _letters(number: int, width: int) -> str:
    return str(number).zfill(width)[-width:].translate(_LETTERS)
