"""One connection from its opening to its end; the clock is a number."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core.model import EMPTY, FLAG, Dataset, Item
from fbshared.core.session import Session, SessionOver
from fbshared.core.wire import PING, data_sync

ASK_ALL = data_sync(0)
PONG = '{"messageType":"pong","data":{}}'


def raw(key: str, seconds: int, *, archived: bool = False) -> dict[str, Any]:
    stamp = f"1970-01-01T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.000Z"
    return {"key": key, "isArchived": archived, "updatedAt": stamp}


def message(event_type: str, *flags: Any) -> str:
    data = {"eventType": event_type, "featureFlags": flags, "segments": []}
    return json.dumps({"messageType": "data-sync", "data": data})


def full(*flags: Any) -> str:
    return message("full", *flags)


def patch(*flags: Any) -> str:
    return message("patch", *flags)


def held(*flags: dict[str, Any]) -> Dataset:
    """The dataset that a full of these flags makes."""
    session = Session(EMPTY, 0, synced=False)
    session.received(full(*flags), 0)
    return session.dataset


def versions(session: Session) -> dict[str, int]:
    return {item.key: item.version // 1000 for item in session.dataset.items()}


def keys(items: tuple[Item, ...]) -> list[str]:
    return [item.key for item in items]


def resumed(*flags: dict[str, Any]) -> Session:
    return Session(held(*flags), 0, synced=True)


# ---- the first answer


def test_without_data_everything_is_asked_for() -> None:
    """A member that has had no full asks for one, whatever else it holds."""
    assert ASK_ALL == Session(EMPTY, 0, synced=False).opening()
    assert ASK_ALL == Session(held(raw("a", 100)), 0, synced=False).opening()


def test_with_data_only_what_is_newer_is_asked_for() -> None:
    """Who has had a full asks from a little behind the cursor, and never from 0 by accident."""
    assert data_sync(40_000) == resumed(raw("a", 100)).opening()
    assert data_sync(1) == resumed(raw("a", 10)).opening()
    assert data_sync(99_000) == Session(held(raw("a", 100)), 0, synced=True, overlap_ms=1000).opening()


def test_a_full_answers() -> None:
    """With the full the environment is known."""
    session = Session(EMPTY, 0, synced=False)
    changed = session.received(full(raw("a", 1), raw("b", 2, archived=True)), 1)

    assert ["a", "b"] == keys(changed)
    assert {"a": 1, "b": 2} == versions(session)
    assert (True, True) == (session.answered, session.synced)


def test_an_empty_full_is_an_environment() -> None:
    """Who has nothing believes that there is nothing."""
    session = Session(EMPTY, 0, synced=False)

    assert () == session.received(full(), 1)
    assert (True, True) == (session.answered, session.synced)


def test_a_patch_before_the_full_waits_for_it() -> None:
    """A push that overtakes the full changes nothing alone, and is not lost when the full is older."""
    session = Session(EMPTY, 0, synced=False)

    assert () == session.received(patch(raw("a", 5)), 1)
    assert (EMPTY, False, False) == (session.dataset, session.answered, session.synced)

    session.received(full(raw("a", 4), raw("b", 3)), 2)

    assert {"a": 5, "b": 3} == versions(session)


@pytest.mark.parametrize(
    "answer",
    [
        patch(),
        patch(raw("a", 100)),
        patch(raw("a", 100), raw("b", 101)),
        patch(raw("b", 101), raw("c", 102)),
        patch(None, raw("b", 101)),
        full(raw("a", 100)),
    ],
)
def test_an_answer_to_who_has_data(answer: str) -> None:
    """A patch with something old, with nothing or with several items is the answer; a full always is."""
    session = resumed(raw("a", 100))
    session.received(answer, 1)

    assert (True, True) == (session.answered, session.synced)


@pytest.mark.parametrize("push", [patch(raw("b", 101)), patch(None)])
def test_what_may_be_a_push(push: str) -> None:
    """One new item, or one that was refused, is not yet taken for the answer."""
    session = resumed(raw("a", 100))
    session.received(push, 1)

    assert (False, False) == (session.answered, session.synced)


def test_a_push_before_the_answer() -> None:
    """One new item may be a push: it counts at once, and the question is repeated at once."""
    session = resumed(raw("a", 100))

    assert ["b"] == keys(session.received(patch(raw("b", 101)), 1))
    assert (False, 0.0) == (session.answered, session.next_due(1))
    assert [data_sync(40_000)] == session.due(1)
    assert [] == session.due(1)

    session.received(patch(raw("b", 101)), 2)

    assert (True, True) == (session.answered, session.synced)


# ---- afterwards


def test_patches_count_per_item() -> None:
    """After the answer each newer item changes the dataset, and an older one does not."""
    session = resumed(raw("a", 100), raw("b", 50))
    session.received(patch(), 1)

    assert ["b"] == keys(session.received(patch(raw("b", 60)), 2))
    assert () == session.received(patch(raw("b", 55)), 3)
    assert {"a": 100, "b": 60} == versions(session)


def test_a_full_replaces_everything() -> None:
    """What a full does not have is gone, what it has older is older; both are told as changes."""
    session = resumed(raw("a", 100), raw("b", 50), raw("c", 10), raw("d", 10, archived=True))
    session.received(patch(), 1)
    changed = session.received(full(raw("a", 90), raw("c", 10)), 2)

    assert {"a": 90, "c": 10} == versions(session)
    assert {"a": (90_000, False), "b": (50_000, True)} == {i.key: (i.version, i.archived) for i in changed}
    assert Item(FLAG, "b", 50_000, True, b"") in changed


def test_an_empty_full_is_asked_for_again() -> None:
    """A service that fills its cache may answer with nothing: what we hold stays until it says so twice."""
    session = resumed(raw("a", 100))

    assert () == session.received(full(), 1)
    assert {"a": 100} == versions(session)
    assert (False, 5.0) == (session.answered, session.next_due(1))
    assert [] == session.due(5.9)
    assert [ASK_ALL] == session.due(6)
    assert [] == session.due(6.1)
    assert ["a"] == keys(session.received(full(), 7))
    assert ({}, True, True) == (versions(session), session.answered, session.synced)


def test_a_second_look_that_finds_something() -> None:
    """The full that comes after an empty one replaces everything, with what was pushed meanwhile."""
    session = resumed(raw("a", 100), raw("b", 100))
    session.received(full(), 1)
    session.due(6)
    session.received(patch(raw("b", 120)), 6.5)
    session.received(patch(raw("b", 120), raw("c", 110)), 6.6)

    assert not session.answered

    session.received(full(raw("b", 100)), 7)

    assert {"b": 120, "c": 110} == versions(session)
    assert session.answered


def test_an_empty_full_when_all_is_archived() -> None:
    """Nothing is lost when tombstones go."""
    session = resumed(raw("a", 100, archived=True))
    session.received(full(), 1)

    assert ({}, True) == (versions(session), session.answered)


def test_a_service_that_never_repeats_its_empty_full() -> None:
    """The second question has its own time limit."""
    session = Session(held(raw("a", 100)), 0, synced=True, silence_limit=1000, ping_every=1000)
    session.received(full(), 1)

    assert [ASK_ALL] == session.due(6)
    assert [ASK_ALL] == session.due(16)
    with pytest.raises(SessionOver):
        session.due(26)


# ---- what is refused or means nothing


def test_broken_messages_are_counted() -> None:
    """A message or an item that is refused changes nothing else, and its reason is kept."""
    session = resumed(raw("a", 100))

    assert () == session.received("{", 1)
    assert (1, "not JSON") == (session.rejected, session.rejection)
    assert ["b"] == keys(session.received(patch(None, raw("b", 101), 5), 2))
    assert (3, "flag 2: not an object") == (session.rejected, session.rejection)


def test_other_messages_are_counted() -> None:
    """A pong means only that the service lives."""
    session = resumed()
    session.received(PONG, 40)

    assert (1, 0) == (session.ignored, session.rejected)
    assert not session.answered


# ---- time


def test_pings() -> None:
    """A ping is sent every so often, whatever else is said."""
    session = resumed()
    session.received(patch(), 0)

    assert (15.0, [], [PING], []) == (session.next_due(0), session.due(14), session.due(15), session.due(29))
    assert [PING] == session.due(30)


def test_silence() -> None:
    """A connection without any message is over; any message at all keeps it."""
    session = resumed()
    session.received(patch(), 0)
    session.received(PONG, 10)
    session.due(54)

    assert 1.0 == session.next_due(54)
    with pytest.raises(SessionOver, match="nothing received"):
        session.due(55)


def test_no_answer() -> None:
    """Data-sync is asked twice, then the connection is over, however much the service pongs."""
    session = Session(EMPTY, 0, synced=False)
    session.opening()

    assert (10.0, [], [ASK_ALL], []) == (session.next_due(0), session.due(9), session.due(10), session.due(11))

    session.received(PONG, 12)

    assert 3.0 == session.next_due(12)
    assert [PING] == session.due(15)
    assert 5.0 == session.next_due(15)
    with pytest.raises(SessionOver, match="no answer"):
        session.due(20)


def test_a_late_look_is_due_at_once() -> None:
    """Who comes late is never told to wait a negative time."""
    assert 0.0 == Session(EMPTY, 0, synced=False).next_due(100)


# ---- any conversation

FLAGS = st.lists(st.builds(raw, st.sampled_from("abc"), st.integers(0, 300)), max_size=3)
MESSAGES = st.builds(lambda kind, flags: message(kind, *flags), st.sampled_from(["full", "patch", "patch"]), FLAGS)


@settings(deadline=None, derandomize=True, database=None, max_examples=200)
@given(FLAGS, st.booleans(), st.lists(st.tuples(MESSAGES | st.just(PONG) | st.just("{"), st.floats(0, 6)), max_size=8))
def test_any_conversation(flags: Any, synced: bool, script: list[tuple[str, float]]) -> None:
    """The changes that a session tells are exactly the difference of its datasets, and time is never negative."""
    session = Session(held(*flags), 0, synced=synced)
    now = 0.0
    for text, delay in script:
        now += delay
        try:
            session.due(now)
        except SessionOver:
            return
        before = session.dataset
        changed = session.received(text, now)
        after = session.dataset
        told = dict(before.flags)
        for item in changed:
            told[item.key] = item
        told = {key: item for key, item in told.items() if key in after.flags}

        assert after.flags == told
        assert session.next_due(now) >= 0
        assert session.synced == session.answered


# ---- everything again


def answered(*flags: dict[str, Any]) -> Session:
    session = resumed(*flags)
    session.received(patch(), 1)
    assert session.answered
    return session


def test_everything_is_asked_for_in_time() -> None:
    """An answered session asks for a full on the same connection when it is time, once, and a lost patch heals."""
    session = answered(raw("a", 100), raw("doomed", 90))
    session.full_at = 8

    assert [] == session.due(7.9)
    assert 0.5 == pytest.approx(session.next_due(7.5))
    assert [ASK_ALL] == session.due(8)
    assert [] == session.due(9)
    assert 0 == session.fulls
    assert {"doomed", "b"} == set(keys(session.received(full(raw("a", 100), raw("b", 95)), 9)))
    assert 1 == session.fulls
    assert {"a": 100, "b": 95} == versions(session)
    assert [] == session.due(10)


def test_patches_count_while_everything_is_asked_for() -> None:
    """They are applied at once, and not undone by a full that was read before them."""
    session = answered(raw("a", 100))
    session.full_at = 8
    session.due(8)

    assert ["a"] == keys(session.received(patch(raw("a", 101)), 8.5))
    session.received(full(raw("a", 100)), 9)
    assert {"a": 101} == versions(session)


def test_everything_is_no_answer() -> None:
    """A request for everything that is not answered is repeated, and then the connection is of no use."""
    session = answered(raw("a", 100))
    session.full_at = 8
    session.due(8)
    session.received(PONG, 17)

    assert ASK_ALL in session.due(18)
    with pytest.raises(SessionOver):
        session.due(28)


def test_a_session_can_begin_with_everything() -> None:
    """With data and without trust in it: it evaluates on, takes patches, and only a full is the answer."""
    session = Session(held(raw("a", 100), raw("doomed", 90)), 0, synced=True, full=True)
    assert ASK_ALL == session.opening()
    assert ["a"] == keys(session.received(patch(raw("a", 101)), 1))
    assert not session.answered

    session.received(full(raw("a", 100)), 2)
    assert (True, {"a": 101}) == (session.answered, versions(session))


def test_an_empty_answer_to_everything_is_asked_twice() -> None:
    """Also in the middle of a connection nothing is not believed at once."""
    session = answered(raw("a", 100))
    session.full_at = 8
    session.due(8)
    session.received(full(), 9)
    assert {"a": 100} == versions(session)

    assert [ASK_ALL] == session.due(14)
    session.received(full(), 14.1)
    assert {} == versions(session)
