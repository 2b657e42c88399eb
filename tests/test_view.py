"""A view: one snapshot, compiled where it is used, and taken over where nothing changed."""

import gc
import struct
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from fbshared.core.evaluation import CompiledFlag
from fbshared.core.items import parse_item
from fbshared.core.model import FLAG, SEGMENT, Dataset
from fbshared.errors import CorruptError
from fbshared.shm.packing import pack
from fbshared.shm.snapshot import Snapshot, key_hash
from fbshared.testing import condition, flag, in_segment, rule, segment, segment_id
from fbshared.view import MOST_ABSENT, Damaged, View
from tests.chain import IDENTITY, Chain

USER = {"key": "ada", "name": "Ada", "plan": "pro"}


def content(flags: list[Any], segments: list[Any] = (), word: int = 1) -> bytes:  # type: ignore[assignment]
    items = [parse_item(FLAG, raw) for raw in flags] + [parse_item(SEGMENT, raw) for raw in segments]
    return b"".join(pack(Dataset.of(items), word, IDENTITY, 1, synced=True))


def after(view: View, word: int, data: bytes, leader: Chain | None = None) -> View:
    """The view of another publication, on a base of this leader's."""

    def open_it() -> Snapshot:
        return leader.read(data, word) if leader is not None else Snapshot(data, word, IDENTITY)

    return view.successor(word, IDENTITY, open_it(), open_it)


def first(data: bytes) -> View:
    return after(View(), 1, data)


def value(flag: object) -> Any:
    assert isinstance(flag, CompiledFlag)
    return flag.evaluate("ada", USER).value()


def gone() -> Snapshot:
    raise FileNotFoundError


def lab(*, nested: bool = False) -> list[Any]:
    return [
        segment("inner", included=["ada"] if nested else []),
        segment("outer", rules=[[in_segment("inner")]]),
        segment("other", included=["bob"]),
    ]


FLAGS = [
    flag("plain"),
    flag("pro", rules=[rule(True, condition("plan", "IsOneOf", ["pro"]))], serve=False),
    flag("lab", rules=[rule(True, in_segment("outer"))], serve=False),
    flag("team", rules=[rule(True, in_segment("other"))], serve=False),
    flag("odd", rules=[rule(True, in_segment("unknown"))], serve=False),
    flag("gone", archived=True),
]


def test_an_empty_view() -> None:
    """Before the first publication there is nothing, and that is no error."""
    view = View()

    assert not view.ready
    assert view.load("plain") is None
    assert view.snapshot() is None
    assert {} == view.all()
    assert {} == view.flags


def test_flags_are_compiled_when_they_are_used() -> None:
    """A flag is looked up at its first use and kept; unknown and archived ones are remembered as absent."""
    view = first(content(FLAGS, lab()))
    assert view.ready
    assert {} == view.flags
    values = [value(view.load(key)) for key in ("plain", "pro", "lab", "odd")]

    assert [True, True, False, False] == values
    assert view.load("gone") is None
    assert view.load("nobody") is None
    assert {"plain", "pro", "lab", "odd", "gone", "nobody"} == set(view.flags)


def test_unchanged_flags_are_taken_over() -> None:
    """Neither a publication of the same data nor one of other flags compiles anything anew."""
    view = first(content(FLAGS, lab()))
    before = {key: view.load(key) for key in ("plain", "pro", "lab", "team", "odd")}
    changed = [flag("plain", enabled=False, updated_at="2027-01-01T00:00:00Z"), *FLAGS[1:], flag("new")]
    later = after(view, 2, content(changed, lab(), 2))

    assert value(before["plain"]) is True
    assert value(later.flags["plain"]) is False
    for key in ("pro", "lab", "team", "odd"):
        assert before[key] is later.flags[key]
    assert (2, IDENTITY) == (later.word, later.identity)


def test_a_nested_segment_counts() -> None:
    """A flag whose segment's segment changed is compiled anew; others are not."""
    view = first(content(FLAGS, lab()))
    before = {key: view.load(key) for key in ("lab", "team", "plain")}
    later = after(
        view, 2, content(FLAGS, [segment("inner", included=["ada"], updated_at="2027-01-01T00:00:00Z"), *lab()[1:]], 2)
    )

    assert (False, True) == (value(before["lab"]), value(later.flags["lab"]))
    assert before["team"] is later.flags["team"]
    assert before["plain"] is later.flags["plain"]


