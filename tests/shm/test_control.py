"""The control page: born with an identity, refused where it is something else."""

import pytest

from fbshared.errors import CorruptError
from fbshared.shm.control import (
    CONTROL_SIZE,
    PUBLICATION,
    RETIRED,
    Control,
    DeliveryState,
    SyncError,
    SyncState,
    birth,
)
from fbshared.shm.words import Word

PAGE = birth((7, 8), 1234)


def test_a_new_page() -> None:
    """It knows its identity and its birth, and says that nothing has happened yet."""
    control = Control.over(bytearray(PAGE))

    assert ((7, 8), 1234) == (control.identity, control.born_at)
    assert CONTROL_SIZE == len(PAGE)
    assert (0, 0, 0) == (control.publication, control.epoch, control.beat)
    assert (SyncState.STARTING, SyncError.NONE) == (control.sync_state, control.sync_error)
    assert DeliveryState.IDLE == control.delivery_state


def test_words_do_not_overlap() -> None:
    """Every name has a word of its own, none of them among those of the birth."""
    places = [word.index for word in vars(Control).values() if isinstance(word, Word)]

    assert len(places) == len(set(places))
    assert all(8 <= place < CONTROL_SIZE // 8 for place in places)
    assert PUBLICATION == Control.publication.index
    assert [] == [place for place in places if place // 8 == PUBLICATION // 8 and place != PUBLICATION]


def test_two_views_of_one_page() -> None:
    """What one process stores another one loads."""
    page = bytearray(PAGE)
    Control.over(page).beat = 41

    assert 41 == Control.over(memoryview(page)).beat


def test_retirement() -> None:
    """A retired page tells so in the word that every evaluation loads, and no publication is larger."""
    control = Control.over(bytearray(PAGE))
    control.retire()

    assert RETIRED == control.publication == control.words[PUBLICATION]
    assert 2**24 - 1 << 40 < RETIRED


@pytest.mark.parametrize("page", [b"", PAGE[:-1], bytes(CONTROL_SIZE), b"\1" + PAGE[1:], PAGE[:8] + b"\xff" + PAGE[9:]])
def test_something_else_is_refused(page: bytes) -> None:
    """Too short, empty, foreign or of another layout: no page is made over it."""
    with pytest.raises(CorruptError):
        Control.over(bytearray(page))
