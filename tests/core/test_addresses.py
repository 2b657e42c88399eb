"""Tokens as the server decodes them, environments, and URLs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbshared.core.addresses import environment_id, insight_url, streaming_url, token

SECRET = "v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"
NOW = 1_700_000_000_123
LETTERS = "QBWSPHDXZU"


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (14.5 / 44, "QBPBSv3faJy3RCUO8d-BXQQQQQQQQBWSEJiVdN6waRfGjfNan02Ms9c0LiTD6w"),
        (0.0, "QQWBSv3BXQQQQQQQQBWSfaJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"),
        (0.9999, "QPSBSv3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6BXQQQQQQQQBWSw"),
    ],
)
def test_tokens(fraction: float, expected: str) -> None:
    """A token is the secret with position, length and time in FeatBit's letters; padding is left out."""
    assert expected == token(SECRET, NOW, fraction)
    assert expected == token(SECRET + "==", NOW, fraction)


def decoded(text: str) -> tuple[str, int]:
    """Secret and time of a token, as the server reads it."""

    def number(letters: str) -> int:
        return int("".join(str(LETTERS.index(letter)) for letter in letters))

    place, length, rest = number(text[:3]), number(text[3:5]), text[5:]
    return rest[:place] + rest[place + length :], number(rest[place : place + length])


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(0, 10**14), st.floats(0, 1, exclude_max=True))
def test_the_server_reads_tokens(now: int, fraction: float) -> None:
    """Whatever the place and the time, the server finds the secret and the time."""
    assert (SECRET, now) == decoded(token(SECRET, now, fraction))


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (SECRET, "8dc61769-5af3-4d9f-8cb3-d7342e24c3eb"),
        (SECRET + "=", "8dc61769-5af3-4d9f-8cb3-d7342e24c3eb"),
        ("gpnOV3wI3kKAO9q9viC0wQWdKZrVAf2U6gAnxl4lSH3w", "ad99d259-1f50-4ed9-a002-7c65e25487df"),
        (SECRET[:-1], None),
        (SECRET + "w", None),
        (SECRET[:-1] + "+", None),
        (SECRET[:-1] + "é", None),
        (SECRET + "\n", None),
        ("", None),
    ],
)
def test_environments(secret: str, expected: str | None) -> None:
    """The environment can be read from a secret of the right form, and from no other."""
    assert expected == environment_id(secret)


@pytest.mark.parametrize("base", ["wss://host/way", "wss://host/way/"])
def test_urls(base: str) -> None:
    """A path in front stays, and a slash at its end does not matter."""
    assert "wss://host/way/streaming?token=a%2Bb&type=server" == streaming_url(base, "a+b")
    assert "wss://host/way/api/public/insight/track" == insight_url(base)