def test_segments_come_and_go() -> None:
    """An unknown segment that appears, and one that is archived, change the flags that name it."""
    view = first(content(FLAGS, lab()))
    assert value(view.load("odd")) is False
    assert value(view.load("team")) is False
    view = after(view, 2, content(FLAGS, [*lab(), segment("unknown", included=["ada"])], 2))
    assert value(view.flags["odd"]) is True
    view = after(view, 3, content(FLAGS, [*lab(), segment("unknown", archived=True)], 3))
    assert value(view.flags["odd"]) is False


def test_same_time_other_content() -> None:
    """A flag that changed within its millisecond is another flag all the same."""
    view = first(content(FLAGS, lab()))
    view.load("plain")

    assert value(after(view, 2, content([flag("plain", enabled=False)], [], 2)).flags["plain"]) is False


def test_flags_appear_and_vanish() -> None:
    """A flag that was absent and is there, and the other way round."""
    view = first(content([flag("a")]))
    assert value(view.load("a")) is True
    assert view.load("b") is None
    view = after(view, 2, content([flag("b"), flag("a", archived=True)], [], 2))

    assert view.flags["a"] is None
    assert value(view.flags["b"]) is True


def test_absent_keys_are_bounded() -> None:
    """Keys that come from outside take no memory without end."""
    view = first(content(FLAGS))
    for number in range(MOST_ABSENT + 50):
        assert view.load(f"unknown-{number}") is None
    assert MOST_ABSENT == len(view.flags)
    assert value(view.load("plain")) is True
    later = after(view, 2, content(FLAGS, [], 2))

    assert MOST_ABSENT + 1 == len(later.flags)


def test_all_flags() -> None:
    """Every living flag in order, those in use as they are; asked again, the same."""
    view = first(content(FLAGS, lab()))
    plain = view.load("plain")

    assert ["lab", "odd", "plain", "pro", "team"] == list(view.all())
    assert plain is view.all()["plain"]
    assert view.all() is view.all()
    again = after(view, 2, content(FLAGS, lab(), 2)).all()
    assert all(view.all()[key] is again[key] for key in again)


def test_a_replaced_snapshot() -> None:
    """A file that is gone is told, so that the caller looks at the newer one; what is compiled stays."""
    view = first(content(FLAGS))
    view.load("plain")
    view = view.successor(2, IDENTITY, Snapshot(content(FLAGS, [], 2), 2, IDENTITY), gone)

    assert value(view.flags["plain"]) is True
    with pytest.raises(FileNotFoundError):
        view.load("pro")
    with pytest.raises(FileNotFoundError):
        view.all()


def test_a_detached_view() -> None:
    """In a new region the old data goes on until there is a publication, which is newer whatever its word."""
    view = first(content(FLAGS))
    plain = view.load("plain")
    detached = view.detached()

    assert (0, True) == (detached.word, detached.ready)
    assert plain is detached.flags["plain"]
    assert value(detached.load("pro")) is True


def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the flags that are looked up from now on."""
    found: list[str] = []
    find = Snapshot.find

    def noted(self: Snapshot, kind: int, key: str) -> Any:
        found.extend([key] if kind == FLAG else [])
        return find(self, kind, key)

    monkeypatch.setattr(Snapshot, "find", noted)
    return found


def test_only_what_may_be_different_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch of a flag costs the look-up of that flag if it is used, also some publications later; a patch of a
    segment costs that of the flags that reach it."""
    leader = Chain.of([*FLAGS, flag("unused")], lab())
    view = first(leader.content)
    for key in ("plain", "pro", "lab", "team", "odd", "nobody"):
        view.load(key)
    found = lookups(monkeypatch)
    view = after(view, 2, leader.patch(flag("unused", enabled=False)), leader)
    assert [] == found
    leader.patch(flag("plain", enabled=False))
    view = after(view, 4, leader.patch(flag("unused")), leader)
    assert ["plain"] == found
    assert value(view.flags["plain"]) is False
    found.clear()
    view = after(view, 5, leader.patch(segments=(segment("inner", included=["ada"]),)), leader)

    assert ["lab"] == found
    assert value(view.flags["lab"]) is True


def test_flags_come_and_go_by_patches() -> None:
    """An absent flag that appears, a used one that is archived, and an unknown segment that appears are seen."""
    leader = Chain.of(FLAGS, lab())
    view = first(leader.content)
    for key in ("plain", "nobody", "odd"):
        view.load(key)
    view = after(view, 2, leader.patch(flag("nobody"), segments=(segment("unknown", included=["ada"]),)), leader)
    assert (True, True) == (value(view.flags["nobody"]), value(view.flags["odd"]))
    view = after(view, 3, leader.patch(flag("nobody", archived=True), flag("plain", archived=True)), leader)

    assert {"nobody": None, "plain": None} == {key: view.flags[key] for key in ("nobody", "plain")}


