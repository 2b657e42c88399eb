"""FeatBit messages as values: what we say, and what the service says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from fbshared.core.items import parse_item
from fbshared.core.json_reader import read
from fbshared.core.model import FLAG, SEGMENT, Item
from fbshared.errors import MessageError

PING = '{"messageType":"ping","data":null}'


@dataclass(frozen=True, slots=True)
class SyncMessage:
    """A data-sync message: a full replaces, a patch adds; one short reason for every refused item."""

    full: bool
    items: tuple[Item, ...]
    rejected: tuple[str, ...]


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
