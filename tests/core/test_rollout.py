"""Places are those of every FeatBit SDK, and comparing them is comparing the reference's floats."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core.rollout import END, mark, place

PLACES = {
    "test-value": 314684291,
    "qKPKh1S3FolC": 1955481364,
    "3eacb184-2d79-49df-9ea7-edd4f10e4c6f": 193153337,
    "flag-1user-1": 1066763719,
    "exptflag-1user-1": 815170814,
    "flag-1user-2": 1430287042,
    "flag-1": 668716716,
    "checkout-v2测试用户": 952913711,
    "ffé": 295271038,
    "": 645128748,
    "ffu2319734890": END,
    "ffu5603513606": END,
    "ffu7323697048": END // 2,
    "ffu8349816397": 0,
}


@pytest.mark.parametrize(("text", "expected"), PLACES.items())
def test_places(text: str, expected: int) -> None:
    """Texts lie where the other SDKs put them, the ends of the line included."""
    assert expected == place(text)


def test_a_text_without_utf8_has_no_place() -> None:
    """A lone surrogate is refused, because there is nothing to hash."""
    with pytest.raises(UnicodeEncodeError):
        place("\ud800")


BOUNDS = st.floats(allow_nan=False) | st.floats(-0.1, 1.1) | st.integers(-2, 2) | st.integers() | st.booleans()


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(0, END) | st.integers(0, 4), BOUNDS)
def test_comparing_marks_is_comparing_floats(here: int, bound: float) -> None:
    """A place is below a mark exactly when its percentage is below the bound."""
    assert (here / END < bound) == (here < mark(bound))


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(0, END), st.integers(-2, 2))
def test_marks_are_exact_next_to_a_place(here: int, steps: int) -> None:
    """The float next to a percentage is on the right side of it."""
    bound = here / END * (1 + steps * sys.float_info.epsilon)

    assert (here / END < bound) == (here < mark(bound))