def test_the_bound_of_absent_keys_outlives_patches() -> None:
    """However flags come and go, so many unknown keys are remembered, and none too few."""
    leader = Chain.of(FLAGS, lab())
    view = first(leader.content)
    view.load("plain")
    for number in range(MOST_ABSENT):
        view.load(f"unknown-{number}")
    view = after(view, 2, leader.patch(flag("plain", archived=True)), leader)
    assert "plain" not in view.flags
    assert view.load("plain") is None
    view = after(view, 3, leader.patch(flag("unknown-0")), leader)
    assert view.load("plain") is None

    assert value(view.flags["unknown-0"]) is True
    assert "plain" in view.flags
    assert MOST_ABSENT + 1 == len(view.flags)


def test_a_damaged_flag_is_looked_up_again() -> None:
    """It heals with the next publication, whatever that is about."""
    leader = Chain.of(FLAGS, lab())
    view = first(broken(leader.content, flip(b"IsOneOf")))
    view.load("pro")
    view.load("plain")
    view = after(view, 2, leader.patch(flag("new")), leader)

    assert value(view.flags["pro"]) is True


def test_damaged_changes_cost_a_look_at_everything() -> None:
    """Nothing is taken for unchanged because of bytes that are not to be believed."""
    leader = Chain.of(FLAGS, lab())
    view = first(leader.content)
    view.load("plain")
    data = leader.patch(flag("plain", enabled=False))
    place = Snapshot(data, 2, IDENTITY)._directory_at - 1
    view = after(view, 2, broken(data, lambda copy: copy.__setitem__(place, 0)), leader)

    assert value(view.flags["plain"]) is False


def test_a_base_is_looked_at_once() -> None:
    """A patch costs a look at its own file, and at no base that was looked at before; a new base is looked at before
    anything that stands on it is adopted."""
    leader = Chain.of(FLAGS, lab())
    view = View().successor(1, IDENTITY, leader.open(1), partial(leader.open, 1))
    for key in ("plain", "pro", "lab"):
        view.load(key)
    for word in (2, 3):
        leader.patch(flag("plain", enabled=word == 3))
        view = view.successor(word, IDENTITY, leader.open(word), partial(leader.open, word))
    assert [] == leader.opened
    assert value(view.flags["plain"]) is True
    assert value(view.load("team")) is False
    assert [1] == leader.opened
    leader.follow(leader.dataset)
    leader.patch(flag("plain", enabled=False))
    view = view.successor(5, IDENTITY, leader.open(5), partial(leader.open, 5))

    assert [1, 4] == leader.opened
    assert value(view.flags["plain"]) is False


@pytest.mark.parametrize("identity", [IDENTITY, (3, 4)])
def test_nothing_stands_on_a_base_that_nobody_can_read(identity: tuple[int, int]) -> None:
    """A delta is no snapshot without its base: gone or damaged, it is refused as a whole; a base of this word in
    another region is another base."""
    leader = Chain.of(FLAGS, lab())
    view = first(leader.content)
    leader.follow(leader.dataset)
    leader.patch(flag("plain", enabled=False))
    seen = 1 if identity == IDENTITY else 2
    view = view if seen == 1 else View(2, (3, 4), lambda: leader.open(2))
    for error, open_base in ((FileNotFoundError, lambda word: gone()), (CorruptError, broken_base)):
        snapshot = Snapshot(leader.content, 3, IDENTITY, open_base)
        with pytest.raises(error):
            view.successor(3, IDENTITY, snapshot, lambda found=snapshot: found)


def broken_base(word: int) -> Snapshot:
    raise CorruptError("a base")


def test_a_base_that_goes_while_it_is_looked_at() -> None:
    """What is there already stays; the caller is told, and looks at what is newer."""
    leader = Chain.of(FLAGS, lab())
    view = first(leader.content)
    plain = view.load("plain")
    data = leader.patch(flag("new"))
    view = view.successor(2, IDENTITY, leader.snapshot, lambda: Snapshot(data, 2, IDENTITY, lambda word: gone()))

    assert plain is view.flags["plain"]
    assert value(view.load("new")) is True
    with pytest.raises(FileNotFoundError):
        view.load("pro")
    with pytest.raises(FileNotFoundError):
        view.all()


def test_all_flags_of_a_delta_and_its_base() -> None:
    """Each flag once, as it is now; one that was archived is gone."""
    leader = Chain.of(FLAGS, lab())
    view = first(leader.content)
    plain = view.load("plain")
    view = after(view, 2, leader.patch(flag("pro", enabled=False), flag("new"), flag("lab", archived=True)), leader)

    assert ["new", "odd", "plain", "pro", "team"] == list(view.all())
    assert (plain, False) == (view.all()["plain"], value(view.all()["pro"]))


