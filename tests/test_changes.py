"""Fingerprints: equal where nothing changed for a flag, and different where something did."""

from typing import Any

import pytest

from fbshared import changes
from fbshared.changes import Fingerprint, Fingerprints, Named
from fbshared.core.items import parse_item
from fbshared.core.model import FLAG, SEGMENT, Dataset, Item
from fbshared.errors import CorruptError
from fbshared.shm.packing import pack
from fbshared.shm.snapshot import Snapshot
from fbshared.testing import flag, in_segment, rule, segment

IDENTITY = (1, 2)


def items(flags: list[Any], segments: list[Any] = ()) -> list[Item]:  # type: ignore[assignment]
    return [parse_item(FLAG, raw) for raw in flags] + [parse_item(SEGMENT, raw) for raw in segments]


def content(found: list[Item]) -> bytes:
    return b"".join(pack(Dataset.of(found), 1, IDENTITY, 1, synced=True))


def prints(found: list[Item], named: Named | None = None) -> dict[str, Fingerprint]:
    return Fingerprints(Snapshot(content(found), 1, IDENTITY), {} if named is None else named).all()


PLAIN = flag("plain", updated_at=1)
TEAM = flag("team", rules=[rule(True, in_segment("outer"))], updated_at=1)
ODD = flag("odd", rules=[rule(True, in_segment("unknown"))], updated_at=1)
INNER = segment("inner", updated_at=1)
OUTER = segment("outer", rules=[[in_segment("inner")]], updated_at=1)
OTHER = segment("other", updated_at=1)
ALL = items([PLAIN, TEAM, ODD, flag("gone", archived=True)], [INNER, OUTER, OTHER])


@pytest.mark.parametrize(
    ("flags", "segments", "changed"),
    [
        ([], [], set()),
        ([flag("plain", updated_at=2)], [], {"plain"}),
        ([flag("plain", updated_at=2, archived=True)], [], {"plain"}),
        ([flag("new", updated_at=2)], [], {"new"}),
        ([], [segment("outer", updated_at=2)], {"team"}),
        ([], [segment("inner", updated_at=2)], {"team"}),
        ([], [segment("inner", updated_at=2, archived=True)], {"team"}),
        ([], [segment("other", updated_at=2)], set()),
        ([], [segment("unknown", updated_at=2)], {"odd"}),
    ],
)
def test_what_changes(flags: list[Any], segments: list[Any], changed: set[str]) -> None:
    """A flag is different when it or a segment that it can reach is, and no other flag is."""
    named: Named = {}
    before = prints(ALL, named)
    after = prints(list(Dataset.of(ALL).merge(items(flags, segments))[0].items()), named)

    assert changed == {key for key in before | after if before.get(key) != after.get(key)}


def test_some_flags_and_all_of_them() -> None:
    """A flag asked for has the fingerprint that it has among all; one that is not there, or archived, has none."""
    found = Fingerprints(Snapshot(content(ALL), 1, IDENTITY), {})
    every = prints(ALL)

    assert {"plain", "team", "odd"} == every.keys()
    assert {"team": every["team"]} == found.some(["team", "gone", "never"])
    assert {} == found.some([])


def test_segments_in_a_circle() -> None:
    """Segments that refer to each other end, and all of them count."""
    circle = [segment("a", rules=[[in_segment("b")]]), segment("b", rules=[[in_segment("a")]])]
    found = prints(items([flag("round", rules=[rule(True, in_segment("a"))])], circle))

    assert 2 == len(found["round"][1])


def test_only_what_changed_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot is read by decoding what is new and may name a segment, and nothing else."""
    decoded: list[bytes] = []
    unpack = changes.unpack

    def counting(blob: bytes) -> dict[str, Any]:
        decoded.append(blob)
        return unpack(blob)

    monkeypatch.setattr(changes, "unpack", counting)
    named: Named = {}
    prints(ALL, named)
    first = len(decoded)
    newer = [flag("plain", updated_at=2), TEAM | {"updatedAt": "2020-01-01T00:00:00Z"}]
    prints(list(Dataset.of(ALL).merge(items(newer))[0].items()), named)

    assert (3, 4) == (first, len(decoded))


def test_an_item_that_is_none() -> None:
    """Bytes that are no item have a fingerprint too, and name no segments."""
    found = prints([Item(FLAG, "strange", 1, False, b"\xa2in segment")])

    assert () == found["strange"][1]


def test_damaged_bytes() -> None:
    """A damaged flag has no fingerprint that could be compared: it raises."""
    damaged = bytearray(content(items([PLAIN])))
    damaged[-1] ^= 1

    with pytest.raises(CorruptError):
        Fingerprints(Snapshot(bytes(damaged), 1, IDENTITY), {}).some(["plain"])
