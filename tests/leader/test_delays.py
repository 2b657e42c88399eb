"""Delays between tries."""

from fbshared.leader.delays import LENGTHENED, delays


def test_they_double_up_to_the_longest() -> None:
    """They double up to the longest, and are never all the same."""
    steps = [step for step, _ in zip(delays(1.0, 8.0), range(50), strict=False)]

    assert all(0.5 * bound <= step <= bound for step, bound in zip(steps, [1, 2, 4, *[8] * 47], strict=True))
    assert len(set(steps)) > 40


def test_they_are_lengthened_where_nobody_may_come_sooner() -> None:
    """None is shorter than its step."""
    steps = [step for step, _ in zip(delays(60.0, 600.0, LENGTHENED), range(50), strict=False)]

    assert all(b <= step <= 1.25 * b for step, b in zip(steps, [60, 120, 240, 480, *[600] * 46], strict=True))
    assert len(set(steps)) > 40


def test_the_first_is_no_longer_than_the_longest() -> None:
    """A first delay beyond the longest is cut."""
    assert next(delays(100.0, 60.0)) <= 60