def test_segments_of_a_base_are_kept() -> None:
    """A flag that a patch changes is compiled with the segments that it had, as they are in the base."""
    leader = Chain.of(FLAGS, lab(nested=True))
    view = first(leader.content)
    assert value(view.load("lab")) is True
    kept = dict(view._pool.segments)
    changed = flag("lab", rules=[rule(False, in_segment("outer"))], serve=True)
    view = after(view, 2, leader.patch(changed), leader)

    assert value(view.flags["lab"]) is False
    assert kept == view._pool.segments


# Damage


Change = Callable[[bytearray], None]


def broken(data: bytes, change: Change) -> bytes:
    copy = bytearray(data)
    change(copy)
    return bytes(copy)


def flip(text: bytes, distance: int = 0, last: bool = True) -> Change:
    def change(data: bytearray) -> None:
        data[(data.rindex(text) if last else data.index(text)) + distance] ^= 1

    return change


def test_a_damaged_flag() -> None:
    """It is damaged and nothing else; the others answer, and the next good publication heals it."""
    data = content(FLAGS, lab())
    view = first(broken(data, flip(b"IsOneOf")))

    assert isinstance(view.load("pro"), Damaged)
    assert value(view.load("plain")) is True
    assert isinstance(view.all()["pro"], Damaged)
    assert value(view.all()["plain"]) is True
    assert value(after(view, 2, content(FLAGS, lab(), 2)).flags["pro"]) is True


def test_a_damaged_segment() -> None:
    """It is no unknown segment: the flags that need it give no answer, the others do."""
    data = content(FLAGS, lab())
    entry = Snapshot(data, 1, IDENTITY).find(SEGMENT, segment_id("inner"))
    assert entry is not None
    place = entry.offset + entry.key_length + 5
    view = first(broken(data, lambda copy: copy.__setitem__(place, copy[place] ^ 1)))

    assert isinstance(view.load("lab"), Damaged)
    assert [True, True, False] == [value(view.load(key)) for key in ("plain", "pro", "team")]


def test_damage_in_the_index_stays_where_it_is() -> None:
    """A damaged bucket with a segment in it costs the flags that need the segment, and no others."""
    many = [segment(f"s{number}") for number in range(64)]
    flags = [
        *FLAGS,
        *(flag(f"f{number}", rules=[rule(True, in_segment(f"s{number}"))], serve=False) for number in range(64)),
    ]
    view = first(content(flags, [*lab(), *many]))
    for raw in flags:
        view.load(raw["key"])
    changed = [raw | {"updatedAt": "2027-01-01T00:00:00Z"} for raw in flags]
    data = bytearray(content(changed, [*lab(), *many], 2))
    whole = Snapshot(bytes(data), 2, IDENTITY)
    number = key_hash(SEGMENT, segment_id("s5").encode()) & whole._mask
    (start,) = struct.unpack_from("<I", data, whole._directory_at + 4 * number)
    data[whole._buckets_at + start + 20] ^= 1
    later = after(view, 2, bytes(data))
    damaged = [key for key, found in later.flags.items() if isinstance(found, Damaged)]

    assert "f5" in damaged
    assert len(damaged) < 20


def test_a_damaged_index() -> None:
    """What cannot be listed cannot be all flags."""
    data = content(FLAGS)
    view = first(broken(data, lambda copy: copy.__setitem__(160, copy[160] ^ 1)))

    with pytest.raises(CorruptError):
        view.all()


def test_bytes_that_are_no_flag() -> None:
    """A sound snapshot with a blob that nobody understands is damage too."""
    item = parse_item(FLAG, flag("a"))
    for blob in (b"\xc1", b"\x01", b""):
        dataset = Dataset.of([type(item)(FLAG, "a", 1, False, blob)])
        view = first(b"".join(pack(dataset, 1, IDENTITY, 1, synced=True)))
        assert isinstance(view.load("a"), Damaged)


def test_no_snapshot_stays_open() -> None:
    """A view lets go of the file as soon as it has looked a flag up, without waiting for the garbage collection."""
    data = content(FLAGS, lab())
    opened: list[weakref.ref[Snapshot]] = []

    def open_it() -> Snapshot:
        snapshot = Kept(data, 1, IDENTITY)
        opened.append(weakref.ref(snapshot))
        return snapshot

    class Kept(Snapshot):
        """One that can be watched."""

        __slots__ = ("__weakref__",)

    gc.disable()
    try:
        view = View(1, IDENTITY, open_it)
        assert value(view.load("lab")) is False
        view.all()

        assert [None, None] == [each() for each in opened]
    finally:
        gc.enable()
