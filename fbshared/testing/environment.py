"""The flags and segments of one environment, and the messages a server makes of them."""

import copy
import json
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from fbshared.errors import MessageError

Raw = dict[str, Any]
Bootstrap = str | Path | Mapping[str, Any]

_UPDATED_AT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))?", re.ASCII)
_EPOCH = datetime(1970, 1, 1)


def message(event_type: str, flags: Iterable[Raw] = (), segments: Iterable[Raw] = ()) -> str:
    """The text of a data-sync message with exactly these raw items; the event type is "full" or "patch"."""
    data = {"eventType": event_type, "featureFlags": list(flags), "segments": list(segments)}
    return json.dumps({"messageType": "data-sync", "data": data}, separators=(",", ":"))


def version_of(updated_at: object) -> int:
    """The Unix milliseconds of an ``updatedAt``, truncated; 0 when it is none."""
    match = _UPDATED_AT.fullmatch(updated_at) if isinstance(updated_at, str) else None
    if not match:
        return 0
    try:
        moment = datetime.fromisoformat(match[1])
    except ValueError:
        return 0
    if match[3]:
        offset = timedelta(hours=int(match[4]), minutes=int(match[5]))
        moment = moment - offset if match[3] == "+" else moment + offset
    return (moment - _EPOCH) // timedelta(milliseconds=1) + int((match[2] or "").ljust(3, "0")[:3])


def updated_at_of(version: int, ticks: int = 0) -> str:
    """The ``updatedAt`` of a version in milliseconds plus some ticks of 100 ns, trailing zeros trimmed."""
    moment = datetime.fromtimestamp(version // 1000, timezone.utc).replace(tzinfo=None)
    fraction = f".{version % 1000:03}{ticks:04}".rstrip("0").rstrip(".")
    return f"{moment.isoformat()}{fraction}Z"


class Environment:
    """Raw flags by key and raw segments by id; not thread-safe."""

    def __init__(self, bootstrap: Bootstrap | None = None) -> None:
        self.flags: dict[str, Raw] = {}
        self.segments: dict[str, Raw] = {}
        self.latest = 0
        if bootstrap is not None:
            self.load(bootstrap)

    def load(self, bootstrap: Bootstrap) -> None:
        """Replace everything; MessageError when it is not a bootstrap, and then nothing has changed."""
        data = _data_of(bootstrap)
        flags = _by_identity(data.get("featureFlags"), "key")
        segments = _by_identity(data.get("segments"), "id")
        self.flags, self.segments = flags, segments
        for item in (*flags.values(), *segments.values()):
            self.latest = max(self.latest, version_of(item.get("updatedAt")))

    def put(
        self, flags: Iterable[Mapping[str, Any]], segments: Iterable[Mapping[str, Any]]
    ) -> tuple[list[Raw], list[Raw]]:
        """Store copies of these items, stamped with the present; the answer is what was stored."""
        fresh_flags = _by_identity(list(flags), "key")
        fresh_segments = _by_identity(list(segments), "id")
        for item in (*fresh_flags.values(), *fresh_segments.values()):
            item["updatedAt"] = self._stamp()
        self.flags.update(fresh_flags)
        self.segments.update(fresh_segments)
        return list(fresh_flags.values()), list(fresh_segments.values())

    def changes_to(self, bootstrap: Bootstrap) -> tuple[list[Raw], list[Raw]]:
        """The flags and the segments to put so that this holds what a bootstrap holds, whatever their stamps are;
        an item that is missing there is archived. MessageError when it is not a bootstrap."""
        data = _data_of(bootstrap)
        return (
            _changes(self.flags, _by_identity(data.get("featureFlags"), "key")),
            _changes(self.segments, _by_identity(data.get("segments"), "id")),
        )

    def answer(self, timestamp: int) -> str:
        """The answer to a data-sync request: everything for 0, else what is strictly newer."""
        if timestamp == 0:
            return message("full", self.flags.values(), self.segments.values())
        return message("patch", _newer(self.flags, timestamp), _newer(self.segments, timestamp))

    def has_newer(self, timestamp: int) -> bool:
        return bool(_newer(self.flags, timestamp) or _newer(self.segments, timestamp))

    def _stamp(self) -> str:
        ticks = time.time_ns() // 100
        self.latest = max(self.latest + 1, ticks // 10_000)
        return updated_at_of(self.latest, ticks % 10_000)


def _newer(items: dict[str, Raw], timestamp: int) -> list[Raw]:
    return [item for item in items.values() if version_of(item.get("updatedAt")) > timestamp]


def _changes(before: dict[str, Raw], after: dict[str, Raw]) -> list[Raw]:
    changed = [item for key, item in after.items() if key not in before or _content(before[key]) != _content(item)]
    gone = [item for key, item in before.items() if key not in after and not item.get("isArchived")]
    return changed + [item | {"isArchived": True} for item in gone]


def _content(item: Raw) -> Raw:
    return {name: value for name, value in item.items() if name != "updatedAt"}


def _data_of(bootstrap: Bootstrap) -> Mapping[str, Any]:
    """The ``data`` of a bootstrap: of a message or bare, as an object, as JSON text or in a file."""
    content: Any = bootstrap
    if isinstance(content, str) and not content.lstrip().startswith("{"):
        content = Path(content)
    if isinstance(content, Path):
        content = content.read_text(encoding="utf-8")
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except ValueError as error:
            raise MessageError(f"the bootstrap is not JSON: {error}") from error
    data = content.get("data", content) if isinstance(content, Mapping) else None
    if not isinstance(data, Mapping) or not {"featureFlags", "segments"} & data.keys():
        raise MessageError("a bootstrap is an object with featureFlags and segments")
    return data


def _by_identity(items: object, field: str) -> dict[str, Raw]:
    """Deep copies of raw items by their identity."""
    found: dict[str, Raw] = {}
    if not isinstance(items, list | None):
        raise MessageError("featureFlags and segments are lists")
    for item in items or ():
        if not isinstance(item, Mapping) or not isinstance(item.get(field), str):
            raise MessageError(f"an item without a text {field!r} in featureFlags or segments")
        found[item[field]] = copy.deepcopy(dict(item))
    return found
